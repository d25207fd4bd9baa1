//! A trained image classifier: image files in, probabilities out.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use convirt_data::{
    DecodeLimits, EvalResize, EvalTransform, FileError, ImageStore, ImageStoreConfig, Labels,
};
use convirt_model::{
    ImageClassifier as Network, ImageClassifierConfig as NetworkConfig, ImageEncoder,
    ImageEncoderConfig, ModelError,
};
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::description::{check_sides, default_exif_orientation, is_default_exif_orientation};
use super::error::InferenceError;
use super::finite::finite_rows;
use crate::compute::device;
use crate::config::PrecisionName;
use crate::error::Error;
use crate::json_file::{read_json, write_json};
use crate::weights::{self, Layout, Naming, SavedTensor, WeightsFile, checksums};

const WEIGHTS: &str = "model.safetensors";
const DESCRIPTION: &str = "classifier.json";

/// An image encoder with a trained classification head, and the image transform they were trained
/// with.
///
/// A transfer saves its best classifier, by a linear probe or by fine-tuning, into the folder
/// `classifier`.
///
/// # Examples
///
/// ```no_run
/// use convirt::Classifier;
///
/// # fn main() -> Result<(), convirt::Error> {
/// let classifier = Classifier::load("transfer/classifiers/imagenet-resnet50")?;
/// let probabilities = classifier.predict("chest.png")?;
/// for (label, probability) in classifier.labels().names().iter().zip(probabilities) {
///     println!("{probability:.3} {label}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Classifier {
    network: Network,
    images: ImageStore,
    transform: EvalTransform,
    description: ClassifierDescription,
    device: Device,
}

/// The content of a classifier's `classifier.json`: everything but the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassifierDescription {
    pub encoder: ImageEncoderConfig,
    pub labels: Labels,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    pub resize: EvalResize,
    /// Length that the longer side of an image is first scaled down to, in pixels.
    pub longer_side: Option<usize>,
    /// Whether JPEG and PNG files are rotated and mirrored as their EXIF orientation says. Older
    /// files lack this key; it is true for them.
    #[serde(
        default = "default_exif_orientation",
        skip_serializing_if = "is_default_exif_orientation"
    )]
    pub exif_orientation: bool,
    pub normalization: Normalization,
    /// The precision that it was trained in. Older files lack this key; it is float32 for them.
    #[serde(default, with = "PrecisionName")]
    pub precision: Precision,
}

/// How pixel values are normalized for the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Normalization {
    /// By ImageNet's mean and standard deviation of each channel, with torchvision's constants.
    ImageNet,
}

impl ClassifierDescription {
    /// Checks that the image sizes are in range and agree.
    fn validate(&self) -> Result<(), ModelError> {
        check_sides(self.image_size, self.longer_side)?;
        match self.encoder {
            ImageEncoderConfig::Pixels { side } if side != self.image_size => {
                Err(ModelError::OutOfRange {
                    key: "side",
                    found: side.to_string(),
                    expected: "the `image_size`",
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns the configuration of the network.
    pub fn network(&self) -> NetworkConfig {
        NetworkConfig::new(self.encoder, self.labels.names().len())
    }
}

impl Classifier {
    pub(crate) fn new(
        network: Network,
        description: ClassifierDescription,
        device: &Device,
    ) -> Result<Self, Error> {
        Ok(Self {
            network: network.valid(),
            images: ImageStore::new(ImageStoreConfig {
                longer_side: description.longer_side,
                limits: DecodeLimits {
                    exif_orientation: description.exif_orientation,
                    ..DecodeLimits::default()
                },
                cache_mb: 0,
                ..ImageStoreConfig::default()
            })?,
            transform: EvalTransform::new(description.image_size, description.resize)?,
            device: device.clone(),
            description,
        })
    }

    /// Loads a classifier from its folder on the best device of this build.
    ///
    /// # Errors
    ///
    /// When the folder holds no classifier, or its files are damaged or do not belong together.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_on(folder, &device(None)?)
    }

    /// Loads a classifier from its folder on the given device.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let files = [DESCRIPTION, WEIGHTS];
        let missing: Vec<_> = files
            .into_iter()
            .filter(|name| !folder.join(name).is_file())
            .collect();
        if !missing.is_empty() {
            let folder = folder.to_path_buf();
            return Err(InferenceError::NoModel { folder, missing }.into());
        }
        let path = folder.join(DESCRIPTION);
        checksums::verify(&path)?;
        let json = read_json(&path)?;
        let description: ClassifierDescription = match serde_json::from_slice(&json) {
            Ok(description) => description,
            Err(cause) => return Err(InferenceError::BrokenDescription { path, cause }.into()),
        };
        if let Err(cause) = description.validate() {
            return Err(InferenceError::InvalidDescription { path, cause }.into());
        }
        let file = WeightsFile::open(folder.join(WEIGHTS))?;
        let mut network = description.network().init(device)?;
        if let ImageEncoder::ResNet(encoder) = network.encoder {
            let (encoder, _) = weights::load_image_encoder(encoder, &file, &[])?;
            network.encoder = ImageEncoder::ResNet(encoder);
        }
        (network.head, _) = weights::load_classifier_head(network.head, &file)?;
        Self::new(network, description, device)
    }

    /// Writes the classifier into a folder: `model.safetensors`, `classifier.json` and the
    /// checksums of both.
    ///
    /// The weights have torchvision's names, with the head as `fc`: a torchvision ResNet with the
    /// same number of classes loads them.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        write_json(&folder.join(DESCRIPTION), &self.description)?;
        weights::save(self.tensors(), &folder.join(WEIGHTS))?;
        Ok(checksums::record(folder, &[DESCRIPTION, WEIGHTS])?)
    }

    /// Returns the probability of each label for an image file, in the order of
    /// [`labels`](Self::labels).
    ///
    /// Findings are independent of each other; the probabilities of classes sum to 1. The network
    /// computes in float32, whatever precision it was trained in.
    ///
    /// # Errors
    ///
    /// When the file is not a readable image, and [`InferenceError::NotFinite`].
    pub fn predict(&self, path: impl AsRef<Path>) -> Result<Vec<f32>, Error> {
        let path = path.as_ref();
        let image = self.images.load(path)?;
        let size = self.transform.size();
        let pixels = TensorData::new(self.transform.apply(&image), [1, 3, size, size]);
        let logits = self
            .network
            .forward(Tensor::from_data(pixels, &self.device));
        let name = |_| path.display().to_string();
        Ok(finite_rows(probabilities(self.labels(), logits), name)?)
    }

    /// Returns the labels, in the order of the probabilities.
    pub fn labels(&self) -> &Labels {
        &self.description.labels
    }

    /// Returns the network, to run it on batches of tensors.
    pub fn network(&self) -> &Network {
        &self.network
    }

    fn tensors(&self) -> Vec<SavedTensor> {
        let mut tensors = match &self.network.encoder {
            ImageEncoder::ResNet(encoder) => {
                let layout = Layout::encoder("", Naming::TORCHVISION);
                weights::with_batch_counters(weights::tensors(encoder, &layout))
            }
            ImageEncoder::Pixels(_) => Vec::new(),
        };
        let head = Layout::encoder("fc.", Naming::OURS);
        tensors.extend(weights::tensors(&self.network.head, &head));
        tensors
    }
}

/// Turns logits into probabilities: a sigmoid for findings, a softmax for classes.
///
/// # Shapes
///
/// - logits, output: `[batch, labels]`
pub(crate) fn probabilities(labels: &Labels, logits: Tensor<2>) -> Tensor<2> {
    match labels {
        Labels::Findings(_) => sigmoid(logits),
        Labels::Classes(_) => softmax(logits, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convirt_model::{ResNetConfig, ResNetDepth};

    fn classifier(encoder: ImageEncoderConfig) -> Classifier {
        let device = Device::flex();
        let labels = Labels::Classes(["a", "b", "c"].map(String::from).into());
        let description = ClassifierDescription {
            encoder,
            labels,
            image_size: 32,
            resize: EvalResize::PadSquare,
            longer_side: Some(40),
            exif_orientation: true,
            normalization: Normalization::ImageNet,
            precision: Precision::Float32,
        };
        let network = description.network().init(&device).unwrap();
        Classifier::new(network, description, &device).unwrap()
    }

    fn image(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("image.png");
        let samples: Vec<u8> = (0..50 * 30).map(|i| (i % 251) as u8).collect();
        image::save_buffer(&path, &samples, 50, 30, image::ColorType::L8).unwrap();
        path
    }

    #[test]
    fn a_saved_classifier_predicts_the_same_when_loaded() {
        let resnet = ImageEncoderConfig::ResNet(ResNetConfig::new(ResNetDepth::ResNet18));
        for encoder in [resnet, ImageEncoderConfig::Pixels { side: 32 }] {
            let folder = tempfile::tempdir().unwrap();
            let image = image(folder.path());
            let classifier = classifier(encoder);
            let before = classifier.predict(&image).unwrap();
            assert!((before.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            classifier.save(folder.path().join("saved")).unwrap();
            let loaded = Classifier::load_on(folder.path().join("saved"), &Device::flex()).unwrap();
            assert_eq!(loaded.predict(&image).unwrap(), before);
            assert_eq!(loaded.labels(), classifier.labels());
        }
    }

    #[test]
    fn a_description_without_a_precision_is_read_as_float32() {
        let folder = tempfile::tempdir().unwrap();
        classifier(ImageEncoderConfig::Pixels { side: 32 })
            .save(folder.path())
            .unwrap();
        let path = folder.path().join(DESCRIPTION);
        let json = fs::read_to_string(&path).unwrap();
        let without_precision = json.replace(",\n  \"precision\": \"float32\"", "");
        assert_ne!(without_precision, json);
        fs::write(&path, without_precision).unwrap();
        // The checksum of the original does not fit the changed file.
        fs::remove_file(folder.path().join("checksums.json")).unwrap();
        let loaded = Classifier::load_on(folder.path(), &Device::flex()).unwrap();
        assert_eq!(loaded.description.precision, Precision::Float32);
    }

    #[test]
    fn the_saved_tensors_have_the_names_and_shapes_of_a_torchvision_network() {
        let resnet = ImageEncoderConfig::ResNet(ResNetConfig::new(ResNetDepth::ResNet18));
        let tensors = classifier(resnet).tensors();
        // torchvision.models.resnet18(num_classes=3).state_dict() has 122 entries.
        assert_eq!(tensors.len(), 122);
        let shape = |name: &str| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            tensor.map(|tensor| tensor.shape.clone())
        };
        assert_eq!(shape("fc.weight"), Some(vec![3, 512]));
        assert_eq!(shape("fc.bias"), Some(vec![3]));
        assert_eq!(
            shape("layer4.0.downsample.0.weight"),
            Some(vec![512, 256, 1, 1])
        );
    }

    #[test]
    fn a_folder_without_a_classifier_is_an_error_that_lists_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = Classifier::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("classifier.json") && error.contains("model.safetensors"),
            "{error}"
        );
    }

    #[test]
    fn sizes_out_of_range_are_an_error_that_names_the_file_and_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = ImageEncoderConfig::Pixels { side: 32 };
        classifier(pixels).save(folder.path()).unwrap();
        fs::remove_file(folder.path().join("checksums.json")).unwrap();
        let path = folder.path().join(DESCRIPTION);
        let json = fs::read_to_string(&path).unwrap();
        for (key, size) in [("image_size", 32), ("side", 32), ("longer_side", 40)] {
            let (valid, changed) = (
                format!("\"{key}\": {size}"),
                format!("\"{key}\": 5000000000"),
            );
            assert!(json.contains(&valid), "{json}");
            fs::write(&path, json.replace(&valid, &changed)).unwrap();
            let error = Classifier::load_on(folder.path(), &Device::flex());
            let error = error.unwrap_err().to_string();
            let is_named = error.contains(DESCRIPTION) && error.contains(key);
            assert!(is_named, "{key}: {error}");
        }
    }

    #[test]
    fn weights_for_another_number_of_labels_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = ImageEncoderConfig::Pixels { side: 32 };
        classifier(pixels).save(folder.path()).unwrap();
        let path = folder.path().join(DESCRIPTION);
        let json = fs::read_to_string(&path).unwrap();
        fs::write(&path, json.replace("\"c\"", "\"c\", \"d\"")).unwrap();
        let changed = Classifier::load(folder.path()).unwrap_err();
        assert!(changed.to_string().contains("changed since"), "{changed}");
        fs::remove_file(folder.path().join("checksums.json")).unwrap();
        let error = Classifier::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("fc.weight"), "{error}");
    }
}
