//! The two towers, their projections and the loss.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    Bert, BertConfig, ContrastiveLoss, ContrastiveLossConfig, ContrastiveOutput, ModelError,
    ParameterCount, ParameterCounts, Pooling, ProjectionHead, ProjectionHeadConfig, ResNet,
    ResNetConfig, TextInput,
};

/// Configuration of a [`ConVirt`].
///
/// # Examples
///
/// ```
/// use convirt_model::{BertConfig, ConVirtConfig, Pooling, ResNetConfig, ResNetDepth};
///
/// let paper = ConVirtConfig {
///     freeze_embeddings: true,
///     freeze_layers: (0..6).collect(),
///     ..ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet50), BertConfig::base(28_996))
/// };
/// assert_eq!(paper.pooling, Pooling::Max);
/// assert_eq!(paper.parameter_count().total, 137_457_472);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConVirtConfig {
    /// Image encoder f_v.
    pub image: ResNetConfig,
    /// Text encoder f_u.
    pub text: BertConfig,
    /// Width of the shared space.
    pub d_embedding: usize,
    /// Pooling of the token states to one vector.
    pub pooling: Pooling,
    /// Hidden state that is pooled: 0 the embeddings, n the n-th layer, `None` the last.
    pub pooling_layer: Option<usize>,
    /// The loss.
    pub loss: ContrastiveLossConfig,
    /// Whether the text encoder's embeddings are frozen.
    pub freeze_embeddings: bool,
    /// Frozen layers of the text encoder, 0 the lowest.
    pub freeze_layers: Vec<usize>,
}

impl ConVirtConfig {
    /// Creates a configuration with the paper's shared space, pooling and loss, and nothing frozen.
    /// The paper freezes the embeddings and layers 0 to 5 of its pretrained BERT.
    pub fn new(image: ResNetConfig, text: BertConfig) -> Self {
        Self {
            image,
            text,
            d_embedding: 512,
            pooling: Pooling::Max,
            pooling_layer: None,
            loss: ContrastiveLossConfig::default(),
            freeze_embeddings: false,
            freeze_layers: Vec::new(),
        }
    }

    /// Initializes the model and freezes its frozen parts.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<ConVirt, ModelError> {
        let d_pooled = self.validate()?;
        let mut text_encoder = self.text.init(device)?;
        if self.freeze_embeddings {
            text_encoder = text_encoder.freeze_embeddings();
        }
        let head = |d_input| ProjectionHeadConfig::new(d_input, self.d_embedding).init(device);
        Ok(ConVirt {
            image_encoder: self.image.init(device),
            text_encoder: text_encoder.freeze_layers(&self.freeze_layers)?,
            image_projection: head(self.image.d_model()),
            text_projection: head(d_pooled),
            loss: self.loss.init(device)?,
            pooling: self.pooling,
            pooling_layer: self.pooling_layer.unwrap_or(self.text.num_hidden_layers),
        })
    }

    /// Counts the parameters of a valid configuration without building the model. A learnable
    /// temperature is not counted.
    pub fn parameter_count(&self) -> ParameterCount {
        let head = |d_input| ProjectionHeadConfig::new(d_input, self.d_embedding).parameters();
        let [embeddings, layer] = self.text.parameters();
        let d_text = self.pooling.d_pooled(self.text.d_model()).unwrap_or(0);
        let heads = head(self.image.d_model()) + head(d_text);
        let layers = layer * self.text.num_hidden_layers as u64;
        let total = self.image.parameters() + embeddings + layers + heads;
        let mut frozen = layer * self.freeze_layers.len() as u64;
        if self.freeze_embeddings {
            frozen += embeddings;
        }
        ParameterCount {
            total: total as usize,
            trainable: total.saturating_sub(frozen) as usize,
        }
    }

    /// Checks the parts and whether they fit together, and returns the width of the pooled text.
    ///
    /// # Errors
    ///
    /// [`ModelError::LayerOutOfRange`] for a layer that the text encoder does not have,
    /// [`ModelError::PoolingWithoutVector`] for pooling `none`, [`ModelError::OutOfRange`] for an
    /// empty shared space, and the errors of the text encoder's and the loss's configuration.
    pub fn validate(&self) -> Result<usize, ModelError> {
        self.text.validate()?;
        self.loss.validate()?;
        ProjectionHeadConfig::new(self.image.d_model(), self.d_embedding).validate()?;
        let layers = self.text.num_hidden_layers;
        let out_of_range = |key, layer| ModelError::LayerOutOfRange { key, layer, layers };
        if let Some(layer) = self.pooling_layer.filter(|&layer| layer > layers) {
            return Err(out_of_range("pooling_layer", layer));
        }
        if let Some(&layer) = self.freeze_layers.iter().find(|&&layer| layer >= layers) {
            return Err(out_of_range("freeze_layers", layer));
        }
        self.pooling
            .d_pooled(self.text.d_model())
            .ok_or(ModelError::PoolingWithoutVector)
    }
}

/// An image and a text encoder trained to recognize which text belongs to which image
/// ([Zhang et al. 2022](https://arxiv.org/abs/2010.00747)).
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use convirt_model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth, TextInput};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let device = Device::flex();
/// let text = BertConfig {
///     hidden_size: 16,
///     num_hidden_layers: 2,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     ..BertConfig::base(100)
/// };
/// let config = ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet18), text);
/// let model = config.init(&device)?;
///
/// let images = Tensor::ones([2, 3, 32, 32], &device);
/// let input_ids = Tensor::<2, Int>::from_data([[2, 5, 3], [2, 3, 0]], &device);
/// let texts = TextInput {
///     attention_mask: input_ids.clone().not_equal_elem(0),
///     input_ids,
///     token_type_ids: None,
/// };
/// let output = model.forward(images, texts, None);
/// assert_eq!(output.nearest_texts.dims(), [2]);
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ConVirt {
    /// f_v.
    pub image_encoder: ResNet,
    /// f_u.
    pub text_encoder: Bert,
    /// g_v.
    pub image_projection: ProjectionHead,
    /// g_u.
    pub text_projection: ProjectionHead,
    /// The loss over a batch of pairs.
    pub loss: ContrastiveLoss,
    #[module(skip)]
    pooling: Pooling,
    pooling_layer: usize,
}

/// The encoded images or texts of a batch, before and after the projection.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The encoder's output h, `[batch, d_model]`, for classifiers and image→image retrieval. For
    /// texts pooled by `mean_max` it is `2 * d_model` wide.
    pub features: Tensor<2>,
    /// Its projection v or u into the shared space, `[batch, d_embedding]`, not normalized.
    pub embedding: Tensor<2>,
}

impl Encoded {
    pub(crate) fn new(features: Tensor<2>, projection: &ProjectionHead) -> Self {
        Self {
            embedding: projection.forward(features.clone()),
            features,
        }
    }
}

impl ConVirt {
    /// Encodes images.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    pub fn encode_image(&self, images: Tensor<4>) -> Encoded {
        let features = self.image_encoder.forward(images);
        Encoded::new(features, &self.image_projection)
    }

    /// Encodes texts.
    ///
    /// # Panics
    ///
    /// When a text has more than the encoder's [`max_tokens`](Bert::max_tokens).
    pub fn encode_text(&self, texts: TextInput) -> Encoded {
        let attention_mask = texts.attention_mask.clone();
        let states = self.text_encoder.forward_to(texts, self.pooling_layer);
        let features = self
            .pooling
            .forward(states, attention_mask)
            .into_vectors()
            .expect("the configuration allows only poolings to one vector");
        Encoded::new(features, &self.text_projection)
    }

    /// Encodes a batch of pairs and computes the loss; see [`ContrastiveLoss::forward`].
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    /// - text_ids: `[batch]`, equal numbers for equal texts
    pub fn forward(
        &self,
        images: Tensor<4>,
        texts: TextInput,
        text_ids: Option<Tensor<1, Int>>,
    ) -> ContrastiveOutput {
        let images = self.encode_image(images).embedding;
        let texts = self.encode_text(texts).embedding;
        self.loss.forward(images, texts, text_ids)
    }

    /// Counts the parameters of each part, total and trainable.
    ///
    /// A learnable temperature counts with the heads. In evaluation mode, those parameters count as
    /// trainable that training would change.
    pub fn parameter_counts(&self) -> ParameterCounts {
        let [image_projection, text_projection] =
            [&self.image_projection, &self.text_projection].map(ParameterCount::from_module);
        ParameterCounts {
            image_encoder: ParameterCount::from_module(&self.image_encoder),
            text_encoder: ParameterCount::from_module(&self.text_encoder),
            heads: image_projection + text_projection + ParameterCount::from_module(&self.loss),
        }
    }
}

#[cfg(test)]
mod tests {
    mod freezing;
    mod parity;

    use super::*;
    use crate::bert::tests::{small, texts};
    use crate::{BertFamily, ResNetDepth};

    fn config() -> ConVirtConfig {
        ConVirtConfig {
            d_embedding: 6,
            ..ConVirtConfig::new(
                ResNetConfig::new(ResNetDepth::ResNet18),
                small(BertFamily::Bert),
            )
        }
    }

    #[test]
    fn a_batch_of_one_pair_trains() {
        let device = Device::flex().autodiff();
        let model = config().init(&device).unwrap();
        let images = Tensor::ones([1, 3, 32, 32], &device);
        let output = model.forward(images, texts(&[&[2, 5, 3]], 3, &device), None);
        assert_eq!(output.loss.clone().into_scalar::<f32>(), 0.0);
        output.loss.backward();
    }

    #[test]
    fn encodings_have_the_configured_widths() {
        let device = Device::flex();
        for (pooling, width) in [(Pooling::Mean, 8), (Pooling::MeanMax, 16)] {
            let model = ConVirtConfig {
                pooling,
                ..config()
            }
            .init(&device)
            .unwrap();
            let images = model.encode_image(Tensor::ones([2, 3, 32, 32], &device));
            assert_eq!(images.features.dims(), [2, 512]);
            assert_eq!(images.embedding.dims(), [2, 6]);
            let texts = model.encode_text(texts(&[&[2, 5, 3], &[2, 3]], 3, &device));
            assert_eq!(texts.features.dims(), [2, width]);
            assert_eq!(texts.embedding.dims(), [2, 6]);
        }
    }

    #[test]
    fn pooling_layer_chooses_the_hidden_state() {
        let device = Device::flex();
        let model = ConVirtConfig {
            pooling: Pooling::First,
            pooling_layer: Some(1),
            ..config()
        }
        .init(&device)
        .unwrap();
        let input = texts(&[&[2, 5, 3]], 3, &device);
        let state = model.text_encoder.forward(input.clone()).swap_remove(1);
        let first = state.slice([0..1, 0..1]).reshape([1, 8]);
        let features = model.encode_text(input).features;
        assert_eq!(features.into_data(), first.into_data());
    }

    #[test]
    fn contradictions_are_errors_that_name_the_field() {
        let device = Device::flex();
        for (config, message) in [
            (
                ConVirtConfig {
                    pooling: Pooling::None,
                    ..config()
                },
                "pooling `none`",
            ),
            (
                ConVirtConfig {
                    pooling_layer: Some(4),
                    ..config()
                },
                "`pooling_layer` names layer 4, but the encoder has 3 layers",
            ),
            (
                ConVirtConfig {
                    freeze_layers: vec![0, 3],
                    ..config()
                },
                "`freeze_layers` names layer 3",
            ),
            (
                ConVirtConfig {
                    d_embedding: 0,
                    ..config()
                },
                "`d_embedding` is 0",
            ),
        ] {
            let error = config.init(&device).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn configuration_survives_writing_and_reading() {
        let config = ConVirtConfig {
            freeze_layers: vec![1],
            ..config()
        };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<ConVirtConfig>(&json).unwrap(),
            config
        );
    }
}
