//! Files of named tensors, whatever wrote them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::store::burn_pack;
use convirt_data::open_regular;
use half::{bf16, f16};

use crate::weights::error::printable;
use crate::weights::{
    WeightsError, burnpack_file, checksums, safetensors_file, sharded, torch_file,
};

/// Files that weights come in, within a folder, in order of preference: what Hugging Face (the
/// first four), this crate and ConVIRT-Colab write.
const IN_A_FOLDER: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model/model.safetensors",
    "checkpoints/model.pth",
];

/// Those of a model of Hugging Face. An index names further files.
pub(crate) const OF_HUGGING_FACE: &[&str] = IN_A_FOLDER.split_at(4).0;

/// Where a tar says that it is one.
pub(super) const TAR_MARK: Range<usize> = 257..262;

/// Bytes converted at a time.
const CHUNK: usize = 1 << 20;

/// A file of named tensors. Opening it reads names and shapes; [`StoredTensor::read`] the numbers.
///
/// No file is executed or trusted: names, shapes and offsets are checked against the file's size
/// when it is opened.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    format: WeightsFormat,
    tensors: BTreeMap<String, StoredTensor>,
}

/// What wrote a [`WeightsFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsFormat {
    /// `safetensors`, Hugging Face's and this crate's.
    Safetensors,
    /// `torch.save`, in its zip form, the pickles before it, or the tar before those.
    Torch,
    /// Burn's own, of a training's checkpoints.
    Burnpack,
}

/// Type of the numbers of a [`StoredTensor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 64-bit floating point.
    F64,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, IEEE 754's.
    F16,
    /// 16-bit floating point with the exponents of 32-bit ones.
    BF16,
    /// Anything else, by its name: integers, truth values, quantized numbers.
    Other(String),
}

/// A tensor of a [`WeightsFile`].
pub struct StoredTensor {
    /// Type of its numbers.
    pub element_type: ElementType,
    /// Its shape, as in the file.
    pub shape: Vec<usize>,
    pub(super) data: Data,
}

/// Where the numbers of a tensor are.
pub(super) enum Data {
    /// Little-endian and row-major from `offset` on.
    At {
        file: Arc<Mutex<File>>,
        path: Arc<Path>,
        offset: u64,
    },
    Torch {
        tensor: pytorch_reader::Tensor,
        path: Arc<Path>,
    },
    Burnpack {
        tensor: burn_pack::Tensor,
        path: Arc<Path>,
    },
}

impl WeightsFile {
    /// Opens a file of weights, or that of a folder: a run's, Hugging Face's or ConVIRT-Colab's.
    ///
    /// The format is known by the content. An index (`*.index.json`) stands for all of its parts.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] when the file is missing, in no known format, cut off, contradicts itself,
    /// or is a run's and not what the run wrote.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open(file_in(path)?);
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            return sharded::open(path);
        }
        Self::open_file(path)
    }

    /// Opens one file, which is no index.
    pub(super) fn open_file(path: &Path) -> Result<Self, WeightsError> {
        checksums::verify(path)?;
        let mut file = open_regular(path).map_err(WeightsError::read(path))?;
        let size = file.metadata().map_err(WeightsError::read(path))?.len();
        let mut start = Vec::new();
        (&mut file)
            .take(TAR_MARK.end as u64)
            .read_to_end(&mut start)
            .and_then(|_| file.rewind())
            .map_err(WeightsError::read(path))?;
        let format = WeightsFormat::of(&start).map_err(|found| WeightsError::NotWeights {
            path: path.to_path_buf(),
            found,
        })?;
        let tensors = match format {
            WeightsFormat::Safetensors => safetensors_file::open(path, file, size)?,
            WeightsFormat::Torch => torch_file::open(path, size)?,
            WeightsFormat::Burnpack => burnpack_file::open(path, file, size)?,
        };
        Ok(Self::new(path, format, tensors))
    }

    pub(super) fn new(
        path: &Path,
        format: WeightsFormat,
        tensors: BTreeMap<String, StoredTensor>,
    ) -> Self {
        Self {
            path: path.to_path_buf(),
            format,
            tensors,
        }
    }

    /// Keeps only the tensors whose names begin with `prefix`, such as `module.encoder_q` of a file
    /// that has several encoders.
    ///
    /// # Errors
    ///
    /// [`WeightsError::NoPrefix`] when there are none.
    pub fn under(mut self, prefix: &str) -> Result<Self, WeightsError> {
        let prefix = prefix.trim_end_matches('.');
        self.tensors.retain(|name, _| {
            let rest = name.strip_prefix(prefix);
            prefix.is_empty() || rest.is_some_and(|rest| rest.starts_with('.'))
        });
        match self.tensors.is_empty() {
            false => Ok(self),
            true => Err(WeightsError::NoPrefix {
                path: self.path,
                prefix: prefix.to_string(),
            }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What wrote it.
    pub fn format(&self) -> WeightsFormat {
        self.format
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    pub(super) fn into_tensors(self) -> BTreeMap<String, StoredTensor> {
        self.tensors
    }
}

impl WeightsFormat {
    /// The format of a file that begins with `start`, or what it looks like instead.
    fn of(start: &[u8]) -> Result<Self, &'static str> {
        let length = start.first_chunk().copied().map(u64::from_le_bytes);
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
        })
    }
}

impl ElementType {
    /// Bytes of a number, where it is a real one.
    fn size(&self) -> Option<usize> {
        match self {
            Self::F64 => Some(8),
            Self::F32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            Self::Other(_) => None,
        }
    }

    /// Appends numbers, converted to 32 bits, from their little-endian bytes.
    fn convert(&self, bytes: &[u8], numbers: &mut Vec<f32>) {
        match self {
            Self::F64 => {
                let (words, _) = bytes.as_chunks();
                numbers.extend(words.iter().map(|word| f64::from_le_bytes(*word) as f32));
            }
            Self::F32 => {
                let (words, _) = bytes.as_chunks();
                numbers.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
            }
            Self::F16 => {
                let (words, _) = bytes.as_chunks();
                numbers.extend(words.iter().map(|word| f16::from_le_bytes(*word).to_f32()));
            }
            Self::BF16 => {
                let (words, _) = bytes.as_chunks();
                numbers.extend(words.iter().map(|word| bf16::from_le_bytes(*word).to_f32()));
            }
            Self::Other(_) => (),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Other(name) => name,
        })
    }
}

impl StoredTensor {
    /// Reads the numbers, row-major, as 32-bit floating point.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] when the file cannot be read, has changed since it was opened, or holds
    /// no real numbers here.
    pub fn read(&self) -> Result<Vec<f32>, WeightsError> {
        let count: usize = self.shape.iter().product();
        let size = self.size()?;
        let mut numbers = Vec::with_capacity(count);
        match &self.data {
            Data::At { file, path, offset } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*offset))
                    .map_err(WeightsError::read(path))?;
                let mut chunk = vec![0; CHUNK.min(count * size)];
                let mut left = count * size;
                while left > 0 {
                    let part = &mut chunk[..CHUNK.min(left)];
                    file.read_exact(part).map_err(WeightsError::read(path))?;
                    self.element_type.convert(part, &mut numbers);
                    left -= part.len();
                }
            }
            Data::Torch { tensor, path } => {
                let bytes = tensor.read().map_err(WeightsError::read(path))?;
                self.element_type.convert(&bytes, &mut numbers);
            }
            Data::Burnpack { tensor, path } => {
                let bytes = tensor
                    .to_bytes()
                    .map_err(|error| WeightsError::damaged(path, error))?;
                // Reads the file, and would panic as a mere reference.
                let bytes = bytes
                    .read(Default::default())
                    .map_err(|error| WeightsError::damaged(path, error))?;
                self.element_type.convert(bytes, &mut numbers);
            }
        }
        Ok(numbers)
    }

    /// Bytes of a number.
    fn size(&self) -> Result<usize, WeightsError> {
        let (Data::At { path, .. } | Data::Torch { path, .. } | Data::Burnpack { path, .. }) =
            &self.data;
        self.element_type.size().ok_or_else(|| WeightsError::Type {
            path: path.to_path_buf(),
            name: printable(&format!("of shape {:?}", self.shape)),
            dtype: self.element_type.to_string(),
        })
    }
}

impl fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.element_type, self.shape)
    }
}

fn file_in(folder: &Path) -> Result<PathBuf, WeightsError> {
    IN_A_FOLDER
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| WeightsError::NoFile {
            folder: folder.to_path_buf(),
            looked_for: IN_A_FOLDER,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, −0.5 and the largest number of each type.
    #[test]
    fn numbers_of_every_width_become_32_bit_ones() {
        let bits = |numbers: [u64; 3], size: usize| -> Vec<u8> {
            let bytes = |number: u64| number.to_le_bytes().into_iter().take(size);
            numbers.into_iter().flat_map(bytes).collect()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for (name, size, numbers, largest) in [
            ("F16", 2, [0x3c00, 0xb800, 0x7bff], 65504.0),
            (
                "BF16",
                2,
                [0x3f80, 0xbf00, 0x7f7f],
                f32::from_bits(0x7f7f_0000),
            ),
            ("F32", 4, [0x3f80_0000, 0xbf00_0000, 0x7f7f_ffff], f32::MAX),
            (
                "F64",
                8,
                [1f64, -0.5, f64::from(f32::MAX)].map(f64::to_bits),
                f32::MAX,
            ),
        ] {
            let end = 3 * size;
            let header =
                format!(r#"{{"w":{{"dtype":"{name}","shape":[3],"data_offsets":[0,{end}]}}}}"#);
            let length = (header.len() as u64).to_le_bytes();
            let file = [&length, header.as_bytes(), &bits(numbers, size)].concat();
            std::fs::write(&path, file).unwrap();
            let file = WeightsFile::open(&path).unwrap();
            let tensor = &file.tensors()["w"];
            assert_eq!(tensor.element_type.to_string(), name.to_lowercase());
            assert_eq!(tensor.read().unwrap(), [1.0, -0.5, largest], "{name}");
        }
    }

    #[test]
    fn a_folder_without_weights_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = WeightsFile::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("pytorch_model.bin"), "{error}");
    }
}
