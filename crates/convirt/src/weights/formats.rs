//! Readers of the weight formats. They never execute anything in a file.

mod pickle_size;
mod tar_size;
pub(super) mod safetensors;
pub(super) mod torch_file;
pub(super) mod torch_save;
pub(super) mod burnpack;
#[cfg(feature = "onnx")]
pub(super) mod onnx;

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use ::burn::store::burn_pack;

/// The position of the magic bytes `ustar` in a tar file.
pub(super) const TAR_MAGIC_RANGE: Range<usize> = 257..262;

/// The first byte of an ONNX file: the Protocol Buffers key of its first field, `ir_version`.
const ONNX_VERSION_KEY: u8 = 0x08;
/// The second byte of an ONNX file: the value of `ir_version`.
const ONNX_VERSIONS: Range<u8> = 1..64;
/// The third byte of an ONNX file: the key of the next field, which is the producer, the graph, the
/// operator sets or a description.
const ONNX_NEXT_KEYS: &[u8] = &[0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72];

/// The format of a [`WeightsFile`](super::WeightsFile).
///
/// # Example
///
/// ```
/// use convirt::weights::WeightsFormat;
///
/// assert_eq!(WeightsFormat::Torch.to_string(), "PyTorch");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsFormat {
    /// `safetensors`, which Hugging Face and this crate write.
    Safetensors,
    /// A file of `torch.save`: the zip format, or the older pickle and tar formats.
    Torch,
    /// Burn's own format, in which a training writes its checkpoints.
    Burnpack,
    /// An ONNX graph, whose initializers are the tensors. They have PyTorch's parameter names
    /// unless the exporter simplified the graph. Reading it needs the feature `onnx`.
    Onnx,
}

impl WeightsFormat {
    /// Returns the format of a file that starts with `start`, or else a description of the content.
    pub(super) fn recognize(path: &Path, start: &[u8]) -> Result<Self, &'static str> {
        let length = start.first_chunk().copied().map(u64::from_le_bytes);
        let extension = path.extension().and_then(OsStr::to_str);
        match start {
            [] => Err("empty"),
            [b'P', b'K', 3 | 5, ..] => Ok(Self::Torch),
            _ if start.starts_with(&burn_pack::MAGIC_NUMBER.to_le_bytes()) => Ok(Self::Burnpack),
            _ if start.starts_with(b"version https:") => {
                Err("a pointer of Git LFS (`git lfs pull` fetches the file it stands for)")
            }
            _ if start.starts_with(b"<") => Err("a web page"),
            _ if start.starts_with(b"\x89HDF") => Err("HDF5"),
            _ if start.get(8) == Some(&b'{') && length.is_some_and(|n| n < u64::from(u32::MAX)) => {
                Ok(Self::Safetensors)
            }
            [0x80, 2..=5, ..] => Ok(Self::Torch),
            _ if start.get(TAR_MAGIC_RANGE) == Some(b"ustar") => Ok(Self::Torch),
            // The header's length is impossible; the safetensors reader reports it.
            _ if start.get(8) == Some(&b'{') => Ok(Self::Safetensors),
            [ONNX_VERSION_KEY, version, next, ..]
                if ONNX_VERSIONS.contains(version) && ONNX_NEXT_KEYS.contains(next) =>
            {
                Ok(Self::Onnx)
            }
            // Fields may come in any order, so that some ONNX files start with other bytes.
            _ if extension.is_some_and(|text| text.eq_ignore_ascii_case("onnx")) => Ok(Self::Onnx),
            _ => Err("something else"),
        }
    }
}

impl fmt::Display for WeightsFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch",
            Self::Burnpack => "Burn",
            Self::Onnx => "ONNX",
        })
    }
}
