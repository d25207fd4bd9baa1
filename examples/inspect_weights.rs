//! Tells what is in files of weights: `cargo run --example inspect_weights -- FILE`.

#[path = "program/program.rs"]
mod program;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use convirt::weights::Inspection;
use program::{Ending, print};

/// Tells what is in files of weights, and what of it convirt would load.
#[derive(Parser)]
#[command(
    after_help = "Read are safetensors, what torch.save writes (.pth, .pt, .bin), Burn's
checkpoints (.bpk), and folders of these: a run's, Hugging Face's, ConVIRT-Colab's. Nothing in them
is executed."
)]
struct Arguments {
    /// Files or folders
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Load them on a device (flex, cuda, ...) instead, and tell how long it took
    #[arg(long, value_name = "DEVICE", num_args = 0..=1)]
    load: Option<Option<String>>,
}

fn main() -> ExitCode {
    program::run(|| inspect(Arguments::parse()))
}

fn inspect(arguments: Arguments) -> Result<Ending> {
    if let Some(device) = arguments.load {
        let device = convirt::device(device.as_deref())?;
        let start = Instant::now();
        let load = |file| Ok(Inspection::of(file)?.load(&device)?);
        let networks: Vec<_> = arguments.files.iter().map(load).collect::<Result<_>>()?;
        print(format_args!(
            "loaded in {:.3} s",
            start.elapsed().as_secs_f64()
        ));
        drop(networks);
        return Ok(Ending::Done);
    }
    for file in &arguments.files {
        print(Inspection::of(file)?.to_string().trim_end());
    }
    Ok(Ending::Done)
}
