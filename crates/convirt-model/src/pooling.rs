//! Pooling of token states to one vector per text.

use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

/// How the token states of a text become one vector: the strategies of
/// [bert-as-service](https://github.com/jina-ai/clip-as-service/tree/bert-as-service).
///
/// Padding never counts. A text without any real token pools to zeros.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::Pooling;
///
/// let device = Device::flex();
/// // Two real tokens and one of padding.
/// let states = Tensor::from_floats([[[1.0, -5.0], [3.0, -1.0], [9.0, 9.0]]], &device);
/// let attention_mask = Tensor::from_data([[true, true, false]], &device);
/// let pooled = Pooling::Mean.forward(states, attention_mask).into_vectors().unwrap();
/// assert_eq!(pooled.into_data(), [[2.0f32, -3.0]].into());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the real tokens.
    Mean,
    /// Maximum of each dimension over the real tokens; the paper's.
    Max,
    /// Mean and maximum side by side, `2 * d_model` wide.
    MeanMax,
    /// The first real token: `[CLS]` or `<s>`.
    First,
    /// The last real token: `[SEP]` or `</s>`.
    Last,
    /// No pooling, every token's state.
    None,
}

/// Output of [`Pooling::forward`].
#[derive(Clone, Debug)]
pub enum Pooled {
    /// One vector per text, `[batch, d_pooled]`.
    Vectors(Tensor<2>),
    /// Every token's state, `[batch, tokens, d_model]`, of [`Pooling::None`].
    Tokens(Tensor<3>),
}

impl Pooled {
    /// Returns the vectors, `[batch, d_pooled]`, if there is one per text.
    pub fn into_vectors(self) -> Option<Tensor<2>> {
        match self {
            Self::Vectors(vectors) => Some(vectors),
            Self::Tokens(_) => None,
        }
    }
}

impl Pooling {
    /// Returns the width of the pooled vector for an encoder of the given width; `None` where
    /// there is no such vector.
    pub fn d_pooled(self, d_model: usize) -> Option<usize> {
        match self {
            Self::Mean | Self::Max | Self::First | Self::Last => Some(d_model),
            Self::MeanMax => Some(2 * d_model),
            Self::None => None,
        }
    }

    /// Pools token states.
    ///
    /// # Shapes
    ///
    /// - states: `[batch, tokens, d_model]`
    /// - attention_mask: `[batch, tokens]`, true at real tokens
    /// - output: `[batch, d_pooled]`, or the states unchanged
    pub fn forward(self, states: Tensor<3>, attention_mask: Tensor<2, Bool>) -> Pooled {
        let vectors = match self {
            Self::Mean => mean(states, attention_mask),
            Self::Max => max(states, attention_mask),
            Self::MeanMax => Tensor::cat(
                vec![
                    mean(states.clone(), attention_mask.clone()),
                    max(states, attention_mask),
                ],
                1,
            ),
            Self::First => select(states, first_token(attention_mask)),
            Self::Last => select(states, last_token(attention_mask)),
            Self::None => return Pooled::Tokens(states),
        };
        Pooled::Vectors(vectors)
    }
}

fn mean(states: Tensor<3>, mask: Tensor<2, Bool>) -> Tensor<2> {
    let count = mask.clone().int().sum_dim(1).clamp_min(1).float();
    let count = count.cast(states.dtype());
    select(states, mask) / count
}

fn max(states: Tensor<3>, mask: Tensor<2, Bool>) -> Tensor<2> {
    let [batch, tokens, d_model] = states.dims();
    let empty = mask.clone().any_dim(1).bool_not().expand([batch, d_model]);
    let padding = mask.bool_not().unsqueeze_dim::<3>(2);
    states
        .clone()
        .mask_fill(padding.expand([batch, tokens, d_model]), f32::NEG_INFINITY)
        .max_dim(1)
        .squeeze_dim::<2>(1)
        .mask_fill(empty, 0.0)
}

/// Sums the states at the true positions, `[batch, d_model]`.
fn select(states: Tensor<3>, positions: Tensor<2, Bool>) -> Tensor<2> {
    let weights = positions.float().cast(states.dtype());
    weights.unsqueeze_dim::<3>(1).matmul(states).squeeze_dim(1)
}

/// True at each row's first real token only.
fn first_token(mask: Tensor<2, Bool>) -> Tensor<2, Bool> {
    let ordinal = mask.clone().int().cumsum(1);
    ordinal.equal_elem(1).bool_and(mask)
}

/// True at each row's last real token only.
fn last_token(mask: Tensor<2, Bool>) -> Tensor<2, Bool> {
    let ordinal: Tensor<2, Int> = mask.clone().int().cumsum(1);
    let count = mask.clone().int().sum_dim(1).expand(ordinal.shape());
    ordinal.equal(count).bool_and(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    /// Three texts of 3, 2 and 0 real tokens, the second one padded on the left.
    fn states(device: &Device) -> (Tensor<3>, Tensor<2, Bool>) {
        let states = Tensor::from_floats(
            [
                [[1.0, -5.0], [2.0, -1.0], [6.0, -3.0]],
                [[99.0, 99.0], [-4.0, 2.0], [-2.0, -8.0]],
                [[99.0, 99.0], [99.0, 99.0], [99.0, 99.0]],
            ],
            device,
        );
        let mask = Tensor::from_data(
            [
                [true, true, true],
                [false, true, true],
                [false, false, false],
            ],
            device,
        );
        (states, mask)
    }

    fn pooled(pooling: Pooling) -> TensorData {
        let (states, mask) = states(&Device::flex());
        pooling
            .forward(states, mask)
            .into_vectors()
            .unwrap()
            .into_data()
    }

    #[test]
    fn mean_counts_real_tokens_only() {
        assert_eq!(
            pooled(Pooling::Mean),
            [[3.0f32, -3.0], [-3.0, -3.0], [0.0, 0.0]].into()
        );
    }

    #[test]
    fn max_ignores_padding_even_where_all_states_are_negative() {
        assert_eq!(
            pooled(Pooling::Max),
            [[6.0f32, -1.0], [-2.0, 2.0], [0.0, 0.0]].into()
        );
    }

    #[test]
    fn mean_max_joins_the_two() {
        let expected = [
            [3.0f32, -3.0, 6.0, -1.0],
            [-3.0, -3.0, -2.0, 2.0],
            [0.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(pooled(Pooling::MeanMax), expected.into());
    }

    #[test]
    fn first_and_last_are_the_outermost_real_tokens() {
        assert_eq!(
            pooled(Pooling::First),
            [[1.0f32, -5.0], [-4.0, 2.0], [0.0, 0.0]].into()
        );
        assert_eq!(
            pooled(Pooling::Last),
            [[6.0f32, -3.0], [-2.0, -8.0], [0.0, 0.0]].into()
        );
    }

    #[test]
    fn none_keeps_every_token() {
        let (states, mask) = states(&Device::flex());
        let Pooled::Tokens(tokens) = Pooling::None.forward(states.clone(), mask) else {
            panic!("expected tokens");
        };
        assert_eq!(tokens.into_data(), states.into_data());
        assert_eq!(Pooling::None.d_pooled(8), None);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        let names = ["mean", "max", "mean_max", "first", "last", "none"];
        let read =
            names.map(|name| serde_json::from_str::<Pooling>(&format!("\"{name}\"")).unwrap());
        assert_eq!(
            read,
            [
                Pooling::Mean,
                Pooling::Max,
                Pooling::MeanMax,
                Pooling::First,
                Pooling::Last,
                Pooling::None
            ]
        );
    }

    /// Each real token gets 1/count through the mean and 1 through the maximum where it wins;
    /// padding gets nothing, and nothing is NaN.
    #[test]
    fn mean_max_gradient_reaches_real_tokens_only() {
        let device = Device::flex().autodiff();
        let (states, mask) = states(&device);
        let states = states.require_grad();
        let output = Pooling::MeanMax.forward(states.clone(), mask);
        let gradients = output.into_vectors().unwrap().sum().backward();
        let third = 1.0f32 / 3.0;
        let expected = TensorData::from([
            [[third, third], [third, third + 1.0], [third + 1.0, third]],
            [[0.0, 0.0], [0.5, 1.5], [1.5, 0.5]],
            [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        ]);
        let actual = states.grad(&gradients).unwrap().into_data();
        actual.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }
}
