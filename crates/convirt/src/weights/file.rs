//! Weight files of all formats as named tensors.

mod sharded;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use convirt_data::open_regular;

#[cfg(feature = "onnx")]
use super::formats::onnx;
use super::formats::{TAR_MAGIC_RANGE, WeightsFormat, burnpack, safetensors, torch_file};
use super::tensor::StoredTensor;
use super::{WeightsError, checksums};
use sharded::Index;

#[cfg(feature = "hub")]
pub(super) use sharded::parts;

/// The names of weight files in a folder, in order of preference.
///
/// The first four are Hugging Face's. This crate, ConVIRT-Colab and Hugging Face's Optimum write
/// the others.
const FOLDER_FILES: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model/model.safetensors",
    "checkpoints/model.pth",
    "model.onnx",
];

/// The names of Hugging Face's weight files. An index names further files.
pub(crate) const HUGGING_FACE_FILES: &[&str] = FOLDER_FILES.split_at(4).0;

/// A weights file as named tensors.
///
/// Opening the file reads only names and shapes; [`StoredTensor::read`] reads the numbers. Files
/// are neither executed nor trusted: opening checks names, shapes and offsets against the file's
/// size.
///
/// # Example
///
/// ```
/// use convirt::weights::{WeightsFile, WeightsFormat};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.safetensors");
/// // A file with one tensor, which has shape [2] and the numbers 1 and 2.
/// let header = r#"{"bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
/// let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
/// bytes.extend(header.bytes());
/// bytes.extend([1f32, 2.0].into_iter().flat_map(f32::to_le_bytes));
/// std::fs::write(&path, bytes)?;
///
/// let file = WeightsFile::open(&path)?;
/// assert_eq!(file.format(), WeightsFormat::Safetensors);
/// for (name, tensor) in file.tensors() {
///     println!("{name}: {} {:?}", tensor.element_type, tensor.shape);
/// }
/// assert_eq!(file.tensors()["bias"].read()?, [1.0, 2.0]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    format: WeightsFormat,
    tensors: BTreeMap<String, StoredTensor>,
}

impl WeightsFile {
    /// Opens a weights file, or that in a folder of a run, Hugging Face or ConVIRT-Colab.
    ///
    /// The content decides on the format; the extension `.onnx` also identifies ONNX. An index
    /// (`*.index.json`) opens all files that it lists.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] if the file is missing, in no known format, truncated or inconsistent, or
    /// if it differs from the checksum that a run recorded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open(find_file(path)?);
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            return Self::open_parts(path);
        }
        Self::open_file(path)
    }

    /// Opens a single file that is not an index.
    fn open_file(path: &Path) -> Result<Self, WeightsError> {
        checksums::verify(path)?;
        let mut file = open_regular(path).map_err(WeightsError::read(path))?;
        let size = file.metadata().map_err(WeightsError::read(path))?.len();
        let mut start = Vec::new();
        (&mut file)
            .take(TAR_MAGIC_RANGE.end as u64)
            .read_to_end(&mut start)
            .and_then(|_| file.rewind())
            .map_err(WeightsError::read(path))?;
        let format =
            WeightsFormat::recognize(path, &start).map_err(|found| WeightsError::NotWeights {
                path: path.to_path_buf(),
                found,
            })?;
        let tensors = match format {
            WeightsFormat::Safetensors => safetensors::open(path, file, size)?,
            WeightsFormat::Torch => torch_file::open(path, size)?,
            WeightsFormat::Burnpack => burnpack::open(path, file, size)?,
            #[cfg(feature = "onnx")]
            WeightsFormat::Onnx => onnx::open(path, file, size)?,
            #[cfg(not(feature = "onnx"))]
            WeightsFormat::Onnx => {
                return Err(WeightsError::WithoutOnnx {
                    path: path.to_path_buf(),
                });
            }
        };
        Ok(Self::new(path, format, tensors))
    }

    /// Opens all files that an index lists.
    fn open_parts(path: &Path) -> Result<Self, WeightsError> {
        let index = Index::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut tensors = BTreeMap::new();
        let mut format = WeightsFormat::Safetensors;
        for part in index.parts(path)? {
            let file = Self::open_file(&folder.join(&part))?;
            format = file.format;
            for (name, tensor) in file.tensors {
                if tensors.contains_key(&name) {
                    let detail = format!("tensor `{name}` of {part} is in another part, too");
                    return Err(WeightsError::damaged(path, detail));
                }
                tensors.insert(name, tensor);
            }
        }
        let missing = index
            .weight_map
            .iter()
            .find(|(name, _)| !tensors.contains_key(*name));
        match missing {
            None => Ok(Self::new(path, format, tensors)),
            Some((name, part)) => {
                let detail = format!("no tensor `{name}` in {part}, where it should be");
                Err(WeightsError::damaged(path, detail))
            }
        }
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

    /// Keeps only the tensors whose names start with `prefix`, for example `module.encoder_q` in a
    /// file with several encoders.
    ///
    /// # Errors
    ///
    /// [`WeightsError::NoPrefix`] if there are no such tensors.
    pub fn under(mut self, prefix: &str) -> Result<Self, WeightsError> {
        let prefix = prefix.trim_end_matches('.');
        self.tensors.retain(|name, _| {
            let suffix = name.strip_prefix(prefix);
            prefix.is_empty() || suffix.is_some_and(|suffix| suffix.starts_with('.'))
        });
        if self.tensors.is_empty() {
            return Err(WeightsError::NoPrefix {
                path: self.path,
                prefix: prefix.to_string(),
            });
        }
        Ok(self)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the format of the file.
    pub fn format(&self) -> WeightsFormat {
        self.format
    }

    /// Returns whether a tensor is a constant of an ONNX graph instead of a parameter.
    ///
    /// Exporters store both as initializers. Only parameters have names of PyTorch modules, which
    /// are words joined by dots.
    pub(super) fn is_graph_constant(&self, name: &str) -> bool {
        let is_in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        self.format == WeightsFormat::Onnx && !(name.contains('.') && name.chars().all(is_in_word))
    }

    /// Returns the tensors, sorted by name.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }
}

/// Returns the path of the preferred weights file in a folder.
fn find_file(folder: &Path) -> Result<PathBuf, WeightsError> {
    FOLDER_FILES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| WeightsError::NoFile {
            folder: folder.to_path_buf(),
            looked_for: FOLDER_FILES,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are 1, −0.5 and the largest number of each type.
    #[test]
    fn numbers_of_all_floating_point_types_are_converted_to_32_bits() {
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
    fn the_error_for_a_folder_without_weights_lists_the_expected_files() {
        let folder = tempfile::tempdir().unwrap();
        let error = WeightsFile::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("pytorch_model.bin"), "{error}");
    }
}
