//! The section `model`.

use std::path::PathBuf;

use convirt_model::{BertConfig, Pooling, ProjectionHeadConfig, ResNetDepth};
use serde::{Deserialize, Serialize};

use super::invalid_setting::{Check, contradiction, gibibytes, number, whole};

/// The networks and where their weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Width of the space that images and texts share, 1 to 65,536; 512 (paper).
    pub out_dim: usize,
    /// Image encoder, `resnet18` to `resnet152`; `resnet50` (paper).
    pub res_base_model: ResNetDepth,
    /// Weights that the image encoder starts from: a file or folder, the name of a model on the
    /// Hugging Face hub (`owner/model` or `owner/model@revision`), or
    /// [`imagenet`](Self::IMAGENET), with which the paper starts; from scratch without.
    pub image_weights: Option<String>,
    /// Text encoder: a folder with Hugging Face's `config.json`, weights and vocabulary, the name
    /// of a model on the hub (`owner/model` or `owner/model@revision`), or
    /// [`scratch`](Self::SCRATCH); `emilyalsentzer/Bio_ClinicalBERT` (paper).
    pub bert_base_model: String,
    /// What the names of an encoder's tensors begin with in a file of weights that has several,
    /// such as `module.encoder_q` in MoCo's. None by default.
    pub weights_prefix: Option<String>,
    /// Tensors that may be missing from the weights, of another shape, or without a place in the
    /// encoders, by their names in the file; `*` stands for anything. None by default.
    pub allow_unmatched: Vec<String>,
    /// Text encoder for `bert_base_model: scratch`; a pretrained one has its own description.
    pub text_from_scratch: ScratchTextConfig,
    /// Whether the tokenizer lower-cases; as the vocabulary's own files say by default, else not.
    pub do_lower_case: Option<bool>,
    /// Longest text, in tokens with the special ones, 3 to 1,048,576; the text encoder's maximum.
    pub max_tokens: Option<usize>,
    /// How token states become one vector; `max` (paper). Colab's is `mean`.
    pub pooling: Pooling,
    /// Layer whose token states are pooled, 0 the embeddings, n the n-th layer; the last.
    pub pooling_layer: Option<usize>,
    /// Whether the text encoder's embeddings are kept as they are; `true` (paper). Colab trains
    /// them.
    pub freeze_embeddings: bool,
    /// Layers of the text encoder that are kept as they are, from 0, each once; the lower 6
    /// (paper).
    pub freeze_layers: Vec<usize>,
    /// Folder in which what frozen embeddings and layers make of texts is kept for later runs with
    /// the same weights, on the CPU; without, 1 GiB of it is kept in memory.
    pub frozen_states_dir: Option<PathBuf>,
    /// Size of a file in `frozen_states_dir`, in GiB, above 0 and at most 1,000,000; 20, as 100,000
    /// reports of 64 tokens need with BERT-base.
    pub frozen_states_gib: f64,
    /// Dropout of the text encoder in training, 0 to below 1; as its description says.
    pub dropout: Option<f64>,
}

/// Size of a text encoder from scratch: a BERT with a WordPiece vocabulary trained on the reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScratchTextConfig {
    /// Layers, 1 to 1,024; 4.
    pub layers: usize,
    /// Width of the token states, a multiple of `heads`, at most 65,536; 256.
    pub hidden_size: usize,
    /// Attention heads of a layer, 1 to 4,096; 4.
    pub heads: usize,
    /// Width of the feed-forward networks, 1 to 1,048,576; 1,024.
    pub intermediate_size: usize,
    /// Largest vocabulary, in word pieces, 100 to 10,000,000; 8,000.
    pub vocab_size: usize,
    /// Longest text, in tokens with the special ones, 3 to 1,048,576; 256.
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

/// Fewest tokens of a text: the special ones and one between them.
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

    /// Checks what only a text encoder from scratch needs.
    pub(super) fn check_text_from_scratch(&self) -> Check {
        let size = &self.text_from_scratch;
        size.check()
            .map_err(|invalid| invalid.in_section("text_from_scratch"))?;
        if self.pooling_layer.is_some_and(|layer| layer > size.layers) {
            let problem = format!("beyond `text_from_scratch.layers`, {}", size.layers);
            return contradiction("pooling_layer", problem);
        }
        if !self.freeze_layers.is_empty() {
            let problem = "nothing is learned yet in a text encoder from scratch; set it to []";
            return contradiction("freeze_layers", problem);
        }
        if self.freeze_embeddings {
            let problem = "nothing is learned yet in a text encoder from scratch; set it to False";
            return contradiction("freeze_embeddings", problem);
        }
        Ok(())
    }

    /// Value of `bert_base_model` for an encoder without pretrained weights.
    pub const SCRATCH: &str = "scratch";

    /// Value of `image_weights` for torchvision's, trained on ImageNet.
    pub const IMAGENET: &str = "imagenet";

    /// What `image_weights` names, `imagenet` by its name on the hub.
    pub fn image_weights_name(&self) -> Option<String> {
        let name = self.image_weights.as_ref()?;
        Some(match name.as_str() {
            Self::IMAGENET => Self::imagenet_name(self.res_base_model),
            _ => name.clone(),
        })
    }

    /// Longest text that is read, in tokens, by an encoder that reads `encoder_tokens`.
    pub(crate) fn longest_text(&self, encoder_tokens: usize) -> usize {
        self.max_tokens
            .map_or(encoder_tokens, |most| most.min(encoder_tokens))
    }

    /// Whether a vocabulary that is learned from the reports lower-cases.
    pub(crate) fn lower_cases_from_scratch(&self) -> bool {
        self.do_lower_case.unwrap_or(true)
    }

    /// The hub's name for torchvision's weights of a depth.
    pub(crate) fn imagenet_name(depth: ResNetDepth) -> String {
        format!("timm/{depth}.tv_in1k")
    }

    /// Whether the text encoder starts without pretrained weights.
    pub fn text_is_from_scratch(&self) -> bool {
        self.bert_base_model == Self::SCRATCH
    }
}

impl Default for ScratchTextConfig {
    /// About 5 million parameters, which learn from some hundreds of reports in minutes.
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
