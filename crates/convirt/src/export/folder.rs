//! A model as a folder that explains itself: what one publishes.

use std::fs;
use std::path::Path;

use burn::module::Module;
use convirt_data::{FileError, NewFile, ReportTokenizer};

use super::card::ModelCard;
use super::preprocessing::Preprocessing;
use crate::config::Objective;
use crate::error::Error;
use crate::inference::{Description, ImageModel, Model};
use crate::json_file::write_json;
use crate::network::NetworkConfig;
use crate::run::{SUMMARY, Summary};

/// The model in PyTorch.
const PYTHON: &str = include_str!("convirt_model.py");

impl Model {
    /// Writes the model as a folder that explains itself, for other people and libraries.
    ///
    /// | file | content |
    /// |---|---|
    /// | `README.md` | the model card: data, scores beside chance, use and limits |
    /// | `config.json` | the networks, as [`Model::load`] and `convirt_model.py` read them |
    /// | `preprocessor_config.json` | the preprocessing of images, with the keys of `transformers` |
    /// | `model.safetensors` | all weights, named as in torchvision and `transformers` |
    /// | `tokenizer.json`, `tokenizer_config.json` | the tokenizer |
    /// | `convirt_model.py` | the model in PyTorch |
    /// | `checksums.json` | lengths and checksums, by which damage is noticed |
    ///
    /// [`Model::load`] reads the folder, and, once it is uploaded to the Hugging Face hub, its name
    /// there.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use convirt::Model;
    /// use convirt::export::ModelCard;
    ///
    /// # fn main() -> Result<(), convirt::Error> {
    /// let card = ModelCard { license: Some("cc-by-4.0".to_string()), ..ModelCard::default() };
    /// Model::load("latest")?.export("exported", &card)?;
    /// let same = Model::load("exported")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FileError::Write`], [`Error::Weights`] if a file cannot be written.
    pub fn export(&self, folder: impl AsRef<Path>, card: &ModelCard) -> Result<(), Error> {
        let tower = self.image_tower();
        let export = Export {
            description: &tower.description,
            tokenizer: Some(self.tokenizer()),
            trained_by: tower.objective(),
            summary: tower.summary(),
        };
        export.write(self.network(), folder.as_ref(), card)
    }
}

impl ImageModel {
    /// Writes the image side as a folder, like [`Model::export`], without a tokenizer.
    ///
    /// Of a ConVIRT model it is written as a model of SimCLR, which has the same networks.
    ///
    /// # Errors
    ///
    /// Those of [`Model::export`].
    pub fn export(&self, folder: impl AsRef<Path>, card: &ModelCard) -> Result<(), Error> {
        let description = Description {
            objective: Objective::SimClr,
            network: NetworkConfig::SimClr(self.description.network.image_side()),
            max_tokens: None,
            ..self.description.clone()
        };
        let export = Export {
            description: &description,
            tokenizer: None,
            trained_by: self.objective(),
            summary: self.summary(),
        };
        export.write(&self.network, folder.as_ref(), card)
    }

    /// Returns the summary of the run whose saved model this is; `None` for a checkpoint, for a model
    /// without its run, and for one that a resumed run has saved since.
    fn summary(&self) -> Option<Summary> {
        let model = self.weights.parent().filter(|it| it.ends_with("model"))?;
        let summary = model.with_file_name(SUMMARY);
        let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let is_current = time(&self.weights)? <= time(&summary)?;
        Summary::load(&summary).filter(|_| is_current)
    }
}

/// What a folder is written from, apart from the weights.
struct Export<'a> {
    description: &'a Description,
    tokenizer: Option<&'a ReportTokenizer>,
    trained_by: Objective,
    summary: Option<Summary>,
}

impl Export<'_> {
    fn write(&self, network: &impl Module, folder: &Path, card: &ModelCard) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            NewFile::write_whole(&path, text.as_bytes()).map_err(FileError::write(&path))
        };
        self.description.save_exported(self.tokenizer, folder)?;
        self.description.save_weights(network, folder)?;
        write_json(
            &folder.join("preprocessor_config.json"),
            &Preprocessing::new(self.description),
        )?;
        write("convirt_model.py", PYTHON)?;
        write(
            "README.md",
            &card.text(self.description, self.trained_by, self.summary.as_ref()),
        )?;
        Ok(())
    }
}
