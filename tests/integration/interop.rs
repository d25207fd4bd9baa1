//! Agreement with Python's own libraries, on files that `tests/interop/interop.py` writes.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use convirt::export::ModelCard;
use convirt::model::{BertConfig, ConVirt as Network, ConVirtConfig, ResNetConfig, TextInput};
use convirt::weights::{WeightsFile, load_image_encoder, load_network, load_text_encoder};
use convirt::{Classifier, Model};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// Needs the cases of `interop.py write`: the environment variable `CONVIRT_INTEROP` names their
/// folder. What is exported here, `interop.py check` reads.
#[test]
fn files_of_python_give_its_outputs_and_go_back_to_it() {
    let Some(root) = std::env::var_os("CONVIRT_INTEROP").map(PathBuf::from) else {
        eprintln!("skipped: CONVIRT_INTEROP does not name a folder");
        return;
    };
    let mut differences = Map::new();
    let mut beyond = Vec::new();
    for case in json(&root.join("cases.json")).as_array().unwrap() {
        let case = Case::read(&root, case);
        let mut found = Map::new();
        for (output, values) in case.outputs() {
            let difference = largest_difference(&values, &case.numbers(output));
            let tolerance = case.description["outputs"][output]["tolerance"].as_f64();
            let is_within = difference <= tolerance.unwrap();
            if !is_within {
                beyond.push(format!(
                    "{}: {output}: {difference:e}",
                    case.folder.display()
                ));
            }
            let largest = found.get(output).and_then(Value::as_f64).unwrap_or(0.0);
            found.insert(output.to_string(), largest.max(difference).into());
        }
        differences.insert(case.text("name").to_string(), found.into());
    }
    let differences = Value::Object(differences).to_string();
    fs::write(root.join("differences.json"), differences).unwrap();
    assert!(beyond.is_empty(), "{beyond:#?}");
}

/// A model that Python wrote, with inputs and outputs.
struct Case {
    folder: PathBuf,
    description: Value,
    io: Vec<u8>,
    device: Device,
}

/// The name of an output and its numbers.
type Output = (&'static str, Vec<f32>);

impl Case {
    fn read(root: &Path, description: &Value) -> Self {
        let folder = root.join(description["name"].as_str().unwrap());
        Self {
            description: description.clone(),
            io: fs::read(folder.join("io.safetensors")).unwrap(),
            device: Device::flex(),
            folder,
        }
    }

    fn outputs(&self) -> Vec<Output> {
        match self.text("kind") {
            "image" => vec![("features", self.features())],
            "classifier" => self.classification(),
            "text" => vec![("states", self.states())],
            "whole" => self.embeddings_of_both_files(),
            other => panic!("no such kind of case: {other}"),
        }
    }

    fn features(&self) -> Vec<f32> {
        let file = WeightsFile::open(self.folder.join(self.text("weights"))).unwrap();
        let config = ResNetConfig::new(self.text("resnet").parse().unwrap());
        let encoder = config.init(&self.device);
        let (encoder, _) = load_image_encoder(encoder, &file, &[]).unwrap();
        numbers(encoder.forward(self.images()))
    }

    /// Of a classifier's folder, which is loaded and saved again.
    fn classification(&self) -> Vec<Output> {
        let classifier = Classifier::load_on(&self.folder, &self.device).unwrap();
        classifier.save(self.folder.join("saved")).unwrap();
        let scores = classifier.network().forward(self.images());
        let probabilities = classifier.predict(self.folder.join("image.png")).unwrap();
        vec![
            ("scores", numbers(scores)),
            ("probabilities", probabilities),
        ]
    }

    /// Zeros at padding.
    fn states(&self) -> Vec<f32> {
        let file = WeightsFile::open(&self.folder).unwrap();
        let config = fs::read_to_string(self.folder.join("config.json")).unwrap();
        let config = BertConfig::parse(&config).unwrap();
        let encoder = config.init(&self.device).unwrap();
        let (encoder, _) = load_text_encoder(encoder, &file, &[]).unwrap();
        let texts = self.texts();
        let is_real = texts.attention_mask.clone().float().unsqueeze_dim::<3>(2);
        numbers(encoder.forward_to(texts, config.num_hidden_layers) * is_real)
    }

    /// The same model as a folder of this crate's, which is exported, and as ConVIRT-Colab's file.
    fn embeddings_of_both_files(&self) -> Vec<Output> {
        let model = Model::load_on(&self.folder, &self.device).unwrap();
        self.export(&model);
        let file = WeightsFile::open(self.folder.join("model.pth")).unwrap();
        let config = json(&self.folder.join("convirt.json"))["network"].take();
        let config: ConVirtConfig = serde_json::from_value(config).unwrap();
        let colab = config.init(&self.device).unwrap();
        let (colab, _) = load_network(colab, &file, &[]).unwrap();

        let ours = self.embeddings(model.network());
        save(&ours, &self.folder.join("ours.safetensors"));
        ours.into_iter().chain(self.embeddings(&colab)).collect()
    }

    fn embeddings(&self, network: &Network) -> [Output; 2] {
        let image = network.encode_image(self.images()).embedding;
        let text = network.encode_text(self.texts()).embedding;
        [
            ("image_embedding", numbers(image)),
            ("text_embedding", numbers(text)),
        ]
    }

    fn export(&self, model: &Model) {
        let folder = self.folder.join("exported");
        fs::create_dir_all(&folder).unwrap();
        let with_fc = folder.join("image_with_fc.safetensors");
        model.export_image_encoder(with_fc, Some(1000)).unwrap();
        let without_fc = folder.join("image_without_fc.pth");
        model.export_image_encoder(without_fc, None).unwrap();
        let text_encoder = folder.join("text_encoder");
        model.export_text_encoder(text_encoder).unwrap();
        let projections = folder.join("projections.safetensors");
        model.export_projections(projections).unwrap();
        model.export_colab(folder.join("model.pth")).unwrap();
        let card = ModelCard::default();
        model.export(folder.join("model"), &card).unwrap();

        let texts = json(&self.folder.join("texts.json"));
        let max_tokens = json(&self.folder.join("convirt.json"))["max_tokens"].as_u64();
        let ids = |text: &Value| {
            let text = text.as_str().unwrap();
            let tokens = model.tokenizer().encode(text, max_tokens.unwrap() as usize);
            tokens.unwrap().ids
        };
        let ids: Vec<_> = texts.as_array().unwrap().iter().map(ids).collect();
        let ids = serde_json::to_string(&ids).unwrap();
        fs::write(folder.join("token_ids.json"), ids).unwrap();
    }

    fn images(&self) -> Tensor<4> {
        Tensor::from_data(self.tensor("images").unwrap(), &self.device)
    }

    fn texts(&self) -> TextInput {
        let tensor = |name| {
            Some(Tensor::<2, Int>::from_data(
                self.tensor(name)?,
                &self.device,
            ))
        };
        TextInput {
            input_ids: tensor("input_ids").unwrap(),
            attention_mask: tensor("attention_mask").unwrap().equal_elem(1),
            token_type_ids: tensor("token_type_ids"),
        }
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.tensor(name).unwrap().iter().collect()
    }

    /// An input or expected output.
    fn tensor(&self, name: &str) -> Option<TensorData> {
        let file = SafeTensors::deserialize(&self.io).unwrap();
        let view = file.tensor(name).ok()?;
        let element_type = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::I64 => DType::I64,
            other => panic!("{name}: {other}"),
        };
        let bytes = view.data().to_vec();
        Some(TensorData::from_bytes_vec(
            bytes,
            view.shape().to_vec(),
            element_type,
        ))
    }

    fn text(&self, key: &str) -> &str {
        self.description[key].as_str().unwrap()
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// Infinite where a number is NaN, which must not pass for small.
fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(
        0.0,
        |a, b| if b.is_nan() { f64::INFINITY } else { a.max(b) },
    )
}

fn save(outputs: &[Output], path: &Path) {
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let outputs: Vec<(_, Vec<u8>, _)> = outputs
        .iter()
        .map(|(name, numbers)| (*name, bytes(numbers), vec![numbers.len()]))
        .collect();
    let views = outputs.iter().map(|(name, bytes, shape)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}
