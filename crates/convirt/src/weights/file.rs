//! Files of named tensors, whatever wrote them.

mod sharded;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use convirt_data::open_regular;

#[cfg(feature = "onnx")]
use super::formats::onnx;
use super::formats::{TAR_MARK, WeightsFormat, burnpack, safetensors, torch_file};
use super::tensor::StoredTensor;
use super::{WeightsError, checksums};
use sharded::Index;

#[cfg(feature = "hub")]
pub(super) use sharded::parts;

/// Files that weights come in, within a folder, in order of preference: what Hugging Face (the
/// first four), this crate, ConVIRT-Colab and Hugging Face's Optimum write.
const IN_A_FOLDER: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model/model.safetensors",
    "checkpoints/model.pth",
    "model.onnx",
];

/// Those of a model of Hugging Face. An index names further files.
pub(crate) const OF_HUGGING_FACE: &[&str] = IN_A_FOLDER.split_at(4).0;

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

impl WeightsFile {
    /// Opens a file of weights, or that of a folder: a run's, Hugging Face's or ConVIRT-Colab's.
    ///
    /// The format is known by the content, ONNX by the extension `.onnx` too. An index (`*.index.json`) stands for all of its parts.
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
            return Self::open_parts(path);
        }
        Self::open_file(path)
    }

    /// Opens one file, which is no index.
    fn open_file(path: &Path) -> Result<Self, WeightsError> {
        checksums::verify(path)?;
        let mut file = open_regular(path).map_err(WeightsError::read(path))?;
        let size = file.metadata().map_err(WeightsError::read(path))?.len();
        let mut start = Vec::new();
        (&mut file)
            .take(TAR_MARK.end as u64)
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

    /// Opens every file of an index.
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

    /// Whether a tensor is a constant of a graph, which exporters keep beside the parameters.
    /// Those have names of PyTorch's modules: words with dots between them.
    pub(super) fn is_constant(&self, name: &str) -> bool {
        let is_in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        self.format == WeightsFormat::Onnx && !(name.contains('.') && name.chars().all(is_in_word))
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
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
