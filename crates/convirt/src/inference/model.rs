//! A trained model: image files and sentences in, embeddings out.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use convirt_data::{LoaderConfig, Radiograph, ReportTokenizer};
use convirt_model::{
    BertConfig, ConVirt as Network, ConVirtConfig, Encoded, ResNetConfig, SimClr, TextInput,
};
use convirt_ops::{Precision, autocast};

use super::assistants::Assistants;
use super::description::{Description, ModelFiles};
use super::embedded_batch::TowerOutput;
use super::error::InferenceError;
use super::identity::ModelIdentity;
use super::image_model::ImageModel;
use crate::compute::device;
use crate::error::Error;
use crate::network::NetworkConfig;
use crate::weights::{self, Layout, WeightsFile};

/// A trained image encoder and text encoder, with the tokenizer and the image transform they were
/// trained with.
///
/// # Examples
///
/// ```no_run
/// use convirt::{Model, similarity};
///
/// # fn main() -> Result<(), convirt::Error> {
/// let model = Model::load("runs/2026-01-16_02-27-36_phantom")?;
/// let image = model.embed_image("chest.png")?;
/// let text = model.embed_text("Small left pleural effusion.")?;
/// println!("{:.3}", similarity(&image, &text));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Model {
    network: Network,
    image_tower: ImageModel,
    tokenizer: Arc<ReportTokenizer>,
    description: Description<ConVirtConfig>,
}

impl Model {
    /// Loads the model of a run on the best device of this build.
    ///
    /// `run` is a run (its folder, its name in `runs`, a beginning of the name that no other run has,
    /// or `latest`), the model folder within it, one of its checkpoints,
    /// `checkpoint/model-<step>.bpk`, an exported folder, or the name of one on the Hugging Face hub,
    /// `owner/name`, which is downloaded once.
    ///
    /// # Errors
    ///
    /// When there is no model, when it is a SimCLR model without a text encoder, or when its files
    /// are damaged or do not belong together.
    pub fn load(run: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_on(run, &device(None)?)
    }

    /// Loads the model of a run on the given device.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let files = ModelFiles::find(run.as_ref())?;
        let config = match &files.description.network {
            NetworkConfig::ConVirt(config) => config.clone(),
            NetworkConfig::SimClr(_) => {
                return Err(InferenceError::NoTextEncoder { path: files.folder }.into());
            }
        };
        files.check_memory(device)?;
        let network = config.init(device)?;
        let file = WeightsFile::open(&files.weights)?;
        let (network, _) = weights::load_network(network, &file, &[])?;
        let network = network.valid();
        let tokenizer = ReportTokenizer::from_folder(&files.folder, None)?;
        let (words, rows) = (tokenizer.vocab_size(), config.text.vocab_size);
        if words > rows {
            return Err(InferenceError::VocabularyTooLarge {
                folder: files.folder,
                words,
                rows,
            }
            .into());
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
            image_tower: ImageModel::new(image_side, files, device)?,
        })
    }

    /// Sets the precision that images and texts are embedded in; the default is float32, which a
    /// device that does not compute in the given one keeps, with a warning.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self {
            image_tower: self.image_tower.with_precision(precision),
            ..self
        }
    }

    /// Lets other devices or processes embed their shares of large sets.
    pub fn with_assistants(self, assistants: Arc<Assistants>) -> Self {
        Self {
            image_tower: self.image_tower.with_assistants(assistants),
            ..self
        }
    }

    /// Embeds an image file: `d_embedding` numbers of L2 norm 1.
    ///
    /// # Errors
    ///
    /// When the file is not a readable image.
    pub fn embed_image(&self, path: impl AsRef<Path>) -> Result<Vec<f32>, Error> {
        self.image_tower.embed_image(path, TowerOutput::Embedding)
    }

    /// Embeds an image given as the content of its file (JPEG, PNG, DICOM), like
    /// [`embed_image`](Self::embed_image).
    ///
    /// # Errors
    ///
    /// When the bytes are not a readable image.
    pub fn embed_image_bytes(&self, file: &[u8]) -> Result<Vec<f32>, Error> {
        let tower = &self.image_tower;
        tower.embed_image_bytes(file, TowerOutput::Embedding)
    }

    /// Embeds an image given as its pixels, like [`embed_image`](Self::embed_image).
    ///
    /// # Errors
    ///
    /// When the embedding is not finite.
    pub fn embed_radiograph(&self, image: &Radiograph) -> Result<Vec<f32>, Error> {
        let tower = &self.image_tower;
        tower.embed_radiograph(image, TowerOutput::Embedding)
    }

    /// Embeds a sentence or report: `d_embedding` numbers of L2 norm 1. The text is cut off at the
    /// model's maximum number of tokens.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot encode the text.
    pub fn embed_text(&self, text: &str) -> Result<Vec<f32>, Error> {
        self.embed_text_as(text, TowerOutput::Embedding)
    }

    /// Embeds a sentence or report and returns the given output of the text side; see
    /// [`embed_text`](Self::embed_text).
    ///
    /// # Errors
    ///
    /// As [`embed_text`](Self::embed_text).
    pub fn embed_text_as(&self, text: &str, output: TowerOutput) -> Result<Vec<f32>, Error> {
        let texts = [text];
        let mut batches = self.embed_texts(&texts, &LoaderConfig::default())?;
        let batch = batches.next().expect("one text is one batch")?;
        Ok(batch.into_values(output))
    }

    /// Encodes tokenized texts in the model's precision.
    pub(crate) fn encode_text(&self, texts: TextInput) -> Encoded {
        autocast(self.precision(), || self.network.encode_text(texts))
    }

    /// Returns the width of an output of the text side.
    pub fn text_width(&self, output: TowerOutput) -> usize {
        let network = &self.description.network;
        match output {
            TowerOutput::Features => network
                .pooling
                .d_pooled(network.text.d_model())
                .expect("the configuration only allows poolings to one vector"),
            TowerOutput::Embedding => network.d_embedding,
        }
    }

    /// Returns the image side.
    pub fn image_tower(&self) -> &ImageModel {
        &self.image_tower
    }

    /// Computes the identity of the model from its files.
    ///
    /// # Errors
    ///
    /// When the weights file can no longer be read.
    pub fn identity(&self) -> Result<ModelIdentity, Error> {
        self.image_tower.identity()
    }

    /// Returns the precision that images and texts are embedded in.
    pub fn precision(&self) -> Precision {
        self.image_tower.precision()
    }

    /// Returns the networks, to run them on batches of tensors. They compute in the precision of
    /// the enclosing [`autocast`].
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the configuration of the image encoder.
    pub fn image_config(&self) -> &ResNetConfig {
        &self.description.network.image
    }

    /// Returns the configuration of the text encoder.
    pub fn text_config(&self) -> &BertConfig {
        &self.description.network.text
    }

    /// Returns the configuration of the whole network.
    pub(crate) fn network_config(&self) -> &ConVirtConfig {
        &self.description.network
    }

    /// Returns the names of the parameters in this crate's own files.
    pub(crate) fn layout(&self) -> Layout {
        NetworkConfig::ConVirt(self.description.network.clone()).layout()
    }

    /// Returns the tokenizer that the text encoder was trained with.
    pub fn tokenizer(&self) -> &ReportTokenizer {
        &self.tokenizer
    }

    /// Returns the maximum length of a text, in tokens; longer texts are cut off.
    pub(crate) fn max_tokens(&self) -> usize {
        self.description.longest_text_of(self.text_config())
    }

    pub(crate) fn device(&self) -> &Device {
        self.image_tower.device()
    }
}
