//! Multi-head self-attention.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use crate::dropout::{self, check_probability};
use crate::storage::from_storage;

/// Lets every token gather from the tokens of its text ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762),
/// Section 3.2): in each head softmax(q·kᵀ/√d_head + key_bias)·v, with [dropout](crate::dropout) of
/// the softmax.
///
/// Heads lie side by side, each `d_head` = `d_model`/`heads` wide.
///
/// Texts are rows of a batch, or lie one after the other in a single row: `lengths` then are their
/// numbers of tokens.
///
/// # Shapes
///
/// - query, key, value, output: `[batch, tokens, d_model]`; with lengths `[1, Σ lengths, d_model]`
/// - key_bias: `[batch, tokens]`, added to the scores of each key; no gradients reach it
///
/// # Panics
///
/// When the shapes or the lengths do not fit, `heads` does not divide `d_model`, or the dropout's probability is
/// not at least 0 and below 1.
pub fn attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    heads: usize,
    key_bias: Tensor<2>,
    lengths: Option<&[usize]>,
    dropout: f64,
) -> Tensor<3> {
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
    match lengths {
        None => composed(inputs, heads, key_bias, dropout),
        Some(lengths) => composed_apart(inputs, heads, key_bias, lengths, dropout),
    }
}

/// Texts in a row, each on its own by Burn's own operations.
fn composed_apart(
    inputs: [Tensor<3>; 3],
    heads: usize,
    key_bias: Tensor<2>,
    lengths: &[usize],
    dropout: f64,
) -> Tensor<3> {
    let mut start = 0;
    let texts = lengths.iter().filter(|length| **length > 0).map(|&length| {
        let first = start;
        start += length;
        let inputs = inputs.clone().map(|all| all.narrow(1, first, length));
        composed(
            inputs,
            heads,
            key_bias.clone().narrow(1, first, length),
            dropout,
        )
    });
    let texts: Vec<Tensor<3>> = texts.collect();
    match texts.is_empty() {
        true => inputs[0].zeros_like(),
        false => Tensor::cat(texts, 1),
    }
}

/// By Burn's own operations.
fn composed(inputs: [Tensor<3>; 3], heads: usize, key_bias: Tensor<2>, dropout: f64) -> Tensor<3> {
    let [batch, tokens, d_model] = inputs[0].dims();
    let d_head = d_model / heads;
    let apart = |all: Tensor<3>| all.reshape([batch, tokens, heads, d_head]).swap_dims(1, 2);
    let [query, key, value] = inputs.map(apart);
    let query = query.mul_scalar((d_head as f64).powf(-0.5));
    let bias = key_bias.without_autodiff().reshape([batch, 1, 1, tokens]);
    let dtype = query.dtype();
    let scores = from_storage(query.matmul(key.transpose())) + bias;
    let probabilities = softmax(scores, 3).cast(dtype);
    dropout::composed(probabilities, dropout)
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
                .map(
                    |index| match index / tokens == 1 && index % tokens % 3 == 1 {
                        true => -1e4,
                        false => 0.1 * (index % 5) as f32,
                    },
                )
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

        fn run(&self, function: impl Fn([Tensor<3>; 3]) -> Tensor<3>) -> Vec<Vec<f32>> {
            let output = function(self.inputs.clone());
            gradients_of(output, &self.gradient, self.inputs.each_ref())
        }

        fn fused(&self, dropout: f64) -> Vec<Vec<f32>> {
            self.run(|[query, key, value]| {
                let bias = self.bias.clone();
                seeded(5, || {
                    attention(query, key, value, self.heads, bias, None, dropout)
                })
            })
        }

        /// Output, then gradients of query, key and value, in float64; `factor` is what dropout
        /// multiplies a share by, of text, head, query and key.
        fn expected(&self, factor: impl Fn([usize; 4]) -> f64) -> [Vec<f64>; 4] {
            let [batch, tokens, d_model] = self.shape;
            let d_head = d_model / self.heads;
            let wide =
                |tensor: &Tensor<3>| -> Vec<f64> { tensor.clone().into_data().iter().collect() };
            let [query, key, value] = self.inputs.each_ref().map(wide);
            let gradient = wide(&self.gradient);
            let bias: Vec<f64> = self.bias.clone().into_data().iter().collect();
            let scale = 1.0 / (d_head as f64).sqrt();
            let mut found = [0; 4].map(|_| vec![0.0; batch * tokens * d_model]);
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
                    let share = |j: usize| score(j).exp() / total;
                    let slope =
                        |j: usize| dot(&gradient, i, &value, j) * factor([text, head, i, j]);
                    let along: f64 = (0..tokens).map(|j| share(j) * slope(j)).sum();
                    for j in 0..tokens {
                        let kept = share(j) * factor([text, head, i, j]);
                        let turn = share(j) * (slope(j) - along) * scale;
                        for c in 0..d_head {
                            found[0][at(i, c)] += kept * value[at(j, c)];
                            found[1][at(i, c)] += turn * key[at(j, c)];
                            found[2][at(j, c)] += turn * query[at(i, c)];
                            found[3][at(j, c)] += kept * gradient[at(i, c)];
                        }
                    }
                }
            }
            found
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
    fn values_and_gradients_are_those_of_the_formula() {
        on_each_device(|| {
            for (shape, heads) in SHAPES {
                let case = Case::new(shape, heads);
                let expected = case.expected(|_| 1.0);
                let mut all: Vec<_> = with_each_kernel(|| case.fused(0.0))
                    .into_iter()
                    .map(|(level, found)| (format!("{level:?}"), found))
                    .collect();
                let composed = |inputs| composed(inputs, heads, case.bias.clone(), 0.0);
                all.push(("composed".into(), case.run(composed)));
                for (what, found) in all {
                    for (found, expected) in found.iter().zip(&expected) {
                        assert_close(found, expected, TOLERANCE, &format!("{what} {shape:?}"));
                    }
                }
            }
        });
    }

    /// With values that are the rows of the unit matrix, the output is the matrix of shares: what
    /// dropout does to each shows.
    #[test]
    fn dropout_drops_shares_and_their_gradients() {
        on_each_device(|| {
            let (tokens, heads, probability) = (21, 2, 0.4);
            let mut case = Case::new([2, tokens, heads * tokens], heads);
            let unit = Tensor::<2>::eye(tokens, &case.inputs[0].device());
            let unit = unit.repeat(&[2, heads]).reshape(case.shape);
            case.inputs[2] = unit.detach().require_grad();
            let [plain] = [case.fused(0.0)].map(|found| found[0].clone());
            for (level, found) in with_each_kernel(|| case.fused(probability)) {
                let at = |[text, head, i, j]: [usize; 4]| {
                    ((text * tokens + i) * heads + head) * tokens + j
                };
                let factor = |place: [usize; 4]| match found[0][at(place)] {
                    0.0 => 0.0,
                    _ => 1.0 / (1.0 - probability),
                };
                let expected = case.expected(factor);
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found, expected, TOLERANCE, &format!("{level:?}"));
                }
                let real = plain.iter().filter(|share| **share > 0.0).count();
                let kept = found[0].iter().filter(|share| **share > 0.0).count();
                let share = kept as f64 / real as f64;
                // 1,500 draws: standard error 0.013.
                assert!(
                    (share + probability - 1.0).abs() < 0.05,
                    "{level:?}: {share}"
                );
            }
        });
    }

    /// Texts in a row are those of a batch, cut to their lengths.
    #[test]
    fn texts_in_a_row_are_each_on_its_own() {
        on_each_device(|| {
            let (heads, lengths) = (3, [5, 1, 0, 16, 21]);
            let row = Case::new([1, lengths.iter().sum(), 12], heads);
            for composes in [false, true] {
                let runs = with_each_kernel(|| {
                    row.run(|[query, key, value]| match composes {
                        true => {
                            let bias = row.bias.clone();
                            composed_apart([query, key, value], heads, bias, &lengths, 0.0)
                        }
                        false => {
                            let bias = row.bias.clone();
                            attention(query, key, value, heads, bias, Some(&lengths), 0.0)
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
                    for (level, found) in &runs {
                        for (found, expected) in found.iter().zip(text.expected(|_| 1.0)) {
                            let found = &found[start * 12..(start + length) * 12];
                            let what = format!("{length} tokens, {level:?} {composes}");
                            assert_close(found, &expected, TOLERANCE, &what);
                        }
                    }
                    start += length;
                }
            }
        });
    }

    #[test]
    #[should_panic(expected = "texts of 6 tokens in [1, 7, 12]")]
    fn lengths_of_other_texts_are_refused() {
        let case = Case::new([1, 7, 12], 3);
        let [query, key, value] = case.inputs;
        attention(query, key, value, 3, case.bias, Some(&[4, 2]), 0.0);
    }

    #[test]
    fn padding_gets_no_share_at_all() {
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
    fn without_a_graph_values_are_the_same() {
        let case = Case::new([2, 19, 12], 3);
        let [query, key, value] = case.inputs.clone().map(Tensor::inner);
        let plain = attention(query, key, value, 3, case.bias.clone(), None, 0.0).into_data();
        assert_eq!(plain.try_to_vec::<f32>().unwrap(), case.fused(0.0)[0]);
    }

    #[test]
    fn other_precisions_take_the_composed_way() {
        let case = Case::new([2, 19, 12], 3);
        let [query, key, value] = case.inputs.clone().map(|t| t.inner().cast(DType::F64));
        let bias = case.bias.clone().cast(DType::F64);
        let found = attention(query, key, value, 3, bias, None, 0.0);
        assert_eq!(found.dtype(), DType::F64);
        let found: Vec<f32> = found.into_data().iter().collect();
        assert_close(&found, &case.expected(|_| 1.0)[0], 1e-6, "float64");
    }

    #[test]
    #[should_panic(expected = "5 heads of 12 numbers")]
    fn uneven_heads_are_refused() {
        let case = Case::new([1, 2, 12], 3);
        let [query, key, value] = case.inputs;
        attention(query, key, value, 5, case.bias, None, 0.0);
    }
}
