//! A tensor of a file, whose numbers are read when they are asked for.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::store::burn_pack;
use convirt_data::open_regular;
use half::{bf16, f16};

use super::WeightsError;
use super::error::printable;

/// Bytes converted at a time.
const CHUNK: usize = 1 << 20;

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

/// A tensor of a [`WeightsFile`](super::WeightsFile).
#[derive(Clone)]
pub struct StoredTensor {
    /// Type of its numbers.
    pub element_type: ElementType,
    /// Its shape, as in the file.
    pub shape: Vec<usize>,
    pub(super) data: Data,
}

/// Where the numbers of a tensor are.
#[derive(Clone)]
pub(super) enum Data {
    /// Little-endian and row-major from `offset` on.
    At {
        file: Arc<Mutex<File>>,
        path: Arc<Path>,
        offset: u64,
    },
    /// The same, in a file that is opened when they are read.
    Beside { path: Arc<Path>, offset: u64 },
    /// Converted already, from the file at `path`.
    Here {
        numbers: Arc<[f32]>,
        path: Arc<Path>,
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

impl ElementType {
    /// Bytes of a number, where it is a real one.
    pub(super) fn size(&self) -> Option<usize> {
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
                self.read_from(&mut file, *offset, count * size, &mut numbers)
                    .map_err(WeightsError::read(path))?;
            }
            Data::Beside { path, offset } => {
                open_regular(path)
                    .and_then(|mut file| {
                        self.read_from(&mut file, *offset, count * size, &mut numbers)
                    })
                    .map_err(WeightsError::read(path))?;
            }
            Data::Here { numbers: all, .. } => numbers.extend_from_slice(all),
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

    /// Appends the numbers of so many bytes from an offset on.
    fn read_from(
        &self,
        file: &mut File,
        offset: u64,
        bytes: usize,
        numbers: &mut Vec<f32>,
    ) -> io::Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        let mut chunk = vec![0; CHUNK.min(bytes)];
        let mut left = bytes;
        while left > 0 {
            let part = &mut chunk[..CHUNK.min(left)];
            file.read_exact(part)?;
            self.element_type.convert(part, numbers);
            left -= part.len();
        }
        Ok(())
    }

    /// Bytes of a number.
    fn size(&self) -> Result<usize, WeightsError> {
        let (Data::At { path, .. }
        | Data::Beside { path, .. }
        | Data::Here { path, .. }
        | Data::Torch { path, .. }
        | Data::Burnpack { path, .. }) = &self.data;
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
