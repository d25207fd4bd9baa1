//! A trained model as its users want it: files and sentences in, embeddings out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use convirt_data::{EvalResize, EvalTransform, ImageStore, ImageStoreConfig, ReportTokenizer};
use convirt_model::{
    BertConfig, ConVirt as Network, ConVirtConfig as NetworkConfig, ResNetConfig, TextInput,
};
use serde::{Deserialize, Serialize};

use crate::device::device;
use crate::error::{Error, read_error, write_error};
use crate::weights::{self, Layout, Naming, WeightsFile};

const WEIGHTS: &str = "model.safetensors";
const DESCRIPTION: &str = "convirt.json";
const TOKENIZER: &str = "tokenizer.json";

/// A trained pair of encoders with the tokenizer and image transform that belong to it.
///
/// ```no_run
/// use convirt::{ConVirt, similarity};
///
/// # fn main() -> Result<(), convirt::Error> {
/// let model = ConVirt::load("runs/2026-01-16_02-27-36_phantom")?;
/// let image = model.embed_image("chest.png")?;
/// let text = model.embed_text("Small left pleural effusion.")?;
/// println!("{:.3}", similarity(&image, &text));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConVirt {
    network: Network,
    tokenizer: Arc<ReportTokenizer>,
    images: ImageStore,
    transform: EvalTransform,
    description: Description,
    device: Device,
}

/// What a model folder's `convirt.json` says: all but weights and vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub network: NetworkConfig,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    pub eval_resize: EvalResize,
    /// Longer side that images are scaled down to before anything else, in pixels.
    pub longer_side: Option<usize>,
    /// Longest text, in tokens.
    pub max_tokens: usize,
}

impl ConVirt {
    /// Loads the model of a run on the best device of this build.
    ///
    /// `run` is a run's folder, the model folder within it, or one of its checkpoints,
    /// `checkpoint/model-<step>.bpk`.
    ///
    /// # Errors
    ///
    /// When there is no model, or its files are damaged or do not belong together.
    pub fn load(run: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_on(run, &device(None)?)
    }

    /// Loads the model of a run on a device.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let (folder, weights) = model_files(run.as_ref())?;
        let description = Description::load(&folder)?;
        let network = description.network.init(device)?;
        let network = description.load_weights(network, &weights)?;
        Ok(Self {
            network: network.valid(),
            tokenizer: Arc::new(ReportTokenizer::from_folder(&folder, None)?),
            images: ImageStore::new(ImageStoreConfig {
                longer_side: description.longer_side,
                cache_mb: 0,
                ..ImageStoreConfig::default()
            })?,
            transform: EvalTransform::new(description.image_size, description.eval_resize)?,
            device: device.clone(),
            description,
        })
    }

    /// Embeds an image file: `d_embedding` numbers of L2 norm 1.
    ///
    /// # Errors
    ///
    /// When the file is not a readable image.
    pub fn embed_image(&self, path: impl AsRef<Path>) -> Result<Vec<f32>, Error> {
        let image = self.images.load(path.as_ref())?;
        let size = self.transform.size();
        let pixels = TensorData::new(self.transform.apply(&image), [1, 3, size, size]);
        let images = Tensor::from_data(pixels, &self.device);
        Ok(normalized(self.network.encode_image(images).embedding))
    }

    /// Embeds a sentence or report: `d_embedding` numbers of L2 norm 1. What exceeds the model's
    /// maximum of tokens is cut off.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot encode the text.
    pub fn embed_text(&self, text: &str) -> Result<Vec<f32>, Error> {
        let tokens = self.tokenizer.encode(text, self.description.max_tokens)?;
        let row = |values: &[u32]| {
            let values: Vec<i64> = values.iter().copied().map(i64::from).collect();
            Tensor::<1, Int>::from_data(values.as_slice(), &self.device).unsqueeze::<2>()
        };
        let shape = [1, tokens.ids.len()];
        let input = TextInput {
            input_ids: row(&tokens.ids),
            attention_mask: Tensor::<2, Bool>::full(shape, true, &self.device),
            token_type_ids: Some(row(&tokens.type_ids)),
        };
        Ok(normalized(self.network.encode_text(input).embedding))
    }

    /// The networks themselves, for batches of tensors.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Shape of the image encoder.
    pub fn image_config(&self) -> &ResNetConfig {
        &self.description.network.image
    }

    /// Shape of the text encoder.
    pub fn text_config(&self) -> &BertConfig {
        &self.description.network.text
    }

    /// Shape of the whole network.
    pub(crate) fn network_config(&self) -> &NetworkConfig {
        &self.description.network
    }

    /// Names of the model's parameters in its own files.
    pub(crate) fn layout(&self) -> Layout {
        self.description.layout()
    }

    /// The vocabulary that the text encoder was trained with.
    pub fn tokenizer(&self) -> &ReportTokenizer {
        &self.tokenizer
    }
}

impl Description {
    /// Reads `convirt.json` of a model folder.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(DESCRIPTION);
        let json = fs::read(&path).map_err(read_error(&path))?;
        serde_json::from_slice(&json).map_err(|source| Error::BrokenDescription { path, source })
    }

    /// Writes `convirt.json` and the tokenizer, which do not change while a model trains.
    pub fn save(&self, tokenizer: &ReportTokenizer, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(write_error(folder))?;
        let path = folder.join(DESCRIPTION);
        let json = serde_json::to_string_pretty(self).expect("a description is plain data");
        fs::write(&path, json + "\n").map_err(write_error(&path))?;
        Ok(tokenizer.save(folder)?)
    }

    /// Names of the network's parameters in its own files: torchvision's and `transformers`'.
    pub fn layout(&self) -> Layout {
        Layout::convirt(
            Naming::TORCHVISION,
            Naming::of_family(self.network.text.family),
        )
    }

    /// Writes the weights of a network of this description.
    pub fn save_weights(&self, network: &Network, folder: &Path) -> Result<(), Error> {
        let tensors = weights::tensors(&network.valid(), &self.layout());
        Ok(weights::save(tensors, &folder.join(WEIGHTS))?)
    }

    /// Reads the weights of a network of this description from a file or a model's folder.
    pub fn load_weights(&self, network: Network, path: &Path) -> Result<Network, Error> {
        let file = WeightsFile::open(path)?;
        let (network, _) = weights::load_network(network, &file, &[])?;
        Ok(network)
    }
}

/// The folder that describes the model of a run, and its file of weights: of the model itself, or
/// the checkpoint that `path` is.
fn model_files(path: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let (folder, weights) = if path.is_file() {
        let folder = folder_of_weights(path).unwrap_or_default();
        (folder, path.to_path_buf())
    } else {
        let inside = path.join("model");
        let folder = match inside.is_dir() {
            true => inside,
            false => path.to_path_buf(),
        };
        let weights = folder.join(WEIGHTS);
        (folder, weights)
    };
    let files = [
        folder.join(DESCRIPTION),
        folder.join(TOKENIZER),
        weights.clone(),
    ];
    let missing: Vec<&'static str> = [DESCRIPTION, TOKENIZER, WEIGHTS]
        .into_iter()
        .zip(&files)
        .filter(|(_, path)| !path.is_file())
        .map(|(name, _)| name)
        .collect();
    match missing.is_empty() {
        true => Ok((folder, weights)),
        false => Err(Error::NoModel { folder, missing }),
    }
}

/// The model folder that a file of weights belongs to: the one it lies in, or that of its run.
pub(crate) fn folder_of_weights(weights: &Path) -> Option<PathBuf> {
    let folder = weights.parent()?;
    let of_run = folder.parent().unwrap_or(Path::new("")).join("model");
    let folders = [folder.to_path_buf(), of_run];
    folders
        .into_iter()
        .find(|folder| folder.join(DESCRIPTION).is_file())
}

/// Cosine similarity of two embeddings of one model, in `[-1, 1]`.
///
/// # Panics
///
/// When their lengths differ.
pub fn similarity(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "embeddings of one model have one length");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The rows of `embeddings` at L2 norm 1, one after the other.
pub(crate) fn normalized(embeddings: Tensor<2>) -> Vec<f32> {
    let norm = embeddings
        .clone()
        .square()
        .sum_dim(1)
        .sqrt()
        .clamp_min(1e-12);
    (embeddings / norm).into_data().iter::<f32>().collect()
}
