//! Weights in files: our own models, Hugging Face's text encoders, torchvision's image encoders.
//!
//! All are safetensors. Ours use the names of those two libraries behind `text_encoder.` and
//! `image_encoder.`, so that Python reads them without us.

use std::path::Path;

use burn::module::Module;
use burn::store::{
    ApplyResult, BurnToPyTorchAdapter, FloatCastAdapter, KeyRemapper, ModuleAdapter,
    ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore,
};
use burn::tensor::DType;
use convirt_model::{Bert, BertFamily, ConVirt as Network, ResNet};

use crate::error::Error;

/// Names in a [`ResNet`] and in torchvision's.
const TORCHVISION: &[(&str, &str)] = &[
    ("downsample.conv.", "downsample.0."),
    ("downsample.bn.", "downsample.1."),
];

/// Names in a [`Bert`] and in `transformers`' BERT, RoBERTa and XLM-RoBERTa; `#` is a number.
const BERT: &[(&str, &str)] = &[
    ("embeddings.layer_norm.", "embeddings.LayerNorm."),
    ("layers.#.attention.query.", "encoder.layer.#.attention.self.query."),
    ("layers.#.attention.key.", "encoder.layer.#.attention.self.key."),
    ("layers.#.attention.value.", "encoder.layer.#.attention.self.value."),
    ("layers.#.attention.output.", "encoder.layer.#.attention.output.dense."),
    ("layers.#.attention_norm.", "encoder.layer.#.attention.output.LayerNorm."),
    ("layers.#.intermediate.", "encoder.layer.#.intermediate.dense."),
    ("layers.#.output.", "encoder.layer.#.output.dense."),
    ("layers.#.output_norm.", "encoder.layer.#.output.LayerNorm."),
];

/// Names in a [`Bert`] and in `transformers`' DistilBERT.
const DISTILBERT: &[(&str, &str)] = &[
    ("embeddings.layer_norm.", "embeddings.LayerNorm."),
    ("layers.#.attention.query.", "transformer.layer.#.attention.q_lin."),
    ("layers.#.attention.key.", "transformer.layer.#.attention.k_lin."),
    ("layers.#.attention.value.", "transformer.layer.#.attention.v_lin."),
    ("layers.#.attention.output.", "transformer.layer.#.attention.out_lin."),
    ("layers.#.attention_norm.", "transformer.layer.#.sa_layer_norm."),
    ("layers.#.intermediate.", "transformer.layer.#.ffn.lin1."),
    ("layers.#.output.", "transformer.layer.#.ffn.lin2."),
    ("layers.#.output_norm.", "transformer.layer.#.output_layer_norm."),
];

/// Writes a whole model, atomically; an earlier file is replaced.
pub(crate) fn save(network: &Network, family: BertFamily, path: &Path) -> Result<(), Error> {
    let mut names = KeyRemapper::new();
    for (ours, theirs) in TORCHVISION.iter().chain(text_names(family)) {
        names = with_rename(names, ours, theirs);
    }
    let mut store = SafetensorsStore::from_file(path)
        .with_to_adapter(BurnToPyTorchAdapter)
        .remap(names)
        .overwrite(true);
    network
        .valid()
        .save_into(&mut store)
        .map_err(|error| weights_error(path, &error))
}

/// Reads a whole model that [`save`] wrote: every weight, and nothing else.
pub(crate) fn load(network: &mut Network, family: BertFamily, path: &Path) -> Result<(), Error> {
    let mut names = KeyRemapper::new();
    for (ours, theirs) in TORCHVISION.iter().chain(text_names(family)) {
        names = with_rename(names, theirs, ours);
    }
    let unused = apply(network, names, path)?;
    match unused.is_empty() {
        true => Ok(()),
        false => Err(Error::Weights {
            path: path.to_path_buf(),
            detail: format!("these weights are of another model; not in this one: {unused:?}"),
        }),
    }
}

/// Reads an encoder of `transformers` from `model.safetensors`, with or without the prefix of its
/// family; task heads and poolers are passed over. Returns the names passed over.
pub(crate) fn load_text_encoder(
    encoder: &mut Bert,
    family: BertFamily,
    path: &Path,
) -> Result<Vec<String>, Error> {
    let names = KeyRemapper::new().add_pattern("^(bert|roberta|distilbert)\\.", "");
    let mut names = names.expect("a valid regular expression");
    for (ours, theirs) in text_names(family) {
        names = with_rename(names, theirs, ours);
    }
    apply(encoder, names, path)
}

/// Reads a ResNet of torchvision; its classifier is passed over. Returns the names passed over.
pub(crate) fn load_image_encoder(encoder: &mut ResNet, path: &Path) -> Result<Vec<String>, Error> {
    let mut names = KeyRemapper::new();
    for (ours, theirs) in TORCHVISION {
        names = with_rename(names, theirs, ours);
    }
    apply(encoder, names, path)
}

fn text_names(family: BertFamily) -> &'static [(&'static str, &'static str)] {
    match family {
        BertFamily::Bert | BertFamily::Roberta | BertFamily::XlmRoberta => BERT,
        BertFamily::DistilBert => DISTILBERT,
    }
}

/// Adds a rename that applies at the start of a name or after a dot; `#` stands for a number.
fn with_rename(names: KeyRemapper, from: &str, to: &str) -> KeyRemapper {
    let pattern = from.replace('.', r"\.").replace('#', r"(\d+)");
    let replacement = to.replace('#', "${2}");
    names
        .add_pattern(format!(r"(^|\.){pattern}"), format!("${{1}}{replacement}"))
        .expect("names make valid regular expressions")
}

/// Reads every weight of `module`; returns the names in the file that it does not have.
fn apply<M: Module>(module: &mut M, names: KeyRemapper, path: &Path) -> Result<Vec<String>, Error> {
    let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32));
    let mut store = SafetensorsStore::from_file(path)
        .with_from_adapter(adapter)
        .remap(names)
        .validate(false)
        .allow_partial(true);
    let result = module
        .load_from(&mut store)
        .map_err(|error| weights_error(path, &error))?;
    let ApplyResult {
        missing,
        unused,
        errors,
        ..
    } = result;
    if errors.is_empty() && missing.is_empty() {
        return Ok(unused);
    }
    let missing: Vec<String> = missing.into_iter().map(|(name, _)| name).collect();
    let mut detail = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !missing.is_empty() {
        detail.push(format!("missing {}: {}", missing.len(), first(&missing)));
    }
    Err(Error::Weights {
        path: path.to_path_buf(),
        detail: detail.join("; "),
    })
}

/// The first few of many names.
fn first(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match names.len() > 5 {
        true => shown + ", …",
        false => shown,
    }
}

fn weights_error(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Weights {
        path: path.to_path_buf(),
        detail: error.to_string(),
    }
}
