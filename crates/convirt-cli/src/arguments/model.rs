//! The options for the model of a command.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use convirt::inference::{Assistants, TowerOutput};
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
    /// Finds the devices, and logs them with the precision.
    pub fn devices(&self) -> Result<Arc<Assistants>> {
        self.compute.find_devices()
    }

    /// Loads the image side of the model.
    pub fn image_tower(&self, devices: &Arc<Assistants>) -> Result<ImageModel> {
        let tower = ImageModel::load_on(&self.run, devices.device())?;
        let tower = tower.with_precision(self.compute.precision);
        Ok(tower.with_assistants(Arc::clone(devices)))
    }

    /// Loads both sides of the model.
    pub fn convirt(&self, devices: &Arc<Assistants>) -> Result<Model> {
        let model = Model::load_on(&self.run, devices.device())?;
        let model = model.with_precision(self.compute.precision);
        Ok(model.with_assistants(Arc::clone(devices)))
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
