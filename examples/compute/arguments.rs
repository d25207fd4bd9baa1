//! What a program computes on, and in which precision.

use clap::Args;
use convirt::{Precision, parse_precision};

#[derive(Args)]
pub struct ComputeArguments {
    /// Device to compute on (flex, cuda, cuda:1, vulkan, ...); the best one of this build by default
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,

    /// How convolutions and linear layers multiply: float32; high (nearly float32, faster where the
    /// processor has AMX); or bf16 (factors rounded to bfloat16)
    #[arg(long, value_name = "NAME", default_value = "float32", value_parser = parse_precision)]
    pub precision: Precision,
}
