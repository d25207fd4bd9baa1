//! Self-attention and the feed-forward network of one layer.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, DType, Device, Tensor};
use convirt_ops::{add_layer_norm, attention};

use super::{Activation, BertConfig, gamma_beta, linear, probability};
use crate::linear::affine;

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
    epsilon: f64,
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
            epsilon: config.layer_norm_eps,
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
        let state = self.add_norm(attended, state, &self.attention_norm);
        let hidden = affine(&self.intermediate, state.clone());
        let output = affine(&self.output, self.activation.forward(hidden));
        self.add_norm(output, state, &self.output_norm)
    }

    fn add_norm(&self, output: Tensor<3>, state: Tensor<3>, norm: &LayerNorm) -> Tensor<3> {
        let dropout = probability(&self.dropout, &output);
        add_layer_norm(output, state, gamma_beta(norm), self.epsilon, dropout)
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
        let [batch, tokens, _] = state.dims();
        let [query, key, value] =
            [&self.query, &self.key, &self.value].map(|layer| affine(layer, state.clone()));
        let dropout = probability(&self.dropout, &query);
        let key_bias = key_bias.reshape([batch, tokens]);
        let gathered = attention(query, key, value, self.heads, key_bias, dropout);
        affine(&self.output, gathered)
    }
}
