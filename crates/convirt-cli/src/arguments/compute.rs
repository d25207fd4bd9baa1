//! The device and the precision of a command.

use anyhow::Result;
use burn::tensor::Device;
use clap::Args;
use convirt::compute::{Precision, describe_device, parse_precision};
use convirt::device;
use log::info;

use super::configuration::OverrideArguments;

#[derive(Args)]
pub struct DeviceArgument {
    /// Device to compute on (flex, cuda, cuda:1, vulkan, ...); the best one of this build by
    /// default
    #[arg(long, alias = "devices", value_name = "NAME")]
    pub device: Option<String>,
}

#[derive(Args)]
pub struct ComputeArguments {
    #[command(flatten)]
    pub device: DeviceArgument,

    /// Precision of convolutions and linear layers: float32; high (nearly float32, faster on
    /// processors with AMX); or bf16 (factors rounded to bfloat16)
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
    /// Finds the device, and logs it with the precision.
    pub fn find_device(&self) -> Result<Device> {
        let device = self.device.find()?;
        info!("{}", describe_device(&device, self.precision).trim_end());
        Ok(device)
    }
}
