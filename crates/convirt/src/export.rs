//! A trained model in the files of other libraries.

#[cfg(feature = "onnx")]
mod onnx;

use std::fs;
use std::path::Path;

use burn::module::Module;
use convirt_data::FileError;
use convirt_model::{BertFamily, ResNet};

use crate::error::Error;
use crate::inference::{ImageModel, Model};
use crate::weights::{self, Layout, Naming, SavedTensor};

impl Model {
    /// Writes the image encoder in torchvision's names, batch counters included.
    ///
    /// With `classes` there is an untrained classifier of zeros besides, `fc`, as a plain
    /// `torchvision.models.resnet50(num_classes=classes)` has one; without, the file is of a model
    /// with `fc` replaced by `torch.nn.Identity()`. The extension decides on the format: `.pth`,
    /// `.pt` and `.bin` are PyTorch's, all others safetensors.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] when the file cannot be written.
    pub fn export_image_encoder(
        &self,
        path: impl AsRef<Path>,
        classes: Option<usize>,
    ) -> Result<(), Error> {
        save_image_encoder(&self.network().image_encoder, path.as_ref(), classes)
    }

    /// Writes the text encoder as a folder that `transformers.AutoModel.from_pretrained` and
    /// `AutoTokenizer` read: `config.json`, `model.safetensors` and the vocabulary. There is no
    /// pooler; `transformers` adds an untrained one and says so.
    ///
    /// # Errors
    ///
    /// [`Error`] when the files cannot be written.
    pub fn export_text_encoder(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        let config = folder.join("config.json");
        let json = serde_json::to_string_pretty(self.text_config()).expect("a plain structure");
        fs::write(&config, json + "\n").map_err(FileError::write(&config))?;
        self.tokenizer().save(folder)?;
        let naming = Naming::for_family(self.text_config().family);
        let encoder = &self.network().text_encoder;
        let tensors = weights::tensors(encoder, &Layout::encoder("", naming));
        Ok(weights::save(tensors, &folder.join("model.safetensors"))?)
    }

    /// Writes the projection heads, `{image,text}_projection.linear{1,2}.{weight,bias}`, in
    /// PyTorch's shapes; formats as for [`export_image_encoder`](Self::export_image_encoder).
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] when the file cannot be written.
    pub fn export_projections(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        save_projections(self.network(), &self.layout(), path.as_ref())
    }

    /// Writes the whole model as ConVIRT-Colab's `model.pth`: `res_features.*`, `res_l1`, `res_l2`,
    /// `bert_model.*`, `bert_l1`, `bert_l2`. Formats are as for
    /// [`export_image_encoder`](Self::export_image_encoder).
    ///
    /// Colab's text encoder has a pooler, which it does not use: here of zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] when the file cannot be written.
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
    /// Writes the image encoder, as [`Model::export_image_encoder`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] when the file cannot be written.
    pub fn export_encoder(
        &self,
        path: impl AsRef<Path>,
        classes: Option<usize>,
    ) -> Result<(), Error> {
        save_image_encoder(&self.network.image_encoder, path.as_ref(), classes)
    }

    /// Writes the projection head, as [`Model::export_projections`] does both.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] when the file cannot be written.
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
