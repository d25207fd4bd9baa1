//! Self-attention and the feed-forward network of one layer.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Tensor};

use super::{Activation, BertConfig, linear};

/// Added to the scores of padded keys: their share of the softmax is exactly zero in 16 and in 32
/// bits, and a text of nothing but padding still has finite states.
const MASKED_SCORE: f64 = -1e4;

/// What to add to attention scores so that padding is not attended to, `[batch, 1, 1, tokens]`.
pub(super) fn key_bias(attention_mask: Tensor<2, Bool>, dtype: DType) -> Tensor<4> {
    let [batch, tokens] = attention_mask.dims();
    let padding = attention_mask.bool_not().float().cast(dtype);
    padding
        .mul_scalar(MASKED_SCORE)
        .reshape([batch, 1, 1, tokens])
}

/// One layer of the encoder: attention and feed-forward network, each followed by dropout, the
/// residual sum and normalization.
#[derive(Module, Debug)]
pub struct BertLayer {
    /// Self-attention.
    pub attention: BertAttention,
    /// Normalization after the attention's residual sum.
    pub attention_norm: LayerNorm,
    /// First layer of the feed-forward network.
    pub intermediate: Linear,
    /// Second layer of the feed-forward network.
    pub output: Linear,
    /// Normalization after the feed-forward network's residual sum.
    pub output_norm: LayerNorm,
    /// Dropout of both sublayers' outputs.
    pub dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl BertLayer {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        let d_model = config.hidden_size;
        let width = config.intermediate_size;
        let norm = || {
            LayerNormConfig::new(d_model)
                .with_epsilon(config.layer_norm_eps)
                .init(device)
        };
        Self {
            attention: BertAttention::new(config, device),
            attention_norm: norm(),
            intermediate: linear(d_model, width, config.initializer_range, device),
            output: linear(width, d_model, config.initializer_range, device),
            output_norm: norm(),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
            activation: config.hidden_act,
        }
    }

    /// Transforms token states.
    ///
    /// # Shapes
    ///
    /// - state, output: `[batch, tokens, d_model]`
    /// - key_bias: `[batch, 1, 1, tokens]`, added to the attention scores: 0 at real tokens, very
    ///   negative at padding
    pub fn forward(&self, state: Tensor<3>, key_bias: Tensor<4>) -> Tensor<3> {
        let attended = self.attention.forward(state.clone(), key_bias);
        let state = self
            .attention_norm
            .forward(self.dropout.forward(attended) + state);
        let hidden = self
            .activation
            .forward(self.intermediate.forward(state.clone()));
        let output = self.dropout.forward(self.output.forward(hidden));
        self.output_norm.forward(output + state)
    }
}

/// Multi-head self-attention ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), Section 3.2).
#[derive(Module, Debug)]
pub struct BertAttention {
    /// Projects states to queries.
    pub query: Linear,
    /// Projects states to keys.
    pub key: Linear,
    /// Projects states to values.
    pub value: Linear,
    /// Joins the heads.
    pub output: Linear,
    /// Dropout of the attention probabilities.
    pub dropout: Dropout,
    heads: usize,
}

impl BertAttention {
    fn new(config: &BertConfig, device: &Device) -> Self {
        let d_model = config.hidden_size;
        let linear = || linear(d_model, d_model, config.initializer_range, device);
        Self {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            dropout: DropoutConfig::new(config.attention_probs_dropout_prob).init(),
            heads: config.num_attention_heads,
        }
    }

    /// Lets every token gather from all unmasked tokens.
    ///
    /// # Shapes
    ///
    /// - state, output: `[batch, tokens, d_model]`
    /// - key_bias: `[batch, 1, 1, tokens]`
    pub fn forward(&self, state: Tensor<3>, key_bias: Tensor<4>) -> Tensor<3> {
        let [batch, tokens, d_model] = state.dims();
        let d_head = d_model / self.heads;
        let heads = |linear: &Linear| {
            linear
                .forward(state.clone())
                .reshape([batch, tokens, self.heads, d_head])
                .swap_dims(1, 2)
        };
        let query = heads(&self.query).mul_scalar((d_head as f64).powf(-0.5));
        let scores = query.matmul(heads(&self.key).transpose()) + key_bias;
        let shares = self.dropout.forward(softmax(scores, 3));
        let gathered = shares
            .matmul(heads(&self.value))
            .swap_dims(1, 2)
            .reshape([batch, tokens, d_model]);
        self.output.forward(gathered)
    }
}
