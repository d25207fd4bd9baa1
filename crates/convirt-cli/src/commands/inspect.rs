//! `convirt inspect`: shows the content of weights files.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use convirt::data::path_text;
use convirt::weights::{Inspection, LoadStatus};
use serde_json::{Value, json};

use crate::arguments::{DeviceArgument, ResultsArguments};
use crate::program::{Ending, Misuse, print};

/// Show the tensors in weights files, and which of them would be loaded
#[derive(Args)]
#[command(
    after_help = "It reads safetensors, files of torch.save (.pth, .pt, .bin), Burn's checkpoints
(.bpk), the weights of ONNX files (.onnx), and folders of these: of a run, of Hugging Face, of
ConVIRT-Colab. Nothing in the files is executed.

Examples:
  convirt inspect runs/2026-01-16_02-27-36_phantom
  convirt inspect model.pth --load --device cuda"
)]
pub struct Arguments {
    /// Files or folders
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Load the weights on a device instead, and print how long it took
    #[arg(long)]
    load: bool,

    #[command(flatten)]
    device: DeviceArgument,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    if arguments.load {
        let device = arguments.device.find()?;
        let start = Instant::now();
        let load = |file| Ok(Inspection::read(file)?.load(&device)?);
        let networks: Vec<_> = arguments.files.iter().map(load).collect::<Result<_>>()?;
        let seconds = start.elapsed().as_secs_f64();
        drop(networks);
        results.print_as(
            format_args!("loaded in {seconds:.3} s"),
            json!({"seconds": seconds}),
        )?;
        return Ok(Ending::Done);
    }
    if arguments.device.device.is_some() {
        return Err(Misuse("--device has an effect with --load only".to_string()).into());
    }
    let mut documents = Vec::new();
    for file in &arguments.files {
        let inspection = Inspection::read(file)?;
        if results.is_json() {
            documents.push(document(&inspection));
        } else {
            print(inspection.to_string().trim_end());
        }
    }
    if results.is_json() {
        results.print_as("", documents)?;
    }
    Ok(Ending::Done)
}

/// Returns an inspection as JSON.
fn document(inspection: &Inspection) -> Value {
    let file = inspection.file();
    let tensors: Vec<Value> = file
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let mut entry = json!({
                "name": name,
                "type": tensor.element_type.to_string(),
                "shape": tensor.shape,
            });
            let (status, detail) = status(inspection.status(name).unwrap_or(&LoadStatus::Ignored));
            entry["status"] = status.into();
            if let Some((key, value)) = detail {
                entry[key] = value;
            }
            entry
        })
        .collect();
    let loads: Vec<Value> = inspection
        .reports()
        .iter()
        .map(|report| {
            let missing = report
                .tensors
                .iter()
                .filter_map(|tensor| match &tensor.status {
                    LoadStatus::Missing { shape, .. } => {
                        Some(json!({"name": tensor.name, "shape": shape}))
                    }
                    _ => None,
                });
            json!({
                "part": report.part,
                "fits": report.fits(),
                "missing": missing.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "path": path_text(file.path()),
        "format": file.format().to_string(),
        "image_encoder": inspection.image_encoder().map(|encoder| encoder.depth.to_string()),
        "text_encoder": inspection.text_encoder().map(|encoder| json!({
            "layers": encoder.num_hidden_layers,
            "hidden_size": encoder.hidden_size,
            "vocab_size": encoder.vocab_size,
            "max_positions": encoder.max_position_embeddings,
        })),
        "loads": loads,
        "tensors": tensors,
    })
}

/// Returns a tensor's status as a word, and a detail as key and value.
fn status(status: &LoadStatus) -> (&'static str, Option<(&'static str, Value)>) {
    match status {
        LoadStatus::Loaded { parameter, .. } => ("loaded", Some(("parameter", json!(parameter)))),
        LoadStatus::Ignored => ("ignored", None),
        LoadStatus::Unexpected { .. } => ("unexpected", None),
        LoadStatus::Missing { .. } => ("missing", None),
        LoadStatus::Mismatched { expected, .. } => {
            ("mismatched", Some(("expected_shape", json!(expected))))
        }
    }
}
