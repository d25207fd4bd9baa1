//! Writes a trained model for other libraries: `cargo run --release --example export -- RUN`.

#[path = "program/fresh.rs"]
mod fresh;
#[path = "program/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use convirt::{ConVirt, ImageTower, Objective};
use fresh::FreshArguments;
use program::{Ending, print};

/// Writes a trained model for torchvision, transformers, ConVIRT-Colab and ONNX.
#[derive(Parser)]
struct Arguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    run: PathBuf,

    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "exported")]
    out: PathBuf,

    /// Give the image encoder an untrained classifier of so many classes, as torchvision's have
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    classes: Option<usize>,

    #[command(flatten)]
    fresh: FreshArguments,
}

fn main() -> ExitCode {
    program::run(|| export(Arguments::parse()))
}

fn export(arguments: Arguments) -> Result<Ending> {
    let Arguments {
        run,
        out,
        classes,
        fresh,
    } = arguments;
    fresh.check(&out)?;
    let tower = ImageTower::load(&run)?;
    fs::create_dir_all(&out).with_context(|| format!("{}: cannot be created", out.display()))?;
    let depth = tower.image_config().depth;
    let image = out.join(format!("{depth}.safetensors"));
    tower.export_encoder(&image, classes)?;
    let image_tower = out.join("image_tower.onnx");
    tower.export_onnx(&image_tower)?;

    let fc = match classes {
        Some(classes) => format!("num_classes={classes}"),
        None => String::new(),
    };
    print("# image encoder");
    print(format_args!("model = torchvision.models.{depth}({fc})"));
    if classes.is_none() {
        print("model.fc = torch.nn.Identity()");
    }
    print(format_args!(
        "model.load_state_dict(safetensors.torch.load_file({image:?}))"
    ));
    print("# with its head, without PyTorch");
    print(format_args!(
        "onnxruntime.InferenceSession({image_tower:?})  # images"
    ));

    let projections = out.join("projections.safetensors");
    match tower.objective() {
        Objective::SimClr => tower.export_projection(&projections)?,
        Objective::ConVirt => {
            let model = ConVirt::load(&run)?;
            model.export_projections(&projections)?;
            texts(&model, &out)?;
        }
    }
    print("# projection heads: linear2(relu(linear1(features)))");
    print(format_args!(
        "heads = safetensors.torch.load_file({projections:?})"
    ));
    Ok(Ending::Done)
}

/// Writes what only a model with texts has.
fn texts(model: &ConVirt, out: &Path) -> Result<()> {
    let encoder = out.join("text_encoder");
    model.export_text_encoder(&encoder)?;
    print("# text encoder");
    print(format_args!(
        "model = transformers.AutoModel.from_pretrained({encoder:?})"
    ));
    let tower = out.join("text_tower.onnx");
    model.export_text_onnx(&tower)?;
    print("# with its head, without PyTorch");
    print(format_args!(
        "onnxruntime.InferenceSession({tower:?})  # input_ids, attention_mask, ..."
    ));
    let colab = out.join("model.pth");
    model.export_colab(&colab)?;
    print("# the whole model, as ConVIRT-Colab names its parts");
    print(format_args!("state = torch.load({colab:?})"));
    Ok(())
}
