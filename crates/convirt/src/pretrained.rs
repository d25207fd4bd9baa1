//! A trained model as its users want it: files and sentences in, embeddings out.

mod identity;
mod image_tower;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use convirt_data::{DecodeLimits, EvalResize, LoaderConfig, ReportTokenizer};
use convirt_model::{
    BertConfig, ConVirt as Network, ConVirtConfig, Encoded, ModelError, ResNetConfig, SimClr,
    TextInput,
};
use convirt_ops::{Precision, autocast};
use serde::{Deserialize, Serialize};

use crate::config::Objective;
use crate::device::device;
use crate::embeddings::{ImageEmbeddings, TextEmbeddings, TowerOutput};
use crate::error::{Error, write_error};
use crate::json_file::read_json;
use crate::memory::MemoryNeed;
use crate::network::NetworkConfig;
use crate::weights::{self, Layout, WeightsFile, checksums};

pub use identity::ModelIdentity;
pub use image_tower::ImageTower;

const WEIGHTS: &str = "model.safetensors";
/// Weights that are about to become the model's.
const NEW_WEIGHTS: &str = "new.safetensors";
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
    image_tower: ImageTower,
    tokenizer: Arc<ReportTokenizer>,
    description: Description<ConVirtConfig>,
}

/// What a model folder's `convirt.json` says: all but weights and vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description<N = NetworkConfig> {
    /// What the model was trained for, which tells what `network` is. Descriptions from before
    /// there was a choice do not say it.
    #[serde(default)]
    pub objective: Objective,
    pub network: N,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    pub eval_resize: EvalResize,
    /// Longer side that images are scaled down to before anything else, in pixels.
    pub longer_side: Option<usize>,
    /// Whether JPEG and PNG files are turned as their EXIF asks; in descriptions from before there
    /// was a choice, they are.
    #[serde(
        default = "default_exif_orientation",
        skip_serializing_if = "is_default_exif_orientation"
    )]
    pub exif_orientation: bool,
    /// Longest text, in tokens; none of images alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

impl ConVirt {
    /// Loads the model of a run on the best device of this build.
    ///
    /// `run` is a run's folder, the model folder within it, or one of its checkpoints,
    /// `checkpoint/model-<step>.bpk`.
    ///
    /// # Errors
    ///
    /// When there is no model, it has no text encoder (SimCLR's), or its files are damaged or do
    /// not belong together.
    pub fn load(run: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_on(run, &device(None)?)
    }

    /// Loads the model of a run on a device.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let files = ModelFiles::find(run.as_ref())?;
        let config = match &files.description.network {
            NetworkConfig::ConVirt(config) => config.clone(),
            NetworkConfig::SimClr(_) => return Err(Error::NoTextEncoder { path: files.folder }),
        };
        files.check_memory(device)?;
        let network = config.init(device)?;
        let file = WeightsFile::open(&files.weights)?;
        let (network, _) = weights::load_network(network, &file, &[])?;
        let network = network.valid();
        let tokenizer = ReportTokenizer::from_folder(&files.folder, None)?;
        let (words, rows) = (tokenizer.vocab_size(), config.text.vocab_size);
        if words > rows {
            return Err(Error::VocabularyTooLarge {
                folder: files.folder,
                words,
                rows,
            });
        }
        let image_side = SimClr {
            image_encoder: network.image_encoder.clone(),
            image_projection: network.image_projection.clone(),
            loss: files.description.network.image_side().loss.init()?,
        };
        Ok(Self {
            network,
            tokenizer: Arc::new(tokenizer),
            description: files.description.clone().map(|_| config),
            image_tower: ImageTower::new(image_side, files, device)?,
        })
    }

    /// Sets the precision that images and texts are embedded in; without this it is float32.
    ///
    /// # Errors
    ///
    /// [`Error::NoBFloat16`] when the device does not compute in it.
    pub fn with_precision(self, precision: Precision) -> Result<Self, Error> {
        Ok(Self {
            image_tower: self.image_tower.with_precision(precision)?,
            ..self
        })
    }

    /// Embeds an image file: `d_embedding` numbers of L2 norm 1.
    ///
    /// # Errors
    ///
    /// When the file is not a readable image.
    pub fn embed_image(&self, path: impl AsRef<Path>) -> Result<Vec<f32>, Error> {
        self.image_tower.embed_image(path, TowerOutput::Embedding)
    }

    /// Embeds images batch by batch; see [`ImageTower::embed_images`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn embed_images(
        &self,
        paths: impl Into<Arc<[PathBuf]>>,
        loader: &LoaderConfig,
        max_bad_share: f64,
    ) -> Result<ImageEmbeddings<'_>, Error> {
        self.image_tower.embed_images(paths, loader, max_bad_share)
    }

    /// Embeds a sentence or report: `d_embedding` numbers of L2 norm 1. What exceeds the model's
    /// maximum of tokens is cut off.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot encode the text.
    pub fn embed_text(&self, text: &str) -> Result<Vec<f32>, Error> {
        self.embed_text_as(text, TowerOutput::Embedding)
    }

    /// Embeds a sentence or report, the output asked for; see [`embed_text`](Self::embed_text).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn embed_text_as(&self, text: &str, output: TowerOutput) -> Result<Vec<f32>, Error> {
        let texts = [text];
        let mut batches = self.embed_texts(&texts, &LoaderConfig::default())?;
        let batch = batches.next().expect("one text is one batch")?;
        Ok(batch.into_values(output))
    }

    /// Embeds sentences or reports, `loader.batch_size` at a time; what exceeds the model's
    /// maximum of tokens is cut off.
    ///
    /// Of many texts, those of similar length are embedded together, which saves padding; the
    /// results come in the order of the texts.
    ///
    /// # Errors
    ///
    /// [`DataError::NothingToLoad`](convirt_data::DataError::NothingToLoad) without texts,
    /// [`DataError::OutOfRange`](convirt_data::DataError::OutOfRange) for a batch of none.
    pub fn embed_texts<'a, T: AsRef<str> + Sync>(
        &'a self,
        texts: &'a [T],
        loader: &LoaderConfig,
    ) -> Result<TextEmbeddings<'a, T>, Error> {
        TextEmbeddings::new(self, texts, loader)
    }

    /// Encodes texts in the model's precision.
    pub(crate) fn encode_text(&self, texts: TextInput) -> Encoded {
        autocast(self.precision(), || self.network.encode_text(texts))
    }

    /// Numbers of an output of the text side.
    pub fn text_width(&self, output: TowerOutput) -> usize {
        let network = &self.description.network;
        match output {
            TowerOutput::Features => network
                .pooling
                .d_pooled(network.text.d_model())
                .expect("the configuration admits poolings to one vector only"),
            TowerOutput::Embedding => network.d_embedding,
        }
    }

    /// The image side by itself.
    pub fn image_tower(&self) -> &ImageTower {
        &self.image_tower
    }

    /// What tells this model from others; see [`ImageTower::identity`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn identity(&self) -> Result<ModelIdentity, Error> {
        self.image_tower.identity()
    }

    /// Returns the precision that images and texts are embedded in.
    pub fn precision(&self) -> Precision {
        self.image_tower.precision()
    }

    /// The networks themselves, for batches of tensors; they compute in the precision of the
    /// [`autocast`] around them.
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
    pub(crate) fn network_config(&self) -> &ConVirtConfig {
        &self.description.network
    }

    /// Names of the model's parameters in its own files.
    pub(crate) fn layout(&self) -> Layout {
        NetworkConfig::ConVirt(self.description.network.clone()).layout()
    }

    /// The vocabulary that the text encoder was trained with.
    pub fn tokenizer(&self) -> &ReportTokenizer {
        &self.tokenizer
    }

    /// Longest text that is embedded, in tokens.
    pub(crate) fn max_tokens(&self) -> usize {
        let most = self.text_config().max_tokens();
        self.description
            .max_tokens
            .map_or(most, |longest| longest.min(most))
    }

    pub(crate) fn device(&self) -> &Device {
        self.image_tower.device()
    }
}

impl Description {
    /// Reads `convirt.json` of a model folder.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(DESCRIPTION);
        checksums::verify(&path)?;
        let json = read_json(&path)?;
        let description = match Self::parse(&json) {
            Ok(description) => description,
            Err(source) => return Err(Error::BrokenDescription { path, source }),
        };
        match description.validate() {
            Ok(()) => Ok(description),
            Err(source) => Err(Error::InvalidDescription { path, source }),
        }
    }

    /// Checks that a network of such numbers is possible, and its inputs.
    fn validate(&self) -> Result<(), ModelError> {
        self.network.validate()?;
        check_sides(self.image_size, self.longer_side)?;
        // What surrounds a text takes two.
        let tokens = self.max_tokens.unwrap_or(3);
        in_range("max_tokens", tokens, 3..=1 << 20, "3 to 1,048,576")
    }

    fn parse(json: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            objective: Objective,
        }
        let Kind { objective } = serde_json::from_slice(json)?;
        Ok(match objective {
            Objective::ConVirt => {
                serde_json::from_slice::<Description<_>>(json)?.map(NetworkConfig::ConVirt)
            }
            Objective::SimClr => {
                serde_json::from_slice::<Description<_>>(json)?.map(NetworkConfig::SimClr)
            }
        })
    }

    /// Writes `convirt.json` and the tokenizer, where there is one, and their checksums; neither
    /// changes while a model trains.
    pub fn save(&self, tokenizer: Option<&ReportTokenizer>, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(write_error(folder))?;
        let path = folder.join(DESCRIPTION);
        let json = serde_json::to_string_pretty(self).expect("a description is plain data");
        fs::write(&path, json + "\n").map_err(write_error(&path))?;
        let mut names = vec![DESCRIPTION];
        if let Some(tokenizer) = tokenizer {
            tokenizer.save(folder)?;
            names.extend(ReportTokenizer::FILES);
        }
        Ok(checksums::record(folder, &names)?)
    }

    /// Writes the weights of a network of this description, and their checksum.
    pub fn save_weights(&self, network: &impl Module, folder: &Path) -> Result<(), Error> {
        let tensors = weights::tensors(&network.valid(), &self.network.layout());
        let aside = folder.join(NEW_WEIGHTS);
        weights::save(tensors, &aside)?;
        Ok(checksums::publish(&aside, folder, WEIGHTS)?)
    }
}

/// Checks the sizes that a description scales images to, in pixels.
pub(crate) fn check_sides(image_size: usize, longer_side: Option<usize>) -> Result<(), ModelError> {
    in_range("image_size", image_size, 8..=4_096, "8 to 4,096")?;
    let longer_side = longer_side.unwrap_or(1);
    in_range("longer_side", longer_side, 1..=65_535, "1 to 65,535")
}

fn in_range(
    key: &'static str,
    number: usize,
    range: RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), ModelError> {
    match range.contains(&number) {
        true => Ok(()),
        false => Err(ModelError::OutOfRange {
            key,
            found: number.to_string(),
            expected,
        }),
    }
}

/// The default of a description's `exif_orientation`.
pub(crate) fn default_exif_orientation() -> bool {
    DecodeLimits::default().exif_orientation
}

/// Whether it need not be written.
pub(crate) fn is_default_exif_orientation(exif_orientation: &bool) -> bool {
    *exif_orientation == default_exif_orientation()
}

impl<N> Description<N> {
    fn map<M>(self, change: impl FnOnce(N) -> M) -> Description<M> {
        Description {
            objective: self.objective,
            network: change(self.network),
            image_size: self.image_size,
            eval_resize: self.eval_resize,
            longer_side: self.longer_side,
            exif_orientation: self.exif_orientation,
            max_tokens: self.max_tokens,
        }
    }
}

/// The model of a run.
pub(crate) struct ModelFiles {
    /// Its folder.
    pub folder: PathBuf,
    /// Its weights: those in the folder, or a checkpoint.
    pub weights: PathBuf,
    pub description: Description,
}

impl ModelFiles {
    /// Finds the model that `path` means: a run, its model folder, or one of its checkpoints.
    pub fn find(path: &Path) -> Result<Self, Error> {
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
        let is_described = folder.join(DESCRIPTION).is_file();
        let description = is_described.then(|| Description::load(&folder));
        let description = description.transpose()?;
        let objective = description.as_ref().map(|found| found.objective);
        let is_without_texts = objective == Some(Objective::SimClr);
        let files = [
            (DESCRIPTION, is_described),
            (
                TOKENIZER,
                is_without_texts || folder.join(TOKENIZER).is_file(),
            ),
            (WEIGHTS, weights.is_file()),
        ];
        let missing = files.into_iter().filter(|(_, is_there)| !is_there);
        let missing: Vec<&'static str> = missing.map(|(name, _)| name).collect();
        let Some(description) = description.filter(|_| missing.is_empty()) else {
            return Err(Error::NoModel { folder, missing });
        };
        if !is_without_texts {
            for name in ReportTokenizer::FILES {
                checksums::verify(&folder.join(name))?;
            }
        }
        Ok(Self {
            folder,
            weights,
            description,
        })
    }

    /// Checks that the network fits into memory, before it is built.
    fn check_memory(&self, device: &Device) -> Result<(), Error> {
        MemoryNeed::of_use(&self.description.network).check(device)
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
    // A running sum for each lane, so that the compiler can use wide registers.
    const LANES: usize = 16;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model folder whose description is that of a SimCLR, changed, and whose weights are none.
    #[test]
    fn descriptions_beyond_measure_are_refused_by_file_and_key_before_anything_is_built() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(WEIGHTS), "").unwrap();
        let sound = r#"{"objective": "simclr", "image_size": 32, "eval_resize": "stretch",
            "longer_side": 40, "max_tokens": 9, "network": {"image": {"depth": "resnet18"},
            "d_embedding": 16, "loss": {"temperature": 0.1}}}"#;
        let load = |json: &str| {
            fs::write(folder.path().join(DESCRIPTION), json).unwrap();
            Description::load(folder.path()).map_err(|error| error.to_string())
        };
        load(sound).unwrap();
        for (key, found, changed) in [
            ("d_embedding", "16", "1000000000000"),
            ("image_size", "32", "1000000000"),
            ("longer_side", "40", "0"),
            ("longer_side", "40", "18446744073709551615"),
            ("max_tokens", "9", "2"),
            ("max_tokens", "9", "18446744073709551615"),
            ("temperature", "0.1", "0"),
            ("temperature", "0.1", "1e-40"),
            ("temperature", "0.1", "1e40"),
        ] {
            let (found, changed) = (format!("{key}\": {found}"), format!("{key}\": {changed}"));
            let message = load(&sound.replace(&found, &changed)).unwrap_err();
            let is_named = message.contains(DESCRIPTION) && message.contains(key);
            assert!(is_named, "{changed}: {message}");
        }
    }
}
