//! Exports the image tower and the text tower as ONNX files.
//!
//! The weights are embedded with the names and shapes of a run's `model.safetensors`, so that an
//! exported file can also be loaded as a weights file.
//!
//! The graphs are written by hand instead of recorded, because `burn-onnx` 0.22.0 lacks operations.
//! For the text encoder it lacks layer normalization, softmax, transposition, the error function,
//! comparison, cast and cumulative sum. For the image encoder it lacks the mean over the pixels of
//! a feature map, and strided slices with a dynamic batch size.

mod graph;
mod image;
mod text;
mod metadata;

use std::path::Path;

use burn::module::Module;
use convirt_data::{FileError, NewFile};
use prost::Message;

use self::metadata::{ImageMetadata, TextMetadata, entries};
use super::preprocessing::Preprocessing;
use crate::error::Error;
use crate::inference::{ImageModel, Model};
use crate::network::NetworkConfig;
use crate::weights::onnx_proto as proto;

/// Maximum size of a Protocol Buffers file, in bytes.
const MAX_FILE_BYTES: usize = i32::MAX as usize;

impl Model {
    /// Writes the image tower as an ONNX file (opset 18).
    ///
    /// The weights have the names of the run's `model.safetensors`, so that the file can also be
    /// loaded as a weights file. The metadata are those of `preprocessor_config.json`, and the
    /// temperature.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, 3, height, width]`, normalized as in training
    /// - `features`: `[batch, d_model]`, the encoder's output
    /// - `embedding`: `[batch, d_embedding]`, its projection, not normalized
    ///
    /// # Errors
    ///
    /// [`Error::OnnxTooLarge`], [`FileError::Write`].
    pub fn export_image_onnx(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let network = self.network().valid();
        let mut model = image::tower(
            &self.layout(),
            &network.image_encoder,
            &network.image_projection,
        );
        model.metadata_props = entries(&ImageMetadata {
            preprocessing: Preprocessing::new(&self.image_tower().description),
            temperature: Some(network.loss.temperature()),
        });
        write(&model, path.as_ref())
    }

    /// Writes the text tower as an ONNX file (opset 18).
    ///
    /// The weights have the names of the run's `model.safetensors`. The file does not contain the
    /// vocabulary, which [`export_text_encoder`](Self::export_text_encoder) writes. The metadata are
    /// the maximum number of tokens, the pooling and the temperature.
    ///
    /// # Shapes
    ///
    /// - `input_ids`, `attention_mask` and, if the encoder has token types, `token_type_ids`:
    ///   `[batch, tokens]`, 64-bit integers; the encoder's positions limit the number of tokens
    /// - `features`: `[batch, d_pooled]`, the encoder's output, pooled
    /// - `embedding`: `[batch, d_embedding]`, its projection, not normalized
    ///
    /// # Errors
    ///
    /// [`Error::OnnxTooLarge`], [`FileError::Write`].
    pub fn export_text_onnx(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let network = self.network().valid();
        let config = self.network_config();
        let mut model = text::tower(
            &self.layout(),
            config,
            &network.text_encoder,
            &network.text_projection,
        );
        model.metadata_props = entries(&TextMetadata {
            max_tokens: self.max_tokens(),
            pooling: config.pooling,
            pooling_layer: config
                .pooling_layer
                .unwrap_or(config.text.num_hidden_layers),
            temperature: network.loss.temperature(),
        });
        write(&model, path.as_ref())
    }
}

impl ImageModel {
    /// Writes the model as an ONNX file in the same way as [`Model::export_image_onnx`].
    ///
    /// # Errors
    ///
    /// [`Error::OnnxTooLarge`], [`FileError::Write`].
    pub fn export_onnx(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let mut model = image::tower(
            &self.layout(),
            &self.network.image_encoder,
            &self.network.image_projection,
        );
        let is_whole = matches!(self.description.network, NetworkConfig::SimClr(_));
        model.metadata_props = entries(&ImageMetadata {
            preprocessing: Preprocessing::new(&self.description),
            temperature: is_whole.then(|| self.network.loss.temperature()),
        });
        write(&model, path.as_ref())
    }
}

fn write(model: &proto::ModelProto, path: &Path) -> Result<(), Error> {
    let bytes = model.encoded_len();
    if bytes > MAX_FILE_BYTES {
        let path = path.to_path_buf();
        return Err(Error::OnnxTooLarge { path, bytes });
    }
    Ok(NewFile::write_whole(path, &model.encode_to_vec()).map_err(FileError::write(path))?)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};
    use std::path::PathBuf;
    use std::process::Command;

    use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
    use convirt_model::{
        Activation, BertConfig, BertFamily, ConVirt as Network, ConVirtConfig, Pooling,
        ResNetConfig, ResNetDepth, TextInput,
    };
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::weights::{Layout, Naming};

    fn text(family: BertFamily) -> BertConfig {
        BertConfig {
            family,
            hidden_size: 64,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            intermediate_size: 128,
            max_position_embeddings: 80,
            pad_token_id: 1,
            // Large enough for non-uniform attention and for the nonlinear range of activations.
            initializer_range: 0.2,
            type_vocab_size: if family == BertFamily::DistilBert {
                0
            } else {
                2
            },
            ..BertConfig::base(500)
        }
    }

    /// Returns models with every family, pooling and activation, and with an inner pooling layer.
    fn text_models() -> Vec<(String, ConVirtConfig)> {
        use {BertFamily::*, Pooling::*};
        let image = ResNetConfig::new(ResNetDepth::ResNet18);
        let mut cases = Vec::new();
        for family in [Bert, Roberta, XlmRoberta, DistilBert] {
            for pooling in [Max, Mean, MeanMax, First, Last] {
                let mut config = ConVirtConfig::new(image, text(family));
                config.pooling = pooling;
                cases.push((format!("{}_{pooling:?}", family.name()), config));
            }
        }
        for (hidden_act, pooling_layer) in [(Activation::GeluTanh, 2), (Activation::Relu, 0)] {
            let bert = BertConfig {
                hidden_act,
                ..text(Bert)
            };
            let mut config = ConVirtConfig::new(image, bert);
            config.pooling_layer = Some(pooling_layer);
            cases.push((format!("{hidden_act:?}_layer_{pooling_layer}"), config));
        }
        cases
    }

    fn image_models() -> Vec<(String, ConVirtConfig)> {
        [ResNetDepth::ResNet18, ResNetDepth::ResNet50]
            .map(|depth| {
                let config = ConVirtConfig::new(ResNetConfig::new(depth), text(BertFamily::Bert));
                (depth.to_string(), config)
            })
            .into()
    }

    fn layout(family: BertFamily) -> Layout {
        Layout::convirt(Naming::TORCHVISION, Naming::for_family(family))
    }

    fn text_tower(config: &ConVirtConfig, network: &Network) -> proto::ModelProto {
        text::tower(
            &layout(config.text.family),
            config,
            &network.text_encoder,
            &network.text_projection,
        )
    }

    fn image_tower(network: &Network) -> proto::ModelProto {
        image::tower(
            &layout(BertFamily::Bert),
            &network.image_encoder,
            &network.image_projection,
        )
    }

    #[test]
    fn every_value_is_defined_before_its_use() {
        let device = Device::flex();
        let mut models = Vec::new();
        for (_, config) in text_models() {
            models.push(text_tower(&config, &config.init(&device).unwrap()));
        }
        for (_, config) in image_models() {
            models.push(image_tower(&config.init(&device).unwrap()));
        }
        for model in models {
            let graph = model.graph.unwrap();
            let weights = graph.initializer.iter().map(|tensor| tensor.name.as_str());
            let inputs = graph.input.iter().map(|input| input.name.as_str());
            let mut known = BTreeSet::new();
            for name in weights.chain(inputs) {
                assert!(known.insert(name), "{name} is defined twice");
            }
            for node in &graph.node {
                for name in &node.input {
                    assert!(known.contains(name.as_str()), "{name} in {}", node.name);
                }
                assert!(
                    known.insert(&node.output[0]),
                    "{} is defined twice",
                    node.name
                );
            }
            for output in &graph.output {
                assert!(known.contains(output.name.as_str()), "{}", output.name);
            }
        }
    }

    /// The test needs a `python3` with `onnx`, `onnxruntime` and `safetensors`.
    #[test]
    fn onnxruntime_computes_the_same_outputs() {
        let modules = "import onnx, onnxruntime, safetensors.numpy";
        let python = Command::new("python3").args(["-c", modules]).output();
        if !python.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: python3 has no onnx, onnxruntime and safetensors");
            return;
        }
        let device = Device::flex();
        device.seed(3);
        let folder = tempfile::tempdir().unwrap();
        for (name, config) in text_models() {
            let network = config.init(&device).unwrap();
            let path = folder.path().join(name);
            write(&text_tower(&config, &network), &path.with_extension("onnx")).unwrap();
            let [ids, mask, types] = padded_texts();
            let tensor = |data: &TensorData| {
                Tensor::<2, Int>::from_data(data.clone(), (&device, DType::I64))
            };
            let encoded = network.encode_text(TextInput {
                input_ids: tensor(&ids),
                attention_mask: tensor(&mask).equal_elem(1),
                token_type_ids: Some(tensor(&types)),
            });
            let values = [
                ("input_ids", ids),
                ("attention_mask", mask),
                ("token_type_ids", types),
                ("features", encoded.features.into_data()),
                ("embedding", encoded.embedding.into_data()),
            ];
            save(&values, &path);
        }
        for (name, config) in image_models() {
            let network = config.init(&device.clone().autodiff()).unwrap();
            // A forward pass in training mode changes the running statistics of the batch norms.
            let noise = Distribution::Normal(0.3, 1.5);
            let batch = Tensor::random([4, 3, 64, 64], noise, &device.clone().autodiff());
            network.encode_image(batch);
            let network = network.valid();
            let path = folder.path().join(name);
            write(&image_tower(&network), &path.with_extension("onnx")).unwrap();
            let images = Tensor::random([3, 3, 64, 96], noise, &device);
            let encoded = network.encode_image(images.clone());
            let values = [
                ("images", images.into_data()),
                ("features", encoded.features.into_data()),
                ("embedding", encoded.embedding.into_data()),
            ];
            save(&values, &path);
        }
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/onnx_check.py");
        let output = Command::new("python3")
            .arg(script)
            .arg(folder.path())
            .output()
            .unwrap();
        println!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Returns the ids, mask and types of texts with 64, 40, 3 and 0 tokens that are not padding.
    ///
    /// The second text is padded on the left.
    fn padded_texts() -> [TensorData; 3] {
        const TOKENS: usize = 64;
        let real = [0..64, 24..64, 0..3, 0..0];
        let tensor = |value: &dyn Fn(usize, usize, bool) -> i64| {
            let rows = real.iter().enumerate();
            let values = rows.flat_map(|(row, real)| {
                (0..TOKENS).map(move |token| value(row, token, real.contains(&token)))
            });
            TensorData::new(values.collect::<Vec<_>>(), [real.len(), TOKENS])
        };
        [
            tensor(&|row, token, is_real| {
                if is_real {
                    2 + ((row * 97 + token * 31) % 490) as i64
                } else {
                    1
                }
            }),
            tensor(&|_, _, is_real| i64::from(is_real)),
            tensor(&|_, token, is_real| i64::from(is_real && token % 3 == 0)),
        ]
    }

    fn save(values: &[(&str, TensorData)], path: &Path) {
        let views = values.iter().map(|(name, data)| {
            let dtype = match data.dtype() {
                DType::I64 => Dtype::I64,
                _ => Dtype::F32,
            };
            let view = TensorView::new(dtype, data.shape().to_vec(), data.bytes());
            (name.to_string(), view.unwrap())
        });
        let views: HashMap<_, _> = views.collect();
        let path: PathBuf = path.with_extension("safetensors");
        safetensors::serialize_to_file(views, None, &path).unwrap();
    }
}
