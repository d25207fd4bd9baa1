//! Multi-head self-attention.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use crate::dropout::{Mask, check_probability};
use crate::storage::from_storage;

/// Options of [`attention`].
#[derive(Clone, Debug)]
pub struct AttentionOptions<'a> {
    /// Number of heads. They are side by side, each `d_head` = `d_model`/`heads` wide.
    pub heads: usize,
    /// Added to the scores of each key, `[batch, tokens]`: 0, or a large negative number for keys
    /// that no token shall attend to. It gets no gradient.
    pub key_bias: Tensor<2>,
    /// Numbers of tokens of the texts, if the texts are one after the other in a single row of the
    /// batch; `None` if each row is a text.
    pub lengths: Option<&'a [usize]>,
    /// Probability with which [dropout](crate::dropout) zeroes an attention probability.
    pub dropout: f64,
}

/// Multi-head attention of every token to the tokens of its text
/// ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), Section 3.2): for each head
/// softmax(q·kᵀ/√d_head + key_bias)·v, with dropout of the attention probabilities.
///
/// # Shapes
///
/// - query, key, value, output: `[batch, tokens, d_model]`; with lengths `[1, Σ lengths, d_model]`
///
/// # Panics
///
/// When the shapes or the lengths do not fit, `heads` does not divide `d_model`, or the dropout's
/// probability is not at least 0 and below 1.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{AttentionOptions, attention};
///
/// let device = Device::flex();
/// let token = || Tensor::<3>::ones([1, 2, 4], &device);
/// let options = AttentionOptions {
///     heads: 2,
///     // The second token is padding.
///     key_bias: Tensor::from_floats([[0.0, -1e4]], &device),
///     lengths: None,
///     dropout: 0.0,
/// };
/// let value = Tensor::from_floats([[[1.0; 4], [5.0; 4]]], &device);
/// let output = attention([token(), token(), value], options);
/// assert_eq!(output.into_data(), [[[1.0f32; 4]; 2]].into());
/// ```
pub fn attention([query, key, value]: [Tensor<3>; 3], options: AttentionOptions<'_>) -> Tensor<3> {
    let AttentionOptions {
        heads,
        key_bias,
        lengths,
        dropout,
    } = options;
    let [batch, tokens, d_model] = query.dims();
    assert_eq!(key.dims(), query.dims(), "shape of the keys");
    assert_eq!(value.dims(), query.dims(), "shape of the values");
    assert_eq!(key_bias.dims(), [batch, tokens], "shape of the keys' bias");
    assert!(
        heads > 0 && d_model.is_multiple_of(heads),
        "{heads} heads of {d_model} numbers"
    );
    if let Some(lengths) = lengths {
        let total: usize = lengths.iter().sum();
        assert!(
            batch == 1 && tokens == total,
            "texts of {total} tokens in {:?}",
            query.dims()
        );
    }
    check_probability(dropout);
    #[cfg(feature = "flex")]
    if [&query, &key, &value]
        .into_iter()
        .all(crate::flex::runs_here)
    {
        let rows = vec![tokens; batch];
        let lengths = lengths.unwrap_or(&rows);
        return crate::flex::attention([query, key, value], heads, key_bias, lengths, dropout);
    }
    let inputs = [query, key, value];
    let mask = Mask::draw(dropout, heads, &inputs[0].device());
    match lengths {
        None => composed(inputs, heads, key_bias, mask, 0),
        Some(lengths) => composed_for_each_text(inputs, heads, key_bias, lengths, mask),
    }
}

/// Computes the attention of consecutive texts one after the other, by Burn's own operations.
fn composed_for_each_text(
    inputs: [Tensor<3>; 3],
    heads: usize,
    key_bias: Tensor<2>,
    lengths: &[usize],
    mask: Option<Mask>,
) -> Tensor<3> {
    let mut start = 0;
    let texts = lengths.iter().enumerate();
    let texts = texts
        .filter(|(_, length)| **length > 0)
        .map(|(text, &length)| {
            let first = start;
            start += length;
            let inputs = inputs.clone().map(|input| input.narrow(1, first, length));
            composed(
                inputs,
                heads,
                key_bias.clone().narrow(1, first, length),
                mask,
                text,
            )
        });
    let texts: Vec<Tensor<3>> = texts.collect();
    if texts.is_empty() {
        return inputs[0].zeros_like();
    }
    Tensor::cat(texts, 1)
}

/// Computes the attention by Burn's own operations, with the masks of the texts from `first_text` on.
fn composed(
    inputs: [Tensor<3>; 3],
    heads: usize,
    key_bias: Tensor<2>,
    mask: Option<Mask>,
    first_text: usize,
) -> Tensor<3> {
    let [batch, tokens, d_model] = inputs[0].dims();
    let d_head = d_model / heads;
    let split_heads = |input: Tensor<3>| {
        input
            .reshape([batch, tokens, heads, d_head])
            .swap_dims(1, 2)
    };
    let [query, key, value] = inputs.map(split_heads);
    let query = query.mul_scalar((d_head as f64).powf(-0.5));
    let bias = key_bias.without_autodiff().reshape([batch, 1, 1, tokens]);
    let dtype = query.dtype();
    let scores = from_storage(query.matmul(key.transpose())) + bias;
    let mut probabilities = softmax(scores, 3).cast(dtype);
    if let Some(mask) = mask {
        let first_item = first_text * heads;
        let place = |row: usize| [first_item + row / tokens, row % tokens];
        probabilities = mask.multiply(probabilities, place);
    }
    probabilities
        .matmul(value)
        .swap_dims(1, 2)
        .reshape([batch, tokens, d_model])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, gradients_of, on_each_device, random, seeded};
    use burn::tensor::DType;

    struct Case {
        shape: [usize; 3],
        heads: usize,
        inputs: [Tensor<3>; 3],
        bias: Tensor<2>,
        gradient: Tensor<3>,
    }

    impl Case {
        /// Every third key of the second text is padding.
        fn new(shape: [usize; 3], heads: usize) -> Self {
            let device = device().autodiff();
            let [batch, tokens, _] = shape;
            let bias: Vec<f32> = (0..batch * tokens)
                .map(|index| {
                    if index / tokens == 1 && index % tokens % 3 == 1 {
                        -1e4
                    } else {
                        0.1 * (index % 5) as f32
                    }
                })
                .collect();
            let bias = Tensor::<1>::from_floats(&bias[..], &device.clone().without_autodiff());
            Self {
                shape,
                heads,
                inputs: [1, 2, 3].map(|seed| {
                    let values = random(shape, seed, &device).mul_scalar(2.0);
                    values.detach().require_grad()
                }),
                bias: bias.reshape([batch, tokens]),
                gradient: random(shape, 4, &device),
            }
        }

        /// Options without dropout.
        fn options<'a>(&self, lengths: Option<&'a [usize]>) -> AttentionOptions<'a> {
            AttentionOptions {
                heads: self.heads,
                key_bias: self.bias.clone(),
                lengths,
                dropout: 0.0,
            }
        }

        fn run(&self, function: impl Fn([Tensor<3>; 3]) -> Tensor<3>) -> Vec<Vec<f32>> {
            let output = function(self.inputs.clone());
            gradients_of(output, &self.gradient, self.inputs.each_ref())
        }

        fn fused(&self, dropout: f64) -> Vec<Vec<f32>> {
            let options = AttentionOptions {
                dropout,
                ..self.options(None)
            };
            self.run(|inputs| seeded(5, || attention(inputs, options.clone())))
        }

        /// The output, then gradients of query, key and value, in float64. `factor` returns
        /// dropout's factor of the probability for a text, head, query and key.
        fn expected(&self, factor: impl Fn([usize; 4]) -> f64) -> [Vec<f64>; 4] {
            let [batch, tokens, d_model] = self.shape;
            let d_head = d_model / self.heads;
            let float64 =
                |tensor: &Tensor<3>| -> Vec<f64> { tensor.clone().into_data().iter().collect() };
            let [query, key, value] = self.inputs.each_ref().map(float64);
            let gradient = float64(&self.gradient);
            let bias: Vec<f64> = self.bias.clone().into_data().iter().collect();
            let scale = 1.0 / (d_head as f64).sqrt();
            let mut expected = [0; 4].map(|_| vec![0.0; batch * tokens * d_model]);
            for (text, head) in (0..batch).flat_map(|t| (0..self.heads).map(move |h| (t, h))) {
                let at =
                    |token: usize, c: usize| (text * tokens + token) * d_model + head * d_head + c;
                let dot = |a: &[f64], i: usize, b: &[f64], j: usize| -> f64 {
                    (0..d_head).map(|c| a[at(i, c)] * b[at(j, c)]).sum()
                };
                for i in 0..tokens {
                    let score =
                        |j: usize| scale * dot(&query, i, &key, j) + bias[text * tokens + j];
                    let total: f64 = (0..tokens).map(|j| score(j).exp()).sum();
                    let probability = |j: usize| score(j).exp() / total;
                    let probability_gradient =
                        |j: usize| dot(&gradient, i, &value, j) * factor([text, head, i, j]);
                    let weighted_mean: f64 = (0..tokens)
                        .map(|j| probability(j) * probability_gradient(j))
                        .sum();
                    for j in 0..tokens {
                        let dropped = probability(j) * factor([text, head, i, j]);
                        let centred = probability_gradient(j) - weighted_mean;
                        let score_gradient = probability(j) * centred * scale;
                        for c in 0..d_head {
                            expected[0][at(i, c)] += dropped * value[at(j, c)];
                            expected[1][at(i, c)] += score_gradient * key[at(j, c)];
                            expected[2][at(j, c)] += score_gradient * query[at(i, c)];
                            expected[3][at(j, c)] += dropped * gradient[at(i, c)];
                        }
                    }
                }
            }
            expected
        }
    }

    /// Shape and heads.
    const SHAPES: [([usize; 3], usize); 6] = [
        ([1, 1, 1], 1),
        ([1, 1, 6], 2),
        ([2, 5, 12], 3),
        ([2, 16, 8], 1),
        ([3, 33, 20], 2),
        ([2, 70, 96], 3),
    ];

    /// Sums of up to 96 products, each rounded at their size.
    const TOLERANCE: f64 = 1e-5;

    #[test]
    fn values_and_gradients_follow_the_formula() {
        on_each_device(|| {
            for (shape, heads) in SHAPES {
                let case = Case::new(shape, heads);
                let expected = case.expected(|_| 1.0);
                let mut all: Vec<_> = with_each_kernel(|| case.fused(0.0))
                    .into_iter()
                    .map(|(level, actual)| (format!("{level:?}"), actual))
                    .collect();
                let composed = |inputs| composed(inputs, heads, case.bias.clone(), None, 0);
                all.push(("composed".into(), case.run(composed)));
                for (context, actual) in all {
                    for (actual, expected) in actual.iter().zip(&expected) {
                        assert_close(actual, expected, TOLERANCE, &format!("{context} {shape:?}"));
                    }
                }
            }
        });
    }

    /// With the rows of the unit matrix as values, the output is the matrix of attention
    /// probabilities after dropout.
    #[test]
    fn dropout_drops_probabilities_and_their_gradients() {
        on_each_device(|| {
            let (tokens, heads, probability) = (21, 2, 0.4);
            let mut case = Case::new([2, tokens, heads * tokens], heads);
            let unit = Tensor::<2>::eye(tokens, &case.inputs[0].device());
            let unit = unit.repeat(&[2, heads]).reshape(case.shape);
            case.inputs[2] = unit.detach().require_grad();
            let [plain] = [case.fused(0.0)].map(|actual| actual[0].clone());
            for (level, actual) in with_each_kernel(|| case.fused(probability)) {
                let at = |[text, head, i, j]: [usize; 4]| {
                    ((text * tokens + i) * heads + head) * tokens + j
                };
                let factor = |place: [usize; 4]| match actual[0][at(place)] {
                    0.0 => 0.0,
                    _ => 1.0 / (1.0 - probability),
                };
                let expected = case.expected(factor);
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_close(actual, expected, TOLERANCE, &format!("{level:?}"));
                }
                let positive = |values: &[f32]| values.iter().filter(|p| **p > 0.0).count();
                let kept = positive(&actual[0]) as f64 / positive(&plain) as f64;
                // 1,500 draws: standard error 0.013.
                assert!((kept + probability - 1.0).abs() < 0.05, "{level:?}: {kept}");
            }
        });
    }

    /// The results for consecutive texts are those for each text by itself.
    #[test]
    fn consecutive_texts_do_not_attend_to_each_other() {
        on_each_device(|| {
            let (heads, lengths) = (3, [5, 1, 0, 16, 21]);
            let row = Case::new([1, lengths.iter().sum(), 12], heads);
            for composes in [false, true] {
                let runs = with_each_kernel(|| {
                    row.run(|inputs| {
                        if composes {
                            let bias = row.bias.clone();
                            composed_for_each_text(inputs, heads, bias, &lengths, None)
                        } else {
                            attention(inputs, row.options(Some(&lengths)))
                        }
                    })
                });
                let mut start = 0;
                for length in lengths.into_iter().filter(|length| *length > 0) {
                    let part = |tensor: &Tensor<3>| {
                        tensor
                            .clone()
                            .narrow(1, start, length)
                            .detach()
                            .require_grad()
                    };
                    let text = Case {
                        shape: [1, length, 12],
                        heads,
                        inputs: row.inputs.each_ref().map(part),
                        bias: row.bias.clone().narrow(1, start, length),
                        gradient: row.gradient.clone().narrow(1, start, length),
                    };
                    for (level, actual) in &runs {
                        for (actual, expected) in actual.iter().zip(text.expected(|_| 1.0)) {
                            let actual = &actual[start * 12..(start + length) * 12];
                            let context = format!("{length} tokens, {level:?} {composes}");
                            assert_close(actual, &expected, TOLERANCE, &context);
                        }
                    }
                    start += length;
                }
            }
        });
    }

    #[test]
    #[should_panic(expected = "texts of 6 tokens in [1, 7, 12]")]
    fn lengths_that_do_not_fit_panic() {
        let case = Case::new([1, 7, 12], 3);
        attention(case.inputs.clone(), case.options(Some(&[4, 2])));
    }

    #[test]
    fn attention_probability_of_padding_is_zero() {
        on_each_device(|| {
            let case = Case::new([2, 7, 4], 2);
            let [_, _, _, value] = <[_; 4]>::try_from(case.fused(0.0)).unwrap();
            for (index, token) in value.chunks(4).enumerate() {
                let is_padding = index / 7 == 1 && index % 7 % 3 == 1;
                assert_eq!(token == [0.0; 4], is_padding, "{index}");
            }
        });
    }

    #[test]
    fn values_without_autodiff_are_the_same() {
        let case = Case::new([2, 19, 12], 3);
        let inputs = case.inputs.clone().map(Tensor::inner);
        let plain = attention(inputs, case.options(None)).into_data();
        assert_eq!(plain.try_to_vec::<f32>().unwrap(), case.fused(0.0)[0]);
    }

    #[test]
    fn float64_is_computed_by_burns_operations() {
        let case = Case::new([2, 19, 12], 3);
        let inputs = case.inputs.clone().map(|t| t.inner().cast(DType::F64));
        let options = AttentionOptions {
            key_bias: case.bias.clone().cast(DType::F64),
            ..case.options(None)
        };
        let actual = attention(inputs, options);
        assert_eq!(actual.dtype(), DType::F64);
        let actual: Vec<f32> = actual.into_data().iter().collect();
        assert_close(&actual, &case.expected(|_| 1.0)[0], 1e-6, "float64");
    }

    #[test]
    #[should_panic(expected = "5 heads of 12 numbers")]
    fn heads_that_do_not_divide_d_model_panic() {
        let case = Case::new([1, 2, 12], 3);
        let options = AttentionOptions {
            heads: 5,
            ..case.options(None)
        };
        attention(case.inputs.clone(), options);
    }
}
