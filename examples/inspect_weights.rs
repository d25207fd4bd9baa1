//! Tells what is in a file of weights: `cargo run --example inspect_weights -- FILE`.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use convirt::weights::Inspection;

/// Tells what is in a file of weights, and what of it convirt would load.
#[derive(Parser)]
#[command(
    after_help = "Read are safetensors, what torch.save writes (.pth, .pt, .bin), Burn's
checkpoints (.bpk), and folders of these: a run's, Hugging Face's, ConVIRT-Colab's. Nothing in them
is executed."
)]
struct Arguments {
    /// File or folder
    file: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let inspection = Inspection::of(&arguments.file)?;
    match write!(io::stdout(), "{inspection}") {
        // `head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
