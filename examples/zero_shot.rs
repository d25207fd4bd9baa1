//! Tells classes by prompts alone: `cargo run --release --example zero_shot -- RUN --help`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use convirt::data::{ImageFiles, LabelledManifest, LoaderConfig};
use convirt::{Bootstrap, ConVirt, ZeroShot, ZeroShotPrompts, describe_device, device};

use arguments::LabelledArguments;
use compute::ComputeArguments;

#[path = "labelled/arguments.rs"]
mod arguments;
#[path = "compute/arguments.rs"]
mod compute;

/// Tells classes of images by what is said of them, without training; scored where labels are given.
#[derive(Parser)]
#[command(after_help = "Prompts are YAML, some for each class:

  Pneumonia:
    positive: [Findings suggesting pneumonia., There is focal consolidation.]
    negative: [No evidence of pneumonia.]

Without `negative` classes exclude each other.

Examples:
  zero_shot RUN --prompts prompts.yaml chest.png more/
  zero_shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --group-col patient")]
struct Arguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    run: PathBuf,

    /// Images, or folders of them
    #[arg(conflicts_with = "csv")]
    images: Vec<PathBuf>,

    /// What is said of each class
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,

    #[command(flatten)]
    labelled: LabelledArguments,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    #[command(flatten)]
    compute: ComputeArguments,

    /// CSV for the probabilities of each image
    #[arg(long, value_name = "FILE", default_value = "zero_shot.csv")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let max_bad_share = arguments.labelled.max_bad_share;
    let manifest = arguments.labelled.config();
    let manifest = manifest.map(|config| LabelledManifest::read(&config));
    let manifest = manifest.transpose()?;
    let mut images = Vec::new();
    match &manifest {
        Some(manifest) => images.extend(manifest.images.iter().map(|image| image.image.clone())),
        None => {
            for path in arguments.images {
                match path.is_dir() {
                    true => {
                        let found = ImageFiles::below(&path)?;
                        if found.passed_over.total() > 0 {
                            eprintln!("{}: {}", path.display(), found.passed_over);
                        }
                        images.extend(found.images);
                    }
                    false => images.push(path),
                }
            }
        }
    }
    if images.is_empty() {
        bail!("no images: give some, or a --csv of them with labels");
    }

    let prompts = ZeroShotPrompts::from_file(&arguments.prompts)?;
    let ComputeArguments {
        device: name,
        precision,
    } = arguments.compute;
    let device = device(name.as_deref())?;
    eprint!("{}", describe_device(&device, precision));
    let model = ConVirt::load_on(&arguments.run, &device)?.with_precision(precision)?;
    let zero_shot = ZeroShot::new(&model, &prompts)?;
    if let Some(manifest) = &manifest {
        zero_shot.check(&manifest.labels)?;
    }
    let loader = LoaderConfig {
        batch_size: arguments.batch_size,
        ..LoaderConfig::default()
    };
    let predictions = zero_shot.predict(&images, &loader, max_bad_share)?;
    for image in &predictions.unreadable {
        eprintln!("left out: {image}");
    }
    if let Some(manifest) = &manifest {
        let scores = zero_shot.score(&predictions, manifest, &Bootstrap::default())?;
        println!("{scores}");
    }
    predictions.write_csv(&images, &arguments.out)?;
    println!("written: {}", arguments.out.display());
    Ok(())
}
