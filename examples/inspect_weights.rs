//! Tells what is in files of weights: `cargo run --example inspect_weights -- FILE`.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use convirt::weights::Inspection;

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

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(device) = arguments.load {
        let device = convirt::device(device.as_deref())?;
        let start = Instant::now();
        let load = |file| Ok(Inspection::of(file)?.load(&device)?);
        let networks: Vec<_> = arguments.files.iter().map(load).collect::<Result<_>>()?;
        println!("loaded in {:.3} s", start.elapsed().as_secs_f64());
        drop(networks);
        return Ok(());
    }
    for file in &arguments.files {
        let inspection = Inspection::of(file)?;
        match write!(io::stdout(), "{inspection}") {
            // `head` has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}
