//! The formats of files of weights, each read without running any of it.

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

/// Where a tar says that it is one.
pub(super) const TAR_MARK: Range<usize> = 257..262;

/// What an ONNX file begins with: the number of its version, which is its first field, and the next
/// field's key: who produced it, the graph, the operations or what describes it.
const ONNX_VERSION: u8 = 0x08;
const ONNX_VERSIONS: Range<u8> = 1..64;
const ONNX_NEXT: &[u8] = &[0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72];

/// What wrote a [`WeightsFile`](super::WeightsFile).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsFormat {
    /// `safetensors`, Hugging Face's and this crate's.
    Safetensors,
    /// `torch.save`, in its zip form, the pickles before it, or the tar before those.
    Torch,
    /// Burn's own, of a training's checkpoints.
    Burnpack,
    /// A graph of ONNX, of which the initializers are read by their names. Exporters keep
    /// PyTorch's names unless they simplify the graph. Read with the feature `onnx`.
    Onnx,
}

impl WeightsFormat {
    /// The format of a file that begins with `start`, or what it looks like instead.
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
            _ if start.get(TAR_MARK) == Some(b"ustar") => Ok(Self::Torch),
            // With a length that cannot be.
            _ if start.get(8) == Some(&b'{') => Ok(Self::Safetensors),
            [ONNX_VERSION, version, next, ..]
                if ONNX_VERSIONS.contains(version) && ONNX_NEXT.contains(next) =>
            {
                Ok(Self::Onnx)
            }
            // Fields may come in any order.
            _ if extension.is_some_and(|it| it.eq_ignore_ascii_case("onnx")) => Ok(Self::Onnx),
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
