//! Tells classes by prompts alone: `cargo run --release --example zero_shot -- RUN --help`.

#[path = "labelled/arguments.rs"]
mod arguments;
#[path = "compute/arguments.rs"]
mod compute;
#[path = "program/fresh.rs"]
mod fresh;
#[path = "program/program.rs"]
mod program;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use arguments::LabelledArguments;
use clap::Parser;
use compute::ComputeArguments;
use convirt::data::{ImageFiles, LabelledImage, LabelledManifest, LoaderConfig, Split};
use convirt::{Bootstrap, ConVirt, ZeroShot, ZeroShotPrompts, describe_device, device};
use fresh::FreshArguments;
use program::{Ending, print, tell};

/// Tells classes of images by what is said of them, without training; scored where labels are given.
#[derive(Parser)]
#[command(after_help = "Prompts are YAML, some for each class:

  Pneumonia:
    positive: [Findings suggesting pneumonia., There is focal consolidation.]
    negative: [No evidence of pneumonia.]

Without `negative` classes exclude each other.

Examples:
  zero_shot RUN --prompts prompts.yaml chest.png more/
  zero_shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --group-col patient
  zero_shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --split-col split

With a split column the images of the test are told, or of the validation where there is no test.")]
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

    /// Rows of this side of the split instead: train, valid or test
    #[arg(long, value_name = "SIDE", requires = "split_col")]
    split: Option<Split>,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    #[command(flatten)]
    compute: ComputeArguments,

    /// CSV for the probabilities of each image
    #[arg(long, value_name = "FILE", default_value = "zero_shot.csv")]
    out: PathBuf,

    #[command(flatten)]
    fresh: FreshArguments,
}

fn main() -> ExitCode {
    program::run(|| classify(Arguments::parse()))
}

fn classify(arguments: Arguments) -> Result<Ending> {
    arguments.fresh.check(&arguments.out)?;
    let max_bad_share = arguments.labelled.max_bad_share;
    let manifest = arguments.labelled.config()?;
    let manifest = manifest.map(|config| LabelledManifest::read(&config));
    let mut manifest = manifest.transpose()?;
    if let Some(manifest) = &mut manifest {
        keep_side(&mut manifest.images, arguments.split)?;
    }
    let mut images = Vec::new();
    match &manifest {
        Some(manifest) => images.extend(manifest.images.iter().map(|image| image.image.clone())),
        None => {
            for path in arguments.images {
                match path.is_dir() {
                    true => {
                        let found = ImageFiles::below(&path)?;
                        if found.passed_over.total() > 0 {
                            tell(format_args!("{}: {}", path.display(), found.passed_over));
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
    tell(describe_device(&device, precision).trim_end());
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
        tell(format_args!("left out: {image}"));
    }
    if let Some(manifest) = &manifest {
        let scores = zero_shot.score(&predictions, manifest, &Bootstrap::default())?;
        print(scores);
    }
    predictions.write_csv(&images, &arguments.out)?;
    print(format_args!("written: {}", arguments.out.display()));
    Ok(Ending::Done)
}

/// Keeps the images of a side of the split, if there is one: the side that was asked for, or else
/// the test, or the validation where no row is of the test.
fn keep_side(images: &mut Vec<LabelledImage>, asked: Option<Split>) -> Result<()> {
    let has = |side: Split| images.iter().any(|image| image.split == Some(side));
    if images.iter().all(|image| image.split.is_none()) {
        ensure!(asked.is_none(), "the split column marks no row as a side");
        return Ok(());
    }
    let side = match asked {
        Some(side) => side,
        None if has(Split::Test) => Split::Test,
        None => Split::Valid,
    };
    ensure!(has(side), "the split column marks no row as {side}");
    images.retain(|image| image.split == Some(side));
    tell(format_args!("{} images of the side {side}", images.len()));
    Ok(())
}
