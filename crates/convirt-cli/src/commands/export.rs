//! `convirt export`: writes a trained model for other libraries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use convirt::data::path_text;
use convirt::{ImageModel, Model};
use serde_json::{Value, json};

use crate::arguments::{OverwriteArguments, ResultsArguments};
use crate::program::Ending;

/// Write a trained model for torchvision, transformers, ONNX and ConVIRT-Colab
#[derive(Args)]
pub struct Arguments {
    /// Run (a path, a name in `runs` or its beginning, or `latest`), model folder, or checkpoint
    /// (checkpoint/model-<step>.bpk)
    run: PathBuf,

    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "exported")]
    out: PathBuf,

    /// Add an untrained classifier with this number of classes to the image encoder, as in
    /// torchvision
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    classes: Option<usize>,

    #[command(flatten)]
    overwrite: OverwriteArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

/// The files written, as Python code that loads them and as JSON.
#[derive(Default)]
struct Written {
    lines: Vec<String>,
    parts: Vec<Value>,
}

impl Written {
    /// Adds a file or folder.
    fn add(&mut self, part: &str, path: &Path, code: &[String]) {
        self.lines.extend_from_slice(code);
        self.parts
            .push(json!({"part": part, "path": path_text(path)}));
    }
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let Arguments {
        run,
        out,
        classes,
        overwrite,
        results,
    } = arguments;
    let results = results.begin();
    overwrite.check(&out)?;
    let tower = ImageModel::load(&run)?;
    fs::create_dir_all(&out).with_context(|| format!("{}: cannot be created", out.display()))?;
    let mut written = Written::default();
    image_side(&tower, &out, classes, &mut written)?;
    let projections = out.join("projections.safetensors");
    if tower.objective().reads_texts() {
        let model = Model::load(&run)?;
        model.export_projections(&projections)?;
        text_side(&model, &out, &mut written)?;
    } else {
        tower.export_projection(&projections)?;
    }
    let code = [
        "# projection heads: linear2(relu(linear1(features)))".to_string(),
        format!("heads = safetensors.torch.load_file({projections:?})"),
    ];
    written.add("projection heads", &projections, &code);
    let document = json!({"folder": path_text(&out), "parts": written.parts});
    results.print_as(written.lines.join("\n"), document)?;
    Ok(Ending::Done)
}

/// Writes the files of the image side.
fn image_side(
    tower: &ImageModel,
    out: &Path,
    classes: Option<usize>,
    written: &mut Written,
) -> Result<()> {
    let depth = tower.image_config().depth;
    let encoder = out.join(format!("{depth}.safetensors"));
    tower.export_encoder(&encoder, classes)?;
    let load = format!("model.load_state_dict(safetensors.torch.load_file({encoder:?}))");
    let code = match classes {
        Some(classes) => vec![
            "# image encoder".to_string(),
            format!("model = torchvision.models.{depth}(num_classes={classes})"),
            load,
        ],
        None => vec![
            "# image encoder".to_string(),
            format!("model = torchvision.models.{depth}()"),
            "model.fc = torch.nn.Identity()".to_string(),
            load,
        ],
    };
    written.add("image encoder", &encoder, &code);

    let onnx = out.join("image_tower.onnx");
    tower.export_onnx(&onnx)?;
    let code = [
        "# with its head, without PyTorch".to_string(),
        format!("onnxruntime.InferenceSession({onnx:?})  # images"),
    ];
    written.add("image encoder with its head", &onnx, &code);
    Ok(())
}

/// Writes the files of the text side and of the whole model.
fn text_side(model: &Model, out: &Path, written: &mut Written) -> Result<()> {
    let encoder = out.join("text_encoder");
    model.export_text_encoder(&encoder)?;
    let code = [
        "# text encoder".to_string(),
        format!("model = transformers.AutoModel.from_pretrained({encoder:?})"),
    ];
    written.add("text encoder", &encoder, &code);

    let onnx = out.join("text_tower.onnx");
    model.export_text_onnx(&onnx)?;
    let code = [
        "# with its head, without PyTorch".to_string(),
        format!("onnxruntime.InferenceSession({onnx:?})  # input_ids, attention_mask, ..."),
    ];
    written.add("text encoder with its head", &onnx, &code);

    let colab = out.join("model.pth");
    model.export_colab(&colab)?;
    let code = [
        "# the whole model, as ConVIRT-Colab names its parts".to_string(),
        format!("state = torch.load({colab:?})"),
    ];
    written.add("whole model", &colab, &code);
    Ok(())
}
