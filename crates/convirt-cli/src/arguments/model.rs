//! The options for the model of a command.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::Args;
use convirt::inference::TowerOutput;
use convirt::{ImageModel, Model};

use super::compute::ComputeArguments;

/// The model, its device and its precision.
#[derive(Args)]
pub struct ModelArguments {
    /// Run (a path, a name in `runs` or its beginning, or `latest`), model folder, checkpoint
    /// (checkpoint/model-<step>.bpk), or a model on the Hugging Face hub (owner/name)
    #[arg(long)]
    pub run: PathBuf,

    #[command(flatten)]
    compute: ComputeArguments,
}

#[derive(Args)]
pub struct FeaturesArgument {
    /// Use the encoder's outputs instead of their projections into the shared space
    #[arg(long)]
    features: bool,
}

impl ModelArguments {
    /// Finds the device, and logs it with the precision.
    pub fn device(&self) -> Result<Device> {
        self.compute.find_device()
    }

    /// Loads the image side of the model.
    pub fn image_tower(&self, device: &Device) -> Result<ImageModel> {
        let tower = ImageModel::load_on(&self.run, device)?;
        Ok(tower.with_precision(self.compute.precision)?)
    }

    /// Loads both sides of the model.
    pub fn convirt(&self, device: &Device) -> Result<Model> {
        let model = Model::load_on(&self.run, device)?;
        Ok(model.with_precision(self.compute.precision)?)
    }
}

impl FeaturesArgument {
    /// Returns the requested output.
    pub fn output(&self) -> TowerOutput {
        if self.features {
            TowerOutput::Features
        } else {
            TowerOutput::Embedding
        }
    }
}
