//! The device and the precision of a command.

use std::sync::Arc;

use anyhow::Result;
use burn::tensor::Device;
use clap::Args;
use convirt::compute::{Precision, parse_precision};
use convirt::device;
use convirt::inference::Assistants;
use log::info;

use super::configuration::OverrideArguments;

#[derive(Args)]
pub struct DeviceArgument {
    /// Device to compute on (flex, cuda, cuda:1, vulkan, ...), or several to divide the work
    /// (cuda:0,cuda:1); the best one of this build by default
    #[arg(long, alias = "devices", value_name = "NAME")]
    pub device: Option<String>,
}

#[derive(Args)]
pub struct ComputeArguments {
    #[command(flatten)]
    pub device: DeviceArgument,

    /// Precision of convolutions and linear layers: float32; high (nearly float32, faster on
    /// processors with AMX); bf16 (factors rounded to bfloat16); or fp16 (to float16, on GPUs)
    #[arg(long, value_name = "NAME", default_value = "float32", value_parser = parse_precision)]
    pub precision: Precision,
}

impl DeviceArgument {
    /// Finds the device.
    pub fn find(&self) -> Result<Device> {
        Ok(device(self.device.as_deref())?)
    }

    /// Sets the device of a configuration, if one is given.
    pub fn override_key(&self, overrides: &mut OverrideArguments) {
        let change = self.device.iter().map(|name| format!("device={name}"));
        overrides.overrides.extend(change);
    }
}

impl ComputeArguments {
    /// Finds the devices, and logs them with the precision.
    pub fn find_devices(&self) -> Result<Arc<Assistants>> {
        let found = Assistants::find(self.device.device.as_deref())?;
        info!("{}", found.describe(self.precision).trim_end());
        Ok(Arc::new(found))
    }
}
