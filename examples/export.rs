//! Writes a trained model for other libraries: `cargo run --release --example export -- RUN`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use convirt::ConVirt;

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
    let model = ConVirt::load(&run)?;
    fs::create_dir_all(&out).with_context(|| format!("{}: cannot be created", out.display()))?;
    let depth = model.image_config().depth;
    let image = out.join(format!("{depth}.safetensors"));
    model.export_image_encoder(&image, classes)?;
    let text = out.join("text_encoder");
    model.export_text_encoder(&text)?;
    let projections = out.join("projections.safetensors");
    model.export_projections(&projections)?;
    let colab = out.join("model.pth");
    model.export_colab(&colab)?;
    let [image_tower, text_tower] =
        ["image_tower.onnx", "text_tower.onnx"].map(|name| out.join(name));
    model.export_image_onnx(&image_tower)?;
    model.export_text_onnx(&text_tower)?;

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
    println!("# text encoder");
    println!("model = transformers.AutoModel.from_pretrained({text:?})");
    println!("# projection heads: linear2(relu(linear1(features)))");
    println!("heads = safetensors.torch.load_file({projections:?})");
    println!("# the whole model, as ConVIRT-Colab names its parts");
    println!("state = torch.load({colab:?})");
    println!("# either tower with its head, without PyTorch");
    println!("onnxruntime.InferenceSession({image_tower:?})  # images");
    println!("onnxruntime.InferenceSession({text_tower:?})  # input_ids, attention_mask, ...");
    Ok(())
}
