//! Writes a trained model for other libraries: `cargo run --release --example export -- RUN`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use convirt::{ConVirt, ImageTower, Objective};

/// Writes a trained model for torchvision, transformers, ConVIRT-Colab and ONNX.
#[derive(Parser)]
struct Arguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    run: PathBuf,

    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "exported")]
    out: PathBuf,

    /// Give the image encoder an untrained classifier of so many classes, as torchvision's have
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
}

fn main() -> Result<()> {
    let Arguments { run, out, classes } = Arguments::parse();
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
    println!("# image encoder");
    println!("model = torchvision.models.{depth}({fc})");
    if classes.is_none() {
        println!("model.fc = torch.nn.Identity()");
    }
    println!("model.load_state_dict(safetensors.torch.load_file({image:?}))");
    println!("# with its head, without PyTorch");
    println!("onnxruntime.InferenceSession({image_tower:?})  # images");

    let projections = out.join("projections.safetensors");
    match tower.objective() {
        Objective::SimClr => tower.export_projection(&projections)?,
        Objective::ConVirt => {
            let model = ConVirt::load(&run)?;
            model.export_projections(&projections)?;
            texts(&model, &out)?;
        }
    }
    println!("# projection heads: linear2(relu(linear1(features)))");
    println!("heads = safetensors.torch.load_file({projections:?})");
    Ok(())
}

/// Writes what only a model with texts has.
fn texts(model: &ConVirt, out: &Path) -> Result<()> {
    let encoder = out.join("text_encoder");
    model.export_text_encoder(&encoder)?;
    println!("# text encoder");
    println!("model = transformers.AutoModel.from_pretrained({encoder:?})");
    let tower = out.join("text_tower.onnx");
    model.export_text_onnx(&tower)?;
    println!("# with its head, without PyTorch");
    println!("onnxruntime.InferenceSession({tower:?})  # input_ids, attention_mask, ...");
    let colab = out.join("model.pth");
    model.export_colab(&colab)?;
    println!("# the whole model, as ConVIRT-Colab names its parts");
    println!("state = torch.load({colab:?})");
    Ok(())
}
