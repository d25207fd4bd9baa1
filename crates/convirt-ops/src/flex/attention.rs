//! Self-attention, each head of each text on its own, and its gradient.

use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, tensor, with_scratch};
use super::dropout::{Mask, RowMask};
use super::math::{LANES, exp, mul_add};
use super::memory::Buffer;
use super::product::{Matrix, MatrixMut, Output, product};
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply};

pub(crate) fn attention(
    inputs: [Tensor<3>; 3],
    heads: usize,
    key_bias: Tensor<2>,
    lengths: &[usize],
    dropout: f64,
) -> Tensor<3> {
    let [_, _, d_model] = inputs[0].dims();
    let data = key_bias.without_autodiff().into_data();
    let mut values = data.iter::<f32>();
    let mut first_token = 0;
    let texts = lengths.iter().filter(|tokens| **tokens > 0).map(|&tokens| {
        let mut bias = vec![f32::NEG_INFINITY; tokens.next_multiple_of(LANES)];
        bias.iter_mut()
            .zip(values.by_ref().take(tokens))
            .for_each(|(to, value)| *to = value);
        first_token += tokens;
        Text {
            first_token: first_token - tokens,
            tokens,
            bias,
        }
    });
    let operation = Attention {
        texts: texts.collect(),
        heads,
        d_head: d_model / heads,
        mask: Mask::draw(dropout),
        records: inputs.iter().any(Tensor::is_tracked),
    };
    apply(operation, inputs.map(Tensor::into_dispatch)).0
}

#[derive(Debug)]
struct Attention {
    texts: Vec<Text>,
    heads: usize,
    d_head: usize,
    /// Dropout of the shares.
    mask: Option<Mask>,
    /// Whether a gradient may be asked for.
    records: bool,
}

/// One of the texts, its tokens one after the other.
#[derive(Debug)]
struct Text {
    first_token: usize,
    tokens: usize,
    /// Added to the scores of each key; -∞ past them, up to whole vectors.
    bias: Vec<f32>,
}

impl Text {
    /// Memory of a row of scores: whole vectors.
    fn line(&self) -> usize {
        self.bias.len()
    }

    /// Memory of a head's scores.
    fn square(&self) -> usize {
        self.tokens * self.line()
    }
}

#[derive(Clone, Debug)]
struct Saved {
    /// Query, key and value.
    inputs: [FlexTensor; 3],
    /// Softmax of the scores: of each text `[heads, tokens, line]`.
    shares: Arc<Buffer>,
}

impl Operation<3> for Attention {
    type Saved = Option<Saved>;

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let inputs = inputs.map(contiguous);
        let shape = inputs[0].layout().shape().clone();
        let given = inputs.each_ref().map(elements);
        let mut output = Buffer::any(shape.num_elements());
        let squares = match self.records {
            true => self
                .texts
                .iter()
                .map(|text| self.heads * text.square())
                .sum(),
            false => 0,
        };
        let mut shares = Buffer::any(squares);
        let parts = self
            .heads()
            .zip(self.parts(&mut output))
            .collect::<Vec<_>>();
        if self.records {
            let shares = self.squares_mut(&mut shares);
            parts
                .into_par_iter()
                .zip(shares)
                .for_each(|((head, to), shares)| {
                    self.attend(head, given, shares, to);
                });
        } else {
            parts.into_par_iter().for_each(|(head, to)| {
                with_scratch(head.text.square(), |shares| {
                    self.attend(head, given, shares, to)
                });
            });
        }
        let saved = self.records.then(|| Saved {
            inputs,
            shares: shares.into(),
        });
        (tensor(output, shape), saved)
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let saved = saved.expect("kept where gradients are recorded");
        let gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let given = saved.inputs.each_ref().map(elements);
        let gradient = elements(&gradient);
        let mut found = [0; 3].map(|_| Buffer::any(gradient.len()));
        let [query, key, value] = found.each_mut().map(|to| self.parts(to));
        let mut shares = &saved.shares[..];
        let heads: Vec<_> = self
            .heads()
            .map(|head| {
                let (own, rest) = shares.split_at(head.text.square());
                shares = rest;
                (head, own)
            })
            .collect();
        heads
            .into_par_iter()
            .zip(query)
            .zip(key)
            .zip(value)
            .for_each(|((((head, shares), query), key), value)| {
                self.turn(head, given, shares, gradient, [query, key, value]);
            });
        found.map(|values| Some(tensor(values, shape.clone())))
    }
}

impl Attention {
    /// The heads of all texts.
    fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let texts = self.texts.iter();
        texts.flat_map(|text| (0..self.heads).map(move |number| Head { text, number }))
    }

    fn scale(&self) -> f32 {
        (self.d_head as f32).powf(-0.5)
    }

    /// A head's columns of a text, `[tokens, d_head]`, where they lie.
    fn columns<'a>(&self, head: Head, values: &'a [f32]) -> Matrix<'a> {
        let d_model = self.heads * self.d_head;
        let start = head.text.first_token * d_model + head.number * self.d_head;
        Matrix::strided(&values[start..], head.text.tokens, self.d_head, d_model)
    }

    /// Those of all heads of all texts, to write.
    fn parts<'a>(&self, mut values: &'a mut [f32]) -> Vec<MatrixMut<'a>> {
        let d_model = self.heads * self.d_head;
        let texts = self.texts.iter().flat_map(|text| {
            let (own, rest) = std::mem::take(&mut values).split_at_mut(text.tokens * d_model);
            values = rest;
            MatrixMut::new(own, text.tokens, d_model).column_chunks(self.d_head)
        });
        texts.collect()
    }

    /// The scores of all heads of all texts, to write.
    fn squares_mut<'a>(&self, mut values: &'a mut [f32]) -> Vec<&'a mut [f32]> {
        let squares = self.heads().map(|head| {
            let (own, rest) = std::mem::take(&mut values).split_at_mut(head.text.square());
            values = rest;
            own
        });
        squares.collect()
    }

    fn attend(
        &self,
        head: Head,
        [query, key, value]: [&[f32]; 3],
        shares: &mut [f32],
        to: MatrixMut,
    ) {
        let [query, key, value] = [query, key, value].map(|values| self.columns(head, values));
        product(
            head.scores_mut(shares),
            Output::Replace,
            query,
            key.transposed(),
        );
        softmax(shares, head.text.tokens, &head.text.bias, self.scale());
        match self.mask {
            None => product(to, Output::Replace, head.scores(shares), value),
            Some(mask) => with_scratch(shares.len(), |kept| {
                head.drop_shares(self.heads, mask, shares, kept);
                product(to, Output::Replace, head.scores(kept), value);
            }),
        }
    }

    fn turn(
        &self,
        head: Head,
        [query, key, value]: [&[f32]; 3],
        shares: &[f32],
        gradient: &[f32],
        [to_query, to_key, to_value]: [MatrixMut; 3],
    ) {
        let [query, key, value] = [query, key, value].map(|values| self.columns(head, values));
        let gradient = self.columns(head, gradient);
        with_scratch(shares.len() * 2, |scratch| {
            let (slopes, kept) = scratch.split_at_mut(shares.len());
            product(
                head.scores_mut(slopes),
                Output::Replace,
                gradient,
                value.transposed(),
            );
            let kept: &[f32] = match self.mask {
                None => shares,
                Some(mask) => {
                    head.drop_shares(self.heads, mask, shares, kept);
                    kept
                }
            };
            product(
                to_value,
                Output::Replace,
                head.scores(kept).transposed(),
                gradient,
            );
            let rows = shares
                .chunks_exact(head.text.line())
                .zip(slopes.chunks_exact_mut(head.text.line()));
            for (token, (shares, slopes)) in rows.enumerate() {
                let mask = self.mask.map(|mask| mask.row(head.row(self.heads, token)));
                turn_row(shares, head.text.tokens, mask, self.scale(), slopes);
            }
            let slopes = head.scores(slopes);
            product(to_query, Output::Replace, slopes, key);
            product(to_key, Output::Replace, slopes.transposed(), query);
        });
    }
}

/// A head of a text.
#[derive(Clone, Copy)]
struct Head<'a> {
    text: &'a Text,
    number: usize,
}

impl Head<'_> {
    fn scores<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        let tokens = self.text.tokens;
        Matrix::strided(values, tokens, tokens, self.text.line())
    }

    fn scores_mut<'a>(&self, values: &'a mut [f32]) -> MatrixMut<'a> {
        let tokens = self.text.tokens;
        MatrixMut::strided(values, tokens, tokens, self.text.line())
    }

    /// A token's row among those of all heads, which decides what is dropped of it.
    fn row(&self, heads: usize, token: usize) -> usize {
        self.text.first_token * heads + self.number * self.text.tokens + token
    }

    fn drop_shares(&self, heads: usize, mask: Mask, shares: &[f32], kept: &mut [f32]) {
        let line = self.text.line().max(1);
        let rows = shares.chunks_exact(line).zip(kept.chunks_exact_mut(line));
        for (token, (shares, kept)) in rows.enumerate() {
            drop_row(mask.row(self.row(heads, token)), shares, kept);
        }
    }
}

vectorized! {
    /// Replaces scores by the softmax of scale·score + bias, rows of whole vectors.
    fn softmax(scores: &mut [f32], tokens: usize, bias: &[f32], scale: f32) {
        let (bias, _) = bias.as_chunks::<LANES>();
        for row in scores.chunks_exact_mut(bias.len() * LANES) {
            row[tokens..].fill(0.0);
            let (row, _) = row.as_chunks_mut::<LANES>();
            let mut most = [f32::NEG_INFINITY; LANES];
            for (row, bias) in row.iter_mut().zip(bias) {
                for lane in 0..LANES {
                    row[lane] = mul_add::<FUSED>(row[lane], scale, bias[lane]);
                    most[lane] = if row[lane] > most[lane] { row[lane] } else { most[lane] };
                }
            }
            let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let mut total = [0.0f32; LANES];
            for row in row.iter_mut() {
                for lane in 0..LANES {
                    row[lane] = exp::<FUSED>(row[lane] - most);
                    total[lane] += row[lane];
                }
            }
            let share = 1.0 / total.iter().sum::<f32>();
            for row in row.iter_mut() {
                row.iter_mut().for_each(|value| *value *= share);
            }
        }
    }
}

vectorized! {
    fn drop_row(mask: RowMask, shares: &[f32], kept: &mut [f32]) {
        mask.multiply_to(shares, kept);
    }
}

vectorized! {
    /// Turns the gradient of a row of shares, after dropout, into that of its scores.
    fn turn_row(
        shares: &[f32],
        tokens: usize,
        mask: Option<RowMask>,
        scale: f32,
        slopes: &mut [f32],
    ) {
        slopes[tokens..].fill(0.0);
        if let Some(mask) = mask {
            mask.multiply(slopes);
        }
        let (shares, _) = shares.as_chunks::<LANES>();
        let (slopes, _) = slopes.as_chunks_mut::<LANES>();
        let mut along = [0.0f32; LANES];
        for (share, slope) in shares.iter().zip(&*slopes) {
            for lane in 0..LANES {
                along[lane] = mul_add::<FUSED>(share[lane], slope[lane], along[lane]);
            }
        }
        let along = along.iter().sum::<f32>();
        for (share, slope) in shares.iter().zip(slopes) {
            for lane in 0..LANES {
                slope[lane] = share[lane] * (slope[lane] - along) * scale;
            }
        }
    }
}
