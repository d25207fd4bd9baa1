//! `convirt export`: writes a trained model for other libraries.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use convirt::data::path_text;
use convirt::export::ModelCard;
use convirt::{ImageModel, Model};
use serde_json::{Value, json};

use crate::arguments::{Output, OverwriteArguments, ResultsArguments, run_folder};
use crate::program::Ending;

/// Write a trained model as a folder that explains itself, and for torchvision, transformers, ONNX and
/// ConVIRT-Colab
#[derive(Args)]
#[command(after_help = "Examples:
  convirt export latest --license cc-by-4.0
  convirt export RUN --out upload --hub-layout --name \"Chest X-rays\"
  convirt export RUN --out classifier --classes 14")]
pub struct Arguments {
    /// Run (a path, a name in `runs` or its beginning, or `latest`), model folder, checkpoint
    /// (checkpoint/model-<step>.bpk), or a model on the Hugging Face hub (owner/name)
    run: PathBuf,

    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "exported")]
    out: PathBuf,

    /// Write only what one uploads to the Hugging Face hub: model card, configuration, weights,
    /// tokenizer and convirt_model.py
    #[arg(long, conflicts_with = "classes")]
    hub_layout: bool,

    /// Title of the model card
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Licence of the weights, for the model card (cc-by-4.0, apache-2.0, other, …)
    #[arg(long, value_name = "ID")]
    license: Option<String>,

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
        hub_layout,
        name,
        license,
        classes,
        overwrite,
        results,
    } = arguments;
    let results = results.begin();
    overwrite.check(Output::Folder(&out), [run_folder(&run)])?;
    let card = ModelCard { name, license };
    let tower = ImageModel::load(&run)?;
    let model = if tower.objective().reads_texts() {
        Some(Model::load(&run)?)
    } else {
        None
    };
    match &model {
        Some(model) => model.export(&out, &card)?,
        None => tower.export(&out, &card)?,
    }
    let mut written = Written::default();
    let code = [
        "# the model, which README.md describes".to_string(),
        format!("sys.path.insert(0, {out:?}); from convirt_model import Model"),
        format!("model = Model.from_pretrained({out:?})"),
    ];
    written.add("model", &out, &code);
    if !hub_layout {
        image_encoder(&tower, &out, classes, &mut written)?;
        let onnx = out.join("image_tower.onnx");
        let projections = out.join("projections.safetensors");
        match &model {
            Some(model) => {
                model.export_image_onnx(&onnx)?;
                model.export_projections(&projections)?;
                text_side(model, &out, &mut written)?;
            }
            None => {
                tower.export_onnx(&onnx)?;
                tower.export_projection(&projections)?;
            }
        }
        let code = [
            "# image encoder with its head, without PyTorch".to_string(),
            format!("onnxruntime.InferenceSession({onnx:?})  # images"),
        ];
        written.add("image encoder with its head", &onnx, &code);
        let code = [
            "# projection heads: linear2(relu(linear1(features)))".to_string(),
            format!("heads = safetensors.torch.load_file({projections:?})"),
        ];
        written.add("projection heads", &projections, &code);
    }
    let document = json!({"folder": path_text(&out), "parts": written.parts});
    results.print_as(written.lines.join("\n"), document)?;
    Ok(Ending::Done)
}

/// Writes the image encoder.
fn image_encoder(
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
        "# text encoder with its head, without PyTorch".to_string(),
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
