//! Word, position and token-type embeddings.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Embedding, Initializer, LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, module::embedding};
use convirt_ops::{TokenDropout, layer_norm, token_dropout};

use super::{BertConfig, BertFamily, TextInput, gamma_beta};
use crate::dropout::dropout_probability;

/// Sum of word, position and token-type embeddings, followed by normalization and dropout.
#[derive(Module, Debug)]
pub struct BertEmbeddings {
    /// One row per token of the vocabulary; the padding token's row starts at zero.
    pub word_embeddings: Embedding,
    /// One row per position.
    pub position_embeddings: Embedding,
    /// One row per token type; absent in DistilBERT.
    pub token_type_embeddings: Option<Embedding>,
    /// Normalization of the sum.
    pub layer_norm: LayerNorm,
    /// Dropout after the normalization.
    pub dropout: Dropout,
    /// The padding token, if positions skip padding and start at the next number.
    padding: Option<usize>,
    epsilon: f64,
}

impl BertEmbeddings {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        let d_model = config.hidden_size;
        let pad = config.pad_token_id;
        let skips_padding = config.family.counts_after_padding();
        let table = |rows| table(rows, config, device);
        let positions = config.max_position_embeddings;
        let has_types = config.family != BertFamily::DistilBert && config.type_vocab_size > 0;
        Self {
            word_embeddings: with_zero_row(table(config.vocab_size), pad),
            position_embeddings: if config.sinusoidal_pos_embds {
                sinusoids(positions, d_model, device)
            } else if skips_padding {
                with_zero_row(table(positions), pad)
            } else {
                table(positions)
            },
            token_type_embeddings: has_types.then(|| table(config.type_vocab_size)),
            layer_norm: LayerNormConfig::new(d_model)
                .with_epsilon(config.layer_norm_eps)
                .init(device),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
            padding: skips_padding.then_some(pad),
            epsilon: config.layer_norm_eps,
        }
    }

    /// Embeds tokens.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, tokens, d_model]`
    pub fn forward(&self, input: TextInput) -> Tensor<3> {
        self.drop(self.normalized(input), None)
    }

    /// The embeddings before dropout.
    pub(super) fn normalized(&self, input: TextInput) -> Tensor<3> {
        let positions = self.positions(&input.input_ids);
        let mut sum = self.word_embeddings.forward(input.input_ids) + positions;
        if let Some(table) = &self.token_type_embeddings {
            sum = sum
                + match input.token_type_ids {
                    Some(types) => table.forward(types),
                    None => first_rows(table, 1),
                };
        }
        let [gamma, beta] = gamma_beta(&self.layer_norm);
        layer_norm(sum, gamma, beta, self.epsilon)
    }

    /// Dropout of embeddings, which may lie in a single row, as the keys have it.
    pub(super) fn drop(&self, embeddings: Tensor<3>, lengths: Option<&[usize]>) -> Tensor<3> {
        let probability = dropout_probability(&self.dropout, &embeddings);
        let dropout = TokenDropout {
            probability,
            lengths,
        };
        token_dropout(embeddings, dropout)
    }

    /// Position embeddings, `[batch, tokens, d_model]`, or `[1, tokens, d_model]` if they are the
    /// same for all texts.
    fn positions(&self, input_ids: &Tensor<2, Int>) -> Tensor<3> {
        let [_, tokens] = input_ids.dims();
        let Some(pad) = self.padding else {
            return first_rows(&self.position_embeddings, tokens);
        };
        let pad = pad as i64;
        let is_real = input_ids.clone().not_equal_elem(pad).int();
        let positions = is_real.clone().cumsum(1) * is_real + pad;
        embedding(self.position_embeddings.weight.val(), positions)
    }
}

/// The first rows of a table, `[1, rows, d_model]`.
fn first_rows(table: &Embedding, rows: usize) -> Tensor<3> {
    table.weight.val().slice(0..rows).unsqueeze()
}

fn table(rows: usize, config: &BertConfig, device: &Device) -> Embedding {
    let initializer = Initializer::Normal {
        mean: 0.0,
        std: config.initializer_range,
    };
    Embedding {
        weight: initializer.init([rows, config.hidden_size], device),
    }
}

fn with_zero_row(table: Embedding, row: usize) -> Embedding {
    Embedding {
        weight: table.weight.init_mapper(move |weight| {
            let zeros = weight.clone().slice(row..row + 1).zeros_like();
            weight.slice_assign(row..row + 1, zeros)
        }),
    }
}

/// Fixed sines in the even and cosines in the odd dimensions (Vaswani et al. 2017, Section 3.5),
/// as `transformers` fills DistilBERT's table.
fn sinusoids(positions: usize, d_model: usize, device: &Device) -> Embedding {
    let values = (0..positions * d_model).map(|index| {
        let (position, dimension) = (index / d_model, index % d_model);
        let exponent = 2.0 * (dimension / 2) as f64 / d_model as f64;
        let angle = position as f64 / 10_000f64.powf(exponent);
        (if dimension.is_multiple_of(2) {
            angle.sin()
        } else {
            angle.cos()
        }) as f32
    });
    let values = TensorData::new(values.collect::<Vec<_>>(), [positions, d_model]);
    Embedding {
        weight: Param::from_tensor(Tensor::from_data(values, device)).set_require_grad(false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, texts};
    use super::*;
    use burn::tensor::Tolerance;

    /// `transformers`' `create_position_ids_from_input_ids` with padding 1: real tokens count
    /// from 2, padding has position 1.
    #[test]
    fn roberta_counts_positions_past_padding_wherever_it_is() {
        let device = Device::flex();
        let embeddings = BertEmbeddings::new(&small(BertFamily::Roberta), &device);
        let ids = Tensor::<2, Int>::from_data([[1, 5, 6, 1], [5, 6, 7, 1]], &device);
        let expected = Tensor::<2, Int>::from_data([[1, 2, 3, 1], [2, 3, 4, 1]], &device);
        assert_eq!(
            embeddings.positions(&ids).into_data(),
            embeddings.position_embeddings.forward(expected).into_data()
        );
    }

    #[test]
    fn padding_rows_start_at_zero_and_no_others_do() {
        let device = Device::flex();
        let embeddings = BertEmbeddings::new(&small(BertFamily::XlmRoberta), &device);
        for table in [&embeddings.word_embeddings, &embeddings.position_embeddings] {
            let norms = table.weight.val().square().sum_dim(1).into_data();
            for (row, norm) in norms.iter::<f32>().enumerate() {
                assert_eq!(norm == 0.0, row == 1, "row {row}");
            }
        }
    }

    #[test]
    fn initial_weights_are_normal_with_the_configured_spread() {
        let device = Device::flex();
        device.seed(2);
        let config = BertConfig::base(400);
        let table = BertEmbeddings::new(&config, &device).word_embeddings;
        let spread = table.weight.val().var(0).mean().sqrt().into_scalar::<f64>();
        // 400 · 768 draws: standard error 0.02 / √(2 · 307,200), a tenth of a percent.
        assert!((spread / 0.02 - 1.0).abs() < 0.006, "{spread}");
    }

    #[test]
    fn sinusoids_are_fixed() {
        let device = Device::flex().autodiff();
        let config = BertConfig {
            sinusoidal_pos_embds: true,
            ..small(BertFamily::DistilBert)
        };
        let embeddings = BertEmbeddings::new(&config, &device);
        let weight = embeddings.position_embeddings.weight;
        assert!(!weight.is_require_grad());
        // Position 3: sin 3, cos 3, sin 0.3, cos 0.3, …
        let row = weight.val().slice([3..4, 0..4]).into_data();
        let expected = [[3f32.sin(), 3f32.cos(), 0.3f32.sin(), 0.3f32.cos()]];
        row.assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(1e-6));
    }

    #[test]
    fn absent_token_types_are_zeros() {
        let device = Device::flex();
        let embeddings = BertEmbeddings::new(&small(BertFamily::Bert), &device);
        let input = texts(&[&[2, 7, 3]], 3, &device);
        let zeros = TextInput {
            token_type_ids: Some(input.input_ids.zeros_like()),
            ..input.clone()
        };
        let ones = TextInput {
            token_type_ids: Some(input.input_ids.ones_like()),
            ..input.clone()
        };
        let absent = embeddings.forward(input).into_data();
        absent.assert_approx_eq::<f32>(
            &embeddings.forward(zeros).into_data(),
            Tolerance::absolute(1e-6),
        );
        assert_ne!(absent, embeddings.forward(ones).into_data());
    }
}
