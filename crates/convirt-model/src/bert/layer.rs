//! One layer: self-attention and feed-forward network.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor};
use convirt_ops::{AttentionOptions, TokenDropout, add_layer_norm, attention, branch};

use super::{Activation, BertConfig, BertKeys, gamma_beta, new_linear};
use crate::dropout::dropout_probability;
use crate::linear::apply_linear;

/// One layer of the encoder: self-attention and a feed-forward network, each followed by dropout, a
/// residual sum and a normalization.
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
            intermediate: new_linear(d_model, width, config.initializer_range, device),
            output: new_linear(width, d_model, config.initializer_range, device),
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
    /// - state, output: `[batch, tokens, d_model]`, [packed](BertKeys::pack)
    pub fn forward(&self, state: Tensor<3>, keys: &BertKeys) -> Tensor<3> {
        let [state, residual] = branch(state);
        let attended = self.attention.forward(state, keys);
        let state = self.add_norm(attended, residual, &self.attention_norm, keys);
        let [state, residual] = branch(state);
        let hidden = apply_linear(&self.intermediate, state);
        let output = apply_linear(&self.output, self.activation.forward(hidden));
        self.add_norm(output, residual, &self.output_norm, keys)
    }

    fn add_norm(
        &self,
        output: Tensor<3>,
        state: Tensor<3>,
        norm: &LayerNorm,
        keys: &BertKeys,
    ) -> Tensor<3> {
        let dropout = TokenDropout {
            probability: dropout_probability(&self.dropout, &output),
            lengths: keys.lengths(),
        };
        add_layer_norm(output, state, gamma_beta(norm), self.epsilon, dropout)
    }
}

/// Multi-head self-attention ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), Section
/// 3.2).
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
        let linear = || new_linear(d_model, d_model, config.initializer_range, device);
        Self {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            dropout: DropoutConfig::new(config.attention_probs_dropout_prob).init(),
            heads: config.num_attention_heads,
        }
    }

    /// Lets every token attend to all unmasked tokens of its text.
    ///
    /// # Shapes
    ///
    /// - state, output: `[batch, tokens, d_model]`, [packed](BertKeys::pack)
    pub fn forward(&self, state: Tensor<3>, keys: &BertKeys) -> Tensor<3> {
        let [query, key, value] = branch(state);
        let query = apply_linear(&self.query, query);
        let key = apply_linear(&self.key, key);
        let value = apply_linear(&self.value, value);
        let options = AttentionOptions {
            heads: self.heads,
            key_bias: keys.bias(),
            lengths: keys.lengths(),
            dropout: dropout_probability(&self.dropout, &query),
        };
        apply_linear(&self.output, attention([query, key, value], options))
    }
}
