//! Tensors of a file, whose numbers are read on request.

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

/// Bytes that are converted at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The element type of a [`StoredTensor`].
///
/// # Example
///
/// ```
/// use convirt::weights::ElementType;
///
/// assert_eq!(ElementType::BF16.to_string(), "bf16");
/// assert_eq!(ElementType::Other("i64".to_string()).to_string(), "i64");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 64-bit floating point.
    F64,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point of IEEE 754.
    F16,
    /// 16-bit floating point with the exponent range of 32-bit floating point (bfloat16).
    BF16,
    /// The name of any other type: integers, booleans, quantized or complex numbers.
    Other(String),
}

/// A tensor of a [`WeightsFile`](super::WeightsFile). Its numbers stay in the file until
/// [`read`](Self::read).
///
/// # Example
///
/// ```no_run
/// use convirt::weights::{ElementType, WeightsFile};
///
/// let file = WeightsFile::open("resnet50.pth")?;
/// let tensor = &file.tensors()["conv1.weight"];
/// assert_eq!(tensor.shape, [64, 3, 7, 7]);
/// assert_eq!(tensor.element_type, ElementType::F32);
/// let numbers = tensor.read()?;
/// assert_eq!(numbers.len(), 64 * 3 * 7 * 7);
/// # Ok::<_, convirt::weights::WeightsError>(())
/// ```
#[derive(Clone)]
pub struct StoredTensor {
    /// The element type in the file.
    pub element_type: ElementType,
    /// The shape in the file.
    pub shape: Vec<usize>,
    pub(super) data: Data,
}

/// The place of a tensor's numbers.
#[derive(Clone)]
pub(super) enum Data {
    /// The open file, which has them in little-endian, row-major order from byte `offset` on.
    File {
        file: Arc<Mutex<File>>,
        path: Arc<Path>,
        offset: u64,
    },
    /// Another file, which has them in the same order and is opened when they are read.
    ExternalFile { path: Arc<Path>, offset: u64 },
    /// Memory: they were already read from the file at `path` and converted.
    Memory {
        numbers: Arc<[f32]>,
        path: Arc<Path>,
    },
    /// A file of `torch.save`.
    Torch {
        tensor: pytorch_reader::Tensor,
        path: Arc<Path>,
    },
    /// A file of Burn.
    Burnpack {
        tensor: burn_pack::Tensor,
        path: Arc<Path>,
    },
}

impl ElementType {
    /// Returns the number of bytes of an element, or `None` if it is not a real number.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::F64 => Some(8),
            Self::F32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            Self::Other(_) => None,
        }
    }

    /// Converts little-endian bytes to 32-bit numbers and appends them to `numbers`.
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
    /// [`WeightsError`] if the file cannot be read, is shorter than when it was opened, or if the
    /// elements are not real numbers.
    pub fn read(&self) -> Result<Vec<f32>, WeightsError> {
        let count: usize = self.shape.iter().product();
        let size = self.size()?;
        let mut numbers = Vec::with_capacity(count);
        match &self.data {
            Data::File { file, path, offset } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                self.read_from(&mut file, *offset, count * size, &mut numbers)
                    .map_err(WeightsError::read(path))?;
            }
            Data::ExternalFile { path, offset } => {
                open_regular(path)
                    .and_then(|mut file| {
                        self.read_from(&mut file, *offset, count * size, &mut numbers)
                    })
                    .map_err(WeightsError::read(path))?;
            }
            Data::Memory {
                numbers: converted, ..
            } => numbers.extend_from_slice(converted),
            Data::Torch { tensor, path } => {
                let bytes = tensor.read().map_err(WeightsError::read(path))?;
                self.element_type.convert(&bytes, &mut numbers);
            }
            Data::Burnpack { tensor, path } => {
                let bytes = tensor
                    .to_bytes()
                    .map_err(|error| WeightsError::damaged(path, error))?;
                // `to_bytes` only returns a reference to the file; `read` reads it.
                let bytes = bytes
                    .read(Default::default())
                    .map_err(|error| WeightsError::damaged(path, error))?;
                self.element_type.convert(bytes, &mut numbers);
            }
        }
        Ok(numbers)
    }

    /// Converts `bytes` bytes of a file from `offset` on and appends their numbers.
    fn read_from(
        &self,
        file: &mut File,
        offset: u64,
        bytes: usize,
        numbers: &mut Vec<f32>,
    ) -> io::Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        let mut chunk = vec![0; CHUNK_BYTES.min(bytes)];
        let mut remaining = bytes;
        while remaining > 0 {
            let part = &mut chunk[..CHUNK_BYTES.min(remaining)];
            file.read_exact(part)?;
            self.element_type.convert(part, numbers);
            remaining -= part.len();
        }
        Ok(())
    }

    /// Returns the number of bytes of an element.
    fn size(&self) -> Result<usize, WeightsError> {
        let (Data::File { path, .. }
        | Data::ExternalFile { path, .. }
        | Data::Memory { path, .. }
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
