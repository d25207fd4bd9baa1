//! The network of a run: ConVIRT's or SimCLR's.

mod memory;

#[cfg(feature = "train")]
pub(crate) use memory::FLOAT32_BYTES;
pub(crate) use memory::MemoryNeed;
#[cfg(feature = "train")]
pub(crate) use memory::TrainingMemory;
#[cfg(feature = "train")]
pub(crate) use memory::resident_memory;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use convirt_data::TextBatch;
use convirt_model::{
    ConVirt, ConVirtConfig, ModelError, ParameterCount, ParameterCounts, SimClr, SimClrConfig,
    TextInput,
};
use serde::Serialize;

#[cfg(feature = "train")]
use crate::compute::DrawingDevice;
use crate::weights::{
    Layout, LoadReport, Naming, WeightsError, WeightsFile, load_image_encoder, load_network,
    load_simclr, load_text_encoder,
};

/// The configuration of a run's network.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum NetworkConfig {
    ConVirt(ConVirtConfig),
    SimClr(SimClrConfig),
}

/// The network that a run trains.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    ConVirt(Box<ConVirt>),
    SimClr(Box<SimClr>),
}

impl NetworkConfig {
    /// Builds the network. Burn draws each parameter, from the device's seed, when the parameter is
    /// first read: see [`Network::draw`].
    pub fn init(&self, device: &Device) -> Result<Network, ModelError> {
        Ok(match self {
            Self::ConVirt(config) => Network::ConVirt(config.init(device)?.into()),
            Self::SimClr(config) => Network::SimClr(config.init(device)?.into()),
        })
    }

    /// Builds the network on an autodiff device, with weights that a checkpoint is to replace. Left to
    /// whoever reads them before that, they would be drawn amid those of another network.
    #[cfg(feature = "train")]
    pub fn init_for_checkpoint(&self, device: &Device) -> Result<Network, ModelError> {
        let drawing_device = DrawingDevice::with_seed(0);
        let network = self.init(&drawing_device.clone().autodiff())?;
        network.draw();
        drop(drawing_device);
        Ok(network.moved_to(device))
    }

    /// Checks that the network can be built, apart from memory.
    pub fn validate(&self) -> Result<(), ModelError> {
        match self {
            Self::ConVirt(config) => config.validate().map(drop),
            Self::SimClr(config) => config.validate(),
        }
    }

    /// Counts the network's parameters without building it.
    pub fn parameter_count(&self) -> ParameterCount {
        match self {
            Self::ConVirt(config) => config.parameter_count(),
            Self::SimClr(config) => config.parameter_count(),
        }
    }

    /// Returns the configuration of the image encoder and its head, with SimCLR's loss.
    pub fn image_side(&self) -> SimClrConfig {
        match self {
            Self::SimClr(config) => *config,
            Self::ConVirt(config) => SimClrConfig {
                d_embedding: config.d_embedding,
                ..SimClrConfig::new(config.image)
            },
        }
    }

    /// Returns the names of the network's parameters in its files: torchvision's for the image
    /// encoder, those of `transformers` for the text encoder.
    pub fn layout(&self) -> Layout {
        match self {
            Self::ConVirt(config) => {
                Layout::convirt(Naming::TORCHVISION, Naming::for_family(config.text.family))
            }
            Self::SimClr(_) => Layout::convirt(Naming::TORCHVISION, Naming::OURS).image_side(),
        }
    }
}

impl Network {
    /// Loads the whole network from a file of a whole model.
    pub fn load(
        self,
        file: &WeightsFile,
        allow: &[String],
    ) -> Result<(Self, LoadReport), WeightsError> {
        Ok(match self {
            Self::ConVirt(network) => {
                let (network, report) = load_network(*network, file, allow)?;
                (Self::ConVirt(network.into()), report)
            }
            Self::SimClr(network) => {
                let (network, report) = load_simclr(*network, file, allow)?;
                (Self::SimClr(network.into()), report)
            }
        })
    }

    /// Loads the image encoder from any file that contains one.
    pub fn load_image_encoder(
        self,
        file: &WeightsFile,
        allow: &[String],
    ) -> Result<(Self, LoadReport), WeightsError> {
        let load = |encoder| load_image_encoder(encoder, file, allow);
        Ok(match self {
            Self::ConVirt(mut network) => {
                let (encoder, report) = load(network.image_encoder)?;
                network.image_encoder = encoder;
                (Self::ConVirt(network), report)
            }
            Self::SimClr(mut network) => {
                let (encoder, report) = load(network.image_encoder)?;
                network.image_encoder = encoder;
                (Self::SimClr(network), report)
            }
        })
    }

    /// Loads the text encoder, if the network has one, from any file that contains one.
    pub fn load_text_encoder(
        self,
        file: &WeightsFile,
        allow: &[String],
    ) -> Result<(Self, Option<LoadReport>), WeightsError> {
        Ok(match self {
            Self::ConVirt(mut network) => {
                let (encoder, report) = load_text_encoder(network.text_encoder, file, allow)?;
                network.text_encoder = encoder;
                (Self::ConVirt(network), Some(report))
            }
            Self::SimClr(_) => (self, None),
        })
    }

    /// Moves the network to a device.
    #[cfg(feature = "train")]
    pub fn moved_to(self, device: &Device) -> Self {
        match self {
            Self::ConVirt(network) => Self::ConVirt(network.fork(device).into()),
            Self::SimClr(network) => Self::SimClr(network.fork(device).into()),
        }
    }

    /// Draws all parameters that were not loaded, in the order of the network's fields.
    ///
    /// Burn draws a parameter when it is first read. Without this function, the order in which
    /// other code reads them would decide which weights a seed gives.
    pub fn draw(&self) {
        match self {
            Self::ConVirt(network) => network.visit(&mut DrawParameters),
            Self::SimClr(network) => network.visit(&mut DrawParameters),
        }
    }

    /// Counts the parameters of each part.
    pub fn parameter_counts(&self) -> ParameterCounts {
        match self {
            Self::ConVirt(network) => network.parameter_counts(),
            Self::SimClr(network) => network.parameter_counts(),
        }
    }
}

/// Reads each parameter, so that Burn draws it.
pub(crate) struct DrawParameters;

impl ModuleVisitor for DrawParameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        param.val();
    }
}

/// Converts the texts of a batch to the text encoder's input.
pub(crate) fn text_input(texts: TextBatch) -> TextInput {
    TextInput {
        input_ids: texts.input_ids,
        attention_mask: texts.attention_mask,
        token_type_ids: Some(texts.token_type_ids),
    }
}
