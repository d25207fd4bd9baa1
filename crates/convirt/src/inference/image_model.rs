//! The image side of a trained model, without the text side.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use convirt_data::{DecodeLimits, EvalTransform, ImageStore, ImageStoreConfig, Radiograph};
use convirt_model::{Encoded, ResNetConfig, SimClr as Network, SimClrConfig};
use convirt_ops::{Precision, autocast};

use super::assistants::Assistants;
use super::description::{Description, ModelFiles};
use super::embedded_batch::{EmbeddedBatch, TowerOutput};
use super::identity::ModelIdentity;
use crate::compute::{available_precision, device};
use crate::config::Objective;
use crate::error::Error;
use crate::network::NetworkConfig;
use crate::weights::{self, Layout, WeightsFile};

/// Name of an image without a file, in errors.
const IN_MEMORY: &str = "image in memory";

/// The image encoder and projection head of a trained model, of ConVIRT or SimCLR, with the image
/// transform they were trained with.
///
/// To load the encoder without the projection head, use
/// [`load_image_encoder`](crate::weights::load_image_encoder).
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use convirt::inference::TowerOutput;
/// use convirt::{ImageModel, similarity};
///
/// let model = ImageModel::load("runs/2026-01-16_02-27-36_phantom")?;
/// let first = model.embed_image("first.png", TowerOutput::Embedding)?;
/// let second = model.embed_image("second.png", TowerOutput::Embedding)?;
/// println!("{:.3}", similarity(&first, &second));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ImageModel {
    pub(crate) network: Network,
    config: SimClrConfig,
    pub(super) images: Arc<ImageStore>,
    pub(super) transform: EvalTransform,
    pub(crate) description: Description,
    pub(crate) weights: PathBuf,
    pub(super) device: Device,
    pub(super) precision: Precision,
    /// Embed large sets together with this process' device.
    pub(super) assistants: Option<Arc<Assistants>>,
}

impl ImageModel {
    /// Loads the image side of a run's model on the best device of this build.
    ///
    /// `run` is a run (its folder, its name in `runs`, a beginning of the name that no other run has,
    /// or `latest`), the model folder within it, one of its checkpoints,
    /// `checkpoint/model-<step>.bpk`, an exported folder, or the name of one on the Hugging Face hub,
    /// `owner/name`, which is downloaded once.
    ///
    /// # Errors
    ///
    /// When there is no model, or its files are damaged or do not belong together.
    pub fn load(run: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_on(run, &device(None)?)
    }

    /// Loads the image side of a run's model on the given device.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let files = ModelFiles::find(run.as_ref())?;
        files.check_memory(device)?;
        let network = files.description.network.image_side().init(device)?;
        let file = WeightsFile::open(&files.weights)?;
        let (network, _) = weights::load_simclr(network, &file, &[])?;
        Self::new(network.valid(), files, device)
    }

    /// Wraps a network that is loaded already and in evaluation mode.
    pub(crate) fn new(network: Network, files: ModelFiles, device: &Device) -> Result<Self, Error> {
        let ModelFiles {
            weights,
            description,
            ..
        } = files;
        let store = ImageStore::new(ImageStoreConfig {
            longer_side: description.longer_side,
            limits: DecodeLimits {
                exif_orientation: description.exif_orientation,
                ..DecodeLimits::default()
            },
            cache_mb: 0,
            ..ImageStoreConfig::default()
        })?;
        Ok(Self {
            network,
            config: description.network.image_side(),
            images: Arc::new(store),
            transform: EvalTransform::new(description.image_size, description.eval_resize)?,
            description,
            weights,
            device: device.clone(),
            precision: Precision::default(),
            assistants: None,
        })
    }

    /// Sets the precision that images are embedded in; the default is float32, which a device that
    /// does not compute in the given one keeps, with a warning.
    pub fn with_precision(self, precision: Precision) -> Self {
        let precision = available_precision(precision, &self.device);
        Self { precision, ..self }
    }

    /// Lets other devices or processes embed their shares of large sets.
    pub fn with_assistants(self, assistants: Arc<Assistants>) -> Self {
        Self {
            assistants: Some(assistants).filter(|assistants| assistants.size() > 1),
            ..self
        }
    }

    /// Encodes images, normalized as in training.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    pub fn encode_image(&self, images: Tensor<4>) -> Encoded {
        autocast(self.precision, || self.network.encode_image(images))
    }

    /// Embeds an image file: [`width(output)`](Self::width) numbers.
    ///
    /// # Errors
    ///
    /// When the file is not a readable image, and `InferenceError::NotFinite`.
    pub fn embed_image(
        &self,
        path: impl AsRef<Path>,
        output: TowerOutput,
    ) -> Result<Vec<f32>, Error> {
        let path = path.as_ref();
        let image = self.images.load(path)?;
        self.embed(&image, &path.display().to_string(), output)
    }

    /// Embeds an image given as the content of its file (JPEG, PNG, DICOM).
    ///
    /// # Errors
    ///
    /// As [`embed_image`](Self::embed_image).
    pub fn embed_image_bytes(&self, file: &[u8], output: TowerOutput) -> Result<Vec<f32>, Error> {
        let name = Path::new(IN_MEMORY);
        let limits = self.limits();
        let image = match self.description.longer_side {
            Some(side) => Radiograph::decode_within(file, name, side, &limits),
            None => Radiograph::decode(file, name, &limits),
        };
        self.embed(&image?, IN_MEMORY, output)
    }

    /// Embeds an image given as its pixels.
    ///
    /// # Errors
    ///
    /// `InferenceError::NotFinite`.
    pub fn embed_radiograph(
        &self,
        image: &Radiograph,
        output: TowerOutput,
    ) -> Result<Vec<f32>, Error> {
        let longer_side = self.description.longer_side.unwrap_or(usize::MAX);
        self.embed(&image.within(longer_side), IN_MEMORY, output)
    }

    /// Embeds an image of at most the model's longer side; `name` is for errors.
    fn embed(
        &self,
        image: &Radiograph,
        name: &str,
        output: TowerOutput,
    ) -> Result<Vec<f32>, Error> {
        let encoded = self.encode_image(self.input(image));
        let batch = EmbeddedBatch::new(vec![0], encoded, |_| name.to_string())?;
        Ok(batch.into_values(output))
    }

    /// Returns the limits of image files, and whether they are rotated by their EXIF data.
    fn limits(&self) -> DecodeLimits {
        DecodeLimits {
            exif_orientation: self.description.exif_orientation,
            ..DecodeLimits::default()
        }
    }

    /// Reads an image file; returns the network's input, `[1, 3, size, size]`, and the same pixels
    /// as an image.
    pub(crate) fn load_with_view(&self, path: &Path) -> Result<(Tensor<4>, Radiograph), Error> {
        let image = self.images.load(path)?;
        Ok((self.input(&image), self.transform.view(&image)))
    }

    /// Returns the network's input for an image, `[1, 3, size, size]`.
    fn input(&self, image: &Radiograph) -> Tensor<4> {
        let size = self.transform.size();
        let pixels = TensorData::new(self.transform.apply(image), [1, 3, size, size]);
        Tensor::from_data(pixels, &self.device)
    }

    /// Returns the width of an output: `d_model` or `d_embedding`.
    pub fn width(&self, output: TowerOutput) -> usize {
        match output {
            TowerOutput::Features => self.config.image.d_model(),
            TowerOutput::Embedding => self.config.d_embedding,
        }
    }

    /// Computes the identity of the model from its files.
    ///
    /// # Errors
    ///
    /// When the weights file can no longer be read.
    pub fn identity(&self) -> Result<ModelIdentity, Error> {
        ModelIdentity::compute(&self.description, &self.weights)
    }

    /// Returns the objective that the model was trained with.
    pub fn objective(&self) -> Objective {
        self.description.objective
    }

    /// Returns the configuration of the image encoder.
    pub fn image_config(&self) -> &ResNetConfig {
        &self.config.image
    }

    /// Returns the names of the parameters in this crate's own files.
    pub(crate) fn layout(&self) -> Layout {
        NetworkConfig::SimClr(self.config).layout()
    }

    /// Returns the precision that images are embedded in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}
