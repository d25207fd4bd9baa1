//! BERT-family text encoders, f_u of the paper.
//!
//! Parameter paths and the corresponding names in Hugging Face's checkpoints:
//!
//! | here | `transformers` |
//! |---|---|
//! | `embeddings.{word,position,token_type}_embeddings.weight` | the same |
//! | `embeddings.layer_norm` | `embeddings.LayerNorm` |
//! | `layers.N` | `encoder.layer.N`; DistilBERT `transformer.layer.N` |
//! | `layers.N.attention.{query,key,value}` | `….attention.self.{query,key,value}`; `….attention.{q,k,v}_lin` |
//! | `layers.N.attention.output` | `….attention.output.dense`; `….attention.out_lin` |
//! | `layers.N.attention_norm` | `….attention.output.LayerNorm`; `….sa_layer_norm` |
//! | `layers.N.intermediate` | `….intermediate.dense`; `….ffn.lin1` |
//! | `layers.N.output` | `….output.dense`; `….ffn.lin2` |
//! | `layers.N.output_norm` | `….output.LayerNorm`; `….output_layer_norm` |
//!
//! The pooler and the heads of tasks are left out.

mod activation;
mod config;
mod hugging_face;
mod keys;
mod embeddings;
mod layer;
mod frozen_states;

use std::ops::Range;

use burn::module::{Flag, Module, ModuleVisitor, Param};
use burn::nn::{Initializer, LayerNorm, Linear};
use burn::tensor::{Bool, DType, Device, Int, Tensor};
use convirt_ops::to_storage;

pub use activation::Activation;
pub use config::{BertConfig, BertFamily};
pub use embeddings::BertEmbeddings;
pub use frozen_states::{FrozenStates, StateStorage, TextKey};
pub use keys::BertKeys;
pub use layer::{BertAttention, BertLayer};

use crate::ModelError;
use crate::association::associate;
use frozen_states::FrozenPrefix;

/// A batch of tokenized texts.
#[derive(Clone, Debug)]
pub struct TextInput {
    /// Token numbers, `[batch, tokens]`, padded to one length.
    pub input_ids: Tensor<2, Int>,
    /// True for real tokens, false for padding, `[batch, tokens]`.
    pub attention_mask: Tensor<2, Bool>,
    /// Segment of each token, `[batch, tokens]`; all 0 if absent. DistilBERT ignores it.
    pub token_type_ids: Option<Tensor<2, Int>>,
}

impl TextInput {
    /// Returns the number of token states that an encoder computes for each text: on the CPU those
    /// of padding at the end are left out.
    pub fn state_counts(&self) -> Vec<usize> {
        keys::state_counts(&self.attention_mask)
    }

    /// The same texts outside autodiff.
    fn without_autodiff(self) -> Self {
        Self {
            input_ids: self.input_ids.without_autodiff(),
            attention_mask: self.attention_mask.without_autodiff(),
            token_type_ids: self.token_type_ids.map(Tensor::without_autodiff),
        }
    }
}

/// Transformer encoder with normalization after each sublayer
/// ([Devlin et al. 2019](https://arxiv.org/abs/1810.04805)), of any [`BertFamily`].
///
/// Frozen parts (no parameter requires gradients, training flags off) run without dropout and their
/// parameters get no gradients. Frozen embeddings and the frozen layers directly above them run
/// outside autodiff; a frozen layer above a trained one passes gradients through.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use convirt_model::{BertConfig, TextInput};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let device = Device::flex();
/// let config = BertConfig {
///     hidden_size: 16,
///     num_hidden_layers: 2,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     ..BertConfig::base(100)
/// };
/// let encoder = config.init(&device)?;
/// let input_ids = Tensor::<2, Int>::from_data([[2, 5, 7, 3], [2, 9, 3, 0]], &device);
/// let states = encoder.forward(TextInput {
///     attention_mask: input_ids.clone().not_equal_elem(0),
///     input_ids,
///     token_type_ids: None,
/// });
/// // The embeddings and two layers.
/// assert_eq!(states.len(), 3);
/// assert_eq!(states[2].dims(), [2, 4, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Bert {
    /// Sum of the embeddings, normalized.
    pub embeddings: BertEmbeddings,
    /// The layers, lowest first.
    pub layers: Vec<BertLayer>,
    max_tokens: usize,
    d_model: usize,
    #[module(skip)]
    frozen_prefix: Option<FrozenPrefix>,
}

impl Bert {
    fn new(config: &BertConfig, device: &Device) -> Self {
        Self {
            embeddings: BertEmbeddings::new(config, device),
            layers: (0..config.num_hidden_layers)
                .map(|_| BertLayer::new(config, device))
                .collect(),
            max_tokens: config.max_tokens(),
            d_model: config.d_model(),
            frozen_prefix: None,
        }
    }

    /// Returns the longest text in tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Returns the width of the token states.
    pub fn d_model(&self) -> usize {
        self.d_model
    }

    /// Freezes the embeddings; see [`Module::freeze`].
    pub fn freeze_embeddings(mut self) -> Self {
        self.embeddings = self.embeddings.freeze();
        self
    }

    /// Freezes layers, 0 the lowest; see [`Module::freeze`].
    ///
    /// # Errors
    ///
    /// [`ModelError::LayerOutOfRange`] for a layer that the encoder does not have.
    pub fn freeze_layers(mut self, layers: &[usize]) -> Result<Self, ModelError> {
        let depth = self.layers.len();
        if let Some(&layer) = layers.iter().find(|&&layer| layer >= depth) {
            return Err(ModelError::LayerOutOfRange {
                key: "freeze_layers",
                layer,
                layers: depth,
            });
        }
        self.layers = self
            .layers
            .into_iter()
            .enumerate()
            .map(|(index, layer)| {
                if layers.contains(&index) {
                    layer.freeze()
                } else {
                    layer
                }
            })
            .collect();
        Ok(self)
    }

    /// Lets [`forward_to`](Self::forward_to) take the states of frozen embeddings and of the frozen
    /// layers directly above them from a cache. It returns the same numbers, and computes these
    /// states once for each text.
    ///
    /// Has no effect if the embeddings train. The frozen weights must not change afterwards.
    pub fn with_frozen_states(mut self, states: &FrozenStates) -> Self {
        self.frozen_prefix = FrozenPrefix::new(&self, states.clone());
        self
    }

    /// Returns the number of frozen layers directly above frozen embeddings; `None` if the
    /// embeddings train.
    pub fn frozen_depth(&self) -> Option<usize> {
        let frozen = self.layers.iter().take_while(|layer| is_frozen(*layer));
        is_frozen(&self.embeddings).then(|| frozen.count())
    }

    /// Encodes texts and returns all hidden states: the embeddings, then the output of each layer.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, tokens, d_model]` each, one more than there are layers; unspecified at
    ///   padding
    ///
    /// # Panics
    ///
    /// When a text has more than [`max_tokens`](Self::max_tokens) tokens; tokenizers truncate.
    pub fn forward(&self, input: TextInput) -> Vec<Tensor<3>> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        let observe = |state: &Tensor<3>| states.push(state.clone());
        let (_, keys) = self.run(input, self.layers.len(), observe);
        let states = states.into_iter();
        states
            .map(|state| self.associate(keys.unpack(state)))
            .collect()
    }

    /// Encodes texts up to a layer and returns its hidden state only; 0 gives the embeddings.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, tokens, d_model]`; unspecified at padding
    ///
    /// # Panics
    ///
    /// When a text has more than [`max_tokens`](Self::max_tokens) tokens, or there are fewer
    /// than `layer` layers.
    pub fn forward_to(&self, input: TextInput, layer: usize) -> Tensor<3> {
        if let Some(prefix) = &self.frozen_prefix
            && prefix.depth() <= layer
        {
            return self.run_above(prefix, input, layer);
        }
        let (state, keys) = self.run(input, layer, |_| ());
        self.associate(keys.unpack(state))
    }

    /// Runs the layers above a frozen prefix, whose states come from its cache.
    fn run_above(&self, prefix: &FrozenPrefix, input: TextInput, layer: usize) -> Tensor<3> {
        self.assert_fits(&input);
        let input = input.without_autodiff();
        let mask = input.attention_mask.clone();
        let state = prefix.states(self, input);
        let keys = BertKeys::new(mask, state.dtype());
        let layers = prefix.depth()..layer;
        let state = self.run_layers(keys.pack(state), &keys, layers, |_| ());
        self.associate(keys.unpack(state))
    }

    fn assert_fits(&self, input: &TextInput) {
        let [_, tokens] = input.input_ids.dims();
        assert!(
            tokens <= self.max_tokens,
            "{tokens} tokens, but the encoder has positions for {}: truncate the text",
            self.max_tokens
        );
    }

    /// Runs the embeddings and the first `depth` layers, and passes each hidden state to `observe`.
    /// States are packed by the keys.
    fn run(
        &self,
        input: TextInput,
        depth: usize,
        mut observe: impl FnMut(&Tensor<3>),
    ) -> (Tensor<3>, BertKeys) {
        self.assert_fits(&input);
        let mask = input.attention_mask.clone().without_autodiff();
        let keys = BertKeys::new(mask, self.dtype());
        let (state, first) = match self.frozen_depth() {
            Some(frozen) => {
                let frozen = frozen.min(depth);
                let input = input.without_autodiff();
                (self.run_frozen(input, &keys, frozen, &mut observe), frozen)
            }
            None => {
                // Dropout is drawn for the rows that layers get.
                let state = keys.rows(self.embeddings.normalized(input));
                let state = to_storage(self.embeddings.drop(state, keys.lengths()));
                observe(&state);
                (state, 0)
            }
        };
        (self.run_layers(state, &keys, first..depth, observe), keys)
    }

    /// Runs the embeddings and the first `depth` layers, all frozen, outside autodiff.
    fn run_frozen(
        &self,
        input: TextInput,
        keys: &BertKeys,
        depth: usize,
        mut observe: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let mut state = keys.pack(self.embeddings.valid().forward(input));
        observe(&state);
        for layer in &self.layers[..depth] {
            state = layer.valid().forward(state, keys);
            observe(&state);
        }
        state
    }

    /// Runs some layers on the hidden state below them.
    fn run_layers(
        &self,
        mut state: Tensor<3>,
        keys: &BertKeys,
        layers: Range<usize>,
        mut observe: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        for layer in &self.layers[layers] {
            state = layer.forward(self.associate(state), keys);
            observe(&state);
        }
        state
    }

    /// The type of the weights and of the hidden states.
    fn dtype(&self) -> DType {
        self.embeddings.word_embeddings.weight.val().dtype()
    }

    /// Gives a hidden state the autodiff association of the encoder's parameters.
    fn associate(&self, state: Tensor<3>) -> Tensor<3> {
        associate(state, &self.embeddings.word_embeddings.weight.val())
    }
}

/// Whether no parameter requires gradients and no training flag is set.
fn is_frozen(module: &impl Module) -> bool {
    struct Trains(bool);
    impl ModuleVisitor for Trains {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }

        fn visit_flag(&mut self, flag: &Param<Flag>) {
            self.0 |= flag.is_enabled();
        }
    }
    let mut trains = Trains(false);
    module.visit(&mut trains);
    !trains.0
}

/// The parameters γ and β of a normalization.
fn gamma_beta(norm: &LayerNorm) -> [Tensor<1>; 2] {
    let beta = norm
        .beta
        .as_ref()
        .expect("this encoder's normalizations have a β");
    [norm.gamma.val(), beta.val()]
}

/// A linear layer with weights from N(0, `std`) and zero bias.
fn new_linear(d_input: usize, d_output: usize, std: f64, device: &Device) -> Linear {
    let initializer = Initializer::Normal { mean: 0.0, std };
    Linear {
        weight: initializer.init([d_input, d_output], device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    mod freezing;
    pub(crate) mod parity;

    use super::*;
    use crate::Pooling;
    use burn::tensor::Tolerance;

    /// A small encoder without dropout.
    pub(crate) fn small(family: BertFamily) -> BertConfig {
        BertConfig {
            family,
            hidden_size: 8,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            intermediate_size: 16,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 12,
            pad_token_id: 1,
            initializer_range: 0.5,
            type_vocab_size: if family == BertFamily::DistilBert {
                0
            } else {
                2
            },
            ..BertConfig::base(20)
        }
    }

    /// Texts padded with token 1 to a common length.
    pub(crate) fn texts(rows: &[&[i64]], tokens: usize, device: &Device) -> TextInput {
        let padded = rows.iter().map(|row| {
            let mut row = row.to_vec();
            row.resize(tokens, 1);
            Tensor::<1, Int>::from_data(row.as_slice(), device).unsqueeze::<2>()
        });
        let input_ids = Tensor::cat(padded.collect::<Vec<_>>(), 0);
        TextInput {
            attention_mask: input_ids.clone().not_equal_elem(1),
            input_ids,
            token_type_ids: None,
        }
    }

    #[test]
    fn padding_does_not_change_states_of_real_tokens() {
        let device = Device::flex();
        device.seed(5);
        for family in [
            BertFamily::Bert,
            BertFamily::Roberta,
            BertFamily::XlmRoberta,
            BertFamily::DistilBert,
        ] {
            let encoder = small(family).init(&device).unwrap();
            let rows: [&[i64]; 2] = [&[2, 7, 9, 3], &[2, 5, 3]];
            let short = encoder.forward_to(texts(&rows, 4, &device), 3);
            let long = encoder.forward_to(texts(&rows, 9, &device), 3);
            for (row, real) in [(0, 4), (1, 3)] {
                let [a, b] = [&short, &long].map(|s| s.clone().slice([row..row + 1, 0..real]));
                let tolerance = Tolerance::absolute(1e-5);
                a.into_data()
                    .assert_approx_eq::<f32>(&b.into_data(), tolerance);
            }
        }
    }

    #[test]
    fn padding_does_not_change_pooled_vectors() {
        let device = Device::flex();
        device.seed(9);
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        let rows: [&[i64]; 2] = [&[2, 7, 9, 3], &[2, 5, 3]];
        for pooling in [
            Pooling::Mean,
            Pooling::Max,
            Pooling::MeanMax,
            Pooling::First,
            Pooling::Last,
        ] {
            let [short, long] = [4, 11].map(|tokens| {
                let input = texts(&rows, tokens, &device);
                let state = encoder.forward_to(input.clone(), 3);
                let pooled = pooling.forward(state, input.attention_mask);
                pooled.into_vectors().unwrap().into_data()
            });
            short.assert_approx_eq::<f32>(&long, Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn a_single_text_is_encoded_as_in_a_batch() {
        let device = Device::flex();
        device.seed(6);
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        let batch = encoder.forward_to(texts(&[&[2, 7, 9, 3], &[2, 5, 3]], 4, &device), 3);
        let single = encoder.forward_to(texts(&[&[2, 5, 3]], 3, &device), 3);
        single.into_data().assert_approx_eq::<f32>(
            &batch.slice([1..2, 0..3]).into_data(),
            Tolerance::absolute(1e-5),
        );
    }

    #[test]
    fn text_without_real_tokens_has_finite_states() {
        let device = Device::flex();
        let encoder = small(BertFamily::Roberta).init(&device).unwrap();
        let state = encoder.forward_to(texts(&[&[2, 3], &[]], 2, &device), 3);
        assert!(state.into_data().iter::<f32>().all(f32::is_finite));
    }

    #[test]
    fn forward_to_a_layer_returns_its_hidden_state() {
        let device = Device::flex();
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        let input = texts(&[&[2, 7, 9, 3]], 4, &device);
        let states = encoder.forward(input.clone());
        assert_eq!(states.len(), 4);
        for (layer, state) in states.into_iter().enumerate() {
            let actual = encoder.forward_to(input.clone(), layer);
            assert_eq!(actual.into_data(), state.into_data());
        }
    }

    #[test]
    #[should_panic(expected = "13 tokens, but the encoder has positions for 12")]
    fn text_longer_than_the_positions_panics() {
        let device = Device::flex();
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        encoder.forward(texts(&[&[2; 13]], 13, &device));
    }

    #[test]
    fn evaluation_and_training_agree_without_dropout() {
        let device = Device::flex().autodiff();
        device.seed(8);
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        let input = texts(&[&[2, 7, 9, 3], &[2, 5, 3]], 4, &device);
        let training = encoder.forward_to(input.clone(), 3);
        let evaluation = encoder.valid().forward_to(input.without_autodiff(), 3);
        assert!(training.is_autodiff() && !evaluation.is_autodiff());
        let tolerance = Tolerance::absolute(1e-5);
        training
            .into_data()
            .assert_approx_eq::<f32>(&evaluation.into_data(), tolerance);
    }
}
