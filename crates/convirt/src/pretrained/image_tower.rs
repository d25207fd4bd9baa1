//! The image side of a trained model by itself.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use convirt_model::{Encoded, ResNetConfig, SimClr as Network, SimClrConfig};

use super::{ModelFiles, NetworkConfig, Objective};
use crate::device::device;
use crate::error::Error;
use crate::weights::{self, Layout, WeightsFile};

/// The image encoder of a run of either objective with its projection head; of SimCLR's there is
/// no more.
///
/// An encoder alone, such as for a classifier, is better loaded by
/// [`load_image_encoder`](crate::weights::load_image_encoder).
#[derive(Debug)]
pub struct ImageTower {
    pub(crate) network: Network,
    config: SimClrConfig,
    objective: Objective,
}

impl ImageTower {
    /// Loads the image side of a run's model on the best device of this build; `run` is as for
    /// [`ConVirt::load`](crate::ConVirt::load).
    ///
    /// # Errors
    ///
    /// When there is no model, or its files are damaged or do not belong together.
    pub fn load(run: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_on(run, &device(None)?)
    }

    /// Loads the image side of a run's model on a device.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_on(run: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let ModelFiles {
            weights: file,
            description,
            ..
        } = ModelFiles::find(run.as_ref())?;
        let config = match description.network {
            NetworkConfig::SimClr(config) => config,
            NetworkConfig::ConVirt(config) => SimClrConfig {
                d_embedding: config.d_embedding,
                ..SimClrConfig::new(config.image)
            },
        };
        let network = config.init(device)?;
        let (network, _) = weights::load_simclr(network, &WeightsFile::open(file)?, &[])?;
        Ok(Self {
            network: network.valid(),
            config,
            objective: description.objective,
        })
    }

    /// Encodes images, normalized as in training.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    pub fn encode_image(&self, images: Tensor<4>) -> Encoded {
        self.network.encode_image(images)
    }

    /// What the model was trained for.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// Shape of the image encoder.
    pub fn image_config(&self) -> &ResNetConfig {
        &self.config.image
    }

    /// Names of the parameters in this crate's own files.
    pub(crate) fn layout(&self) -> Layout {
        NetworkConfig::SimClr(self.config).layout()
    }
}
