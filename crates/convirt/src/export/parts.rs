//! The networks of a model, each with its weights under the names of another library.

use std::fs;
use std::path::Path;

use burn::module::Module;
use convirt_data::FileError;
use convirt_model::{BertFamily, ResNet};

use crate::error::Error;
use crate::inference::{ImageModel, Model};
use crate::json_file::write_json;
use crate::weights::{self, Layout, Naming, SavedTensor};

impl Model {
    /// Writes the image encoder with torchvision's names, including the batch counters.
    ///
    /// With `classes`, the file also has an untrained classifier `fc` of zeros, so that it fits
    /// `torchvision.models.resnet50(num_classes=classes)`. Without `classes`, it fits a model whose
    /// `fc` is replaced by `torch.nn.Identity()`. The extensions `.pth`, `.pt` and `.bin` select
    /// PyTorch's format; all others select safetensors.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the file cannot be written.
    pub fn export_image_encoder(
        &self,
        path: impl AsRef<Path>,
        classes: Option<usize>,
    ) -> Result<(), Error> {
        save_image_encoder(&self.network().image_encoder, path.as_ref(), classes)
    }

    /// Writes the text encoder as a folder for `transformers`.
    ///
    /// `AutoModel.from_pretrained` and `AutoTokenizer.from_pretrained` read it. It contains
    /// `config.json`, `model.safetensors` and the vocabulary, but no pooler. `transformers` adds an
    /// untrained pooler and prints a warning.
    ///
    /// # Errors
    ///
    /// [`Error`] if the files cannot be written.
    pub fn export_text_encoder(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        write_json(&folder.join("config.json"), self.text_config())?;
        self.tokenizer().save(folder)?;
        let naming = Naming::for_family(self.text_config().family);
        let encoder = &self.network().text_encoder;
        let tensors = weights::tensors(encoder, &Layout::encoder("", naming));
        Ok(weights::save(tensors, &folder.join("model.safetensors"))?)
    }

    /// Writes the projection heads with PyTorch's shapes.
    ///
    /// The names are `{image,text}_projection.linear{1,2}.{weight,bias}`. The extension selects the
    /// format as in [`export_image_encoder`](Self::export_image_encoder).
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the file cannot be written.
    pub fn export_projections(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        save_projections(self.network(), &self.layout(), path.as_ref())
    }

    /// Writes the whole model with the names of ConVIRT-Colab's `model.pth`.
    ///
    /// These are `res_features.*`, `res_l1`, `res_l2`, `bert_model.*`, `bert_l1` and `bert_l2`. The
    /// pooler of Colab's text encoder is written as zeros, because Colab does not use it. The
    /// extension selects the format as in [`export_image_encoder`](Self::export_image_encoder).
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the file cannot be written.
    pub fn export_colab(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let text = self.text_config();
        let layout = Layout::colab(Naming::SEQUENTIAL, Naming::for_family(text.family));
        let mut tensors = weights::tensors(self.network(), &layout);
        tensors.retain(|tensor| !tensor.name.starts_with("loss."));
        if text.family != BertFamily::DistilBert {
            let width = text.hidden_size;
            let pooler = |name| format!("bert_model.pooler.dense.{name}");
            tensors.push(SavedTensor::zeros(&pooler("weight"), &[width, width]));
            tensors.push(SavedTensor::zeros(&pooler("bias"), &[width]));
        }
        let tensors = weights::with_batch_counters(tensors);
        Ok(weights::save(tensors, path.as_ref())?)
    }
}

impl ImageModel {
    /// Writes the image encoder in the same way as [`Model::export_image_encoder`].
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the file cannot be written.
    pub fn export_encoder(
        &self,
        path: impl AsRef<Path>,
        classes: Option<usize>,
    ) -> Result<(), Error> {
        save_image_encoder(&self.network.image_encoder, path.as_ref(), classes)
    }

    /// Writes the projection head in the same way as [`Model::export_projections`].
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the file cannot be written.
    pub fn export_projection(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        save_projections(&self.network, &self.layout(), path.as_ref())
    }
}

fn save_image_encoder(encoder: &ResNet, path: &Path, classes: Option<usize>) -> Result<(), Error> {
    let layout = Layout::encoder("", Naming::TORCHVISION);
    let mut tensors = weights::with_batch_counters(weights::tensors(encoder, &layout));
    if let Some(classes) = classes {
        let width = encoder.d_model();
        tensors.push(SavedTensor::zeros("fc.weight", &[classes, width]));
        tensors.push(SavedTensor::zeros("fc.bias", &[classes]));
    }
    Ok(weights::save(tensors, path)?)
}

fn save_projections(network: &impl Module, layout: &Layout, path: &Path) -> Result<(), Error> {
    let tensors = weights::tensors(network, layout).into_iter();
    let projections = tensors.filter(|tensor| tensor.name.contains("_projection."));
    Ok(weights::save(projections.collect(), path)?)
}
