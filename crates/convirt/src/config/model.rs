//! The section `model`: the networks and their initial weights.

use std::path::PathBuf;

use convirt_model::{BertConfig, Pooling, ProjectionHeadConfig, ResNetDepth};
use serde::{Deserialize, Serialize};

use super::invalid_setting::{Check, contradiction, gibibytes, number, whole};

/// The networks and the sources of their initial weights.
///
/// # Examples
///
/// ```
/// use convirt::config::{ModelConfig, ScratchTextConfig};
/// use convirt::model::ResNetDepth;
///
/// // A small model that starts without pretrained weights.
/// let model = ModelConfig {
///     res_base_model: ResNetDepth::ResNet18,
///     bert_base_model: ModelConfig::SCRATCH.to_string(),
///     text_from_scratch: ScratchTextConfig { layers: 2, ..ScratchTextConfig::default() },
///     freeze_embeddings: false,
///     freeze_layers: Vec::new(),
///     ..ModelConfig::default()
/// };
/// assert!(model.text_is_from_scratch());
/// assert_eq!(model.image_weights_name(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Width of the embedding space that images and texts share, 1 to 65,536. Default: 512 (paper).
    pub out_dim: usize,
    /// Image encoder, `resnet18` to `resnet152`. Default: `resnet50` (paper).
    pub res_base_model: ResNetDepth,
    /// Initial weights of the image encoder: a file or folder, the name of a model on the Hugging
    /// Face hub (`owner/model` or `owner/model@revision`), or [`imagenet`](Self::IMAGENET) (paper).
    /// Default: from scratch.
    pub image_weights: Option<String>,
    /// Text encoder: a folder with Hugging Face's `config.json`, weights and vocabulary, the name
    /// of a model on the hub (`owner/model` or `owner/model@revision`), or
    /// [`scratch`](Self::SCRATCH). Default: `emilyalsentzer/Bio_ClinicalBERT` (paper).
    pub bert_base_model: String,
    /// Prefix of an encoder's tensor names, for weights with several encoders, such as
    /// `module.encoder_q` in MoCo's. Default: none.
    pub weights_prefix: Option<String>,
    /// Tensors that may be missing from the weights, may have another shape, or may belong to no
    /// encoder, by their names in the file; `*` matches any characters. Default: none.
    pub allow_unmatched: Vec<String>,
    /// Size of the text encoder for `bert_base_model: scratch`. A pretrained one has its own
    /// `config.json`.
    pub text_from_scratch: ScratchTextConfig,
    /// Whether the tokenizer lower-cases. Default: as the vocabulary's files say, `false` if they
    /// do not say; `true` for a vocabulary trained on the reports.
    pub do_lower_case: Option<bool>,
    /// Maximum length of a text in tokens, special tokens included, 3 to 1,048,576. Default: the
    /// text encoder's maximum.
    pub max_tokens: Option<usize>,
    /// Pooling of token states into one vector. Default: `max` (paper); Colab: `mean`.
    pub pooling: Pooling,
    /// Layer whose token states are pooled: 0 is the embeddings, n the n-th layer. Default: the
    /// last layer.
    pub pooling_layer: Option<usize>,
    /// Whether the text encoder's embeddings are frozen. Default: `true` (paper); Colab trains
    /// them.
    pub freeze_embeddings: bool,
    /// Frozen layers of the text encoder, counted from 0, each given once. Default: the first 6
    /// (paper).
    pub freeze_layers: Vec<usize>,
    /// Folder that keeps the states of frozen embeddings and layers, on the CPU, for later runs
    /// with the same weights. Default: none; 1 GiB of states is kept in memory.
    pub frozen_states_dir: Option<PathBuf>,
    /// Maximum size of a file in `frozen_states_dir`, in GiB, above 0 and at most 1,000,000.
    /// Default: 20, which holds 100,000 reports of 64 tokens with BERT-base.
    pub frozen_states_gib: f64,
    /// Dropout of the text encoder in training, 0 to below 1. Default: as its `config.json` says.
    pub dropout: Option<f64>,
}

/// Size of a text encoder from scratch: a BERT with a WordPiece vocabulary trained on the reports.
///
/// The default has about 5 million parameters and learns from some hundreds of reports in minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScratchTextConfig {
    /// Layers, 1 to 1,024. Default: 4.
    pub layers: usize,
    /// Width of the token states, a multiple of `heads`, at most 65,536. Default: 256.
    pub hidden_size: usize,
    /// Attention heads of a layer, 1 to 4,096. Default: 4.
    pub heads: usize,
    /// Width of the feed-forward networks, 1 to 1,048,576. Default: 1,024.
    pub intermediate_size: usize,
    /// Maximum size of the vocabulary, in word pieces, 100 to 10,000,000. Default: 8,000.
    pub vocab_size: usize,
    /// Maximum length of a text in tokens, special tokens included, 3 to 1,048,576. Default: 256.
    pub max_tokens: usize,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            out_dim: 512,
            res_base_model: ResNetDepth::ResNet50,
            image_weights: None,
            bert_base_model: "emilyalsentzer/Bio_ClinicalBERT".to_string(),
            weights_prefix: None,
            allow_unmatched: Vec::new(),
            text_from_scratch: ScratchTextConfig::default(),
            do_lower_case: None,
            max_tokens: None,
            pooling: Pooling::Max,
            pooling_layer: None,
            freeze_embeddings: true,
            freeze_layers: (0..6).collect(),
            frozen_states_dir: None,
            frozen_states_gib: 20.0,
            dropout: None,
        }
    }
}

/// Minimum of `max_tokens`: two special tokens and one token between them.
const MIN_TOKENS: usize = 3;

impl ModelConfig {
    /// Checks the section except for [`text_from_scratch`](Self::text_from_scratch).
    pub(super) fn check(&self) -> Check {
        let widths = 1..=ProjectionHeadConfig::MAX_EMBEDDING;
        whole("out_dim", self.out_dim, widths)?;
        let tokens = MIN_TOKENS..=BertConfig::MAX_POSITIONS;
        whole("max_tokens", self.max_tokens, tokens)?;
        number("dropout", self.dropout, BertConfig::DROPOUTS)?;
        gibibytes("frozen_states_gib", self.frozen_states_gib)?;
        if self.pooling == Pooling::None {
            let problem =
                "`none` gives no vector for a text; use max, mean, mean_max, first or last";
            return contradiction("pooling", problem);
        }
        let layers = &self.freeze_layers;
        let is_twice = |&index: &usize| layers[..index].contains(&layers[index]);
        if let Some(index) = (1..layers.len()).find(is_twice) {
            let problem = format!("layer {} is given twice", layers[index]);
            return contradiction("freeze_layers", problem);
        }
        if self.bert_base_model.trim().is_empty() {
            let problem = "a folder, the name of a model, or `scratch` is needed";
            return contradiction("bert_base_model", problem);
        }
        Ok(())
    }

    /// Checks the settings of a text encoder from scratch.
    pub(super) fn check_text_from_scratch(&self) -> Check {
        let size = &self.text_from_scratch;
        size.check()
            .map_err(|invalid| invalid.in_section("text_from_scratch"))?;
        if self.pooling_layer.is_some_and(|layer| layer > size.layers) {
            let problem = format!("beyond `text_from_scratch.layers`, {}", size.layers);
            return contradiction("pooling_layer", problem);
        }
        if !self.freeze_layers.is_empty() {
            let problem = "a text encoder from scratch has no learned layers to freeze; set it to \
                           []";
            return contradiction("freeze_layers", problem);
        }
        if self.freeze_embeddings {
            let problem = "a text encoder from scratch has no learned embeddings to freeze; set it \
                           to False";
            return contradiction("freeze_embeddings", problem);
        }
        Ok(())
    }

    /// Value of `bert_base_model` for a text encoder without pretrained weights.
    pub const SCRATCH: &str = "scratch";

    /// Value of `image_weights` for torchvision's weights, trained on ImageNet.
    pub const IMAGENET: &str = "imagenet";

    /// Returns `image_weights`, with `imagenet` replaced by the model's name on the hub.
    pub fn image_weights_name(&self) -> Option<String> {
        let name = self.image_weights.as_ref()?;
        Some(match name.as_str() {
            Self::IMAGENET => Self::imagenet_name(self.res_base_model),
            _ => name.clone(),
        })
    }

    /// Returns the maximum length of a text in tokens, for an encoder that reads up to
    /// `encoder_tokens`.
    pub(crate) fn longest_text(&self, encoder_tokens: usize) -> usize {
        self.max_tokens
            .map_or(encoder_tokens, |max_tokens| max_tokens.min(encoder_tokens))
    }

    /// Returns whether a vocabulary that is trained on the reports lower-cases.
    pub(crate) fn lower_cases_from_scratch(&self) -> bool {
        self.do_lower_case.unwrap_or(true)
    }

    /// Returns the hub's name of torchvision's weights for a depth.
    pub(crate) fn imagenet_name(depth: ResNetDepth) -> String {
        format!("timm/{depth}.tv_in1k")
    }

    /// Returns whether the text encoder starts without pretrained weights.
    pub fn text_is_from_scratch(&self) -> bool {
        self.bert_base_model == Self::SCRATCH
    }
}

impl Default for ScratchTextConfig {
    fn default() -> Self {
        Self {
            layers: 4,
            hidden_size: 256,
            heads: 4,
            intermediate_size: 1024,
            vocab_size: 8_000,
            max_tokens: 256,
        }
    }
}

impl ScratchTextConfig {
    fn check(&self) -> Check {
        whole("layers", self.layers, 1..=BertConfig::MAX_LAYERS)?;
        whole("heads", self.heads, 1..=BertConfig::MAX_HEADS)?;
        let widths = 1..=BertConfig::MAX_HIDDEN_SIZE;
        whole("hidden_size", self.hidden_size, widths)?;
        let widths = 1..=BertConfig::MAX_INTERMEDIATE_SIZE;
        whole("intermediate_size", self.intermediate_size, widths)?;
        let sizes = 100..=BertConfig::MAX_VOCAB_SIZE;
        whole("vocab_size", self.vocab_size, sizes)?;
        let tokens = MIN_TOKENS..=BertConfig::MAX_POSITIONS;
        whole("max_tokens", self.max_tokens, tokens)?;
        let (width, heads) = (self.hidden_size, self.heads);
        if !width.is_multiple_of(heads) {
            let problem = format!("{width} is not a multiple of `heads`, {heads}");
            return contradiction("hidden_size", problem);
        }
        Ok(())
    }
}
