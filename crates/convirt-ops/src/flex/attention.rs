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
    dropout: f64,
) -> Tensor<3> {
    let [batch, tokens, d_model] = inputs[0].dims();
    let line = tokens.next_multiple_of(LANES);
    let data = key_bias.without_autodiff().into_data();
    let mut bias = vec![f32::NEG_INFINITY; batch * line];
    for (index, value) in data.iter::<f32>().enumerate() {
        bias[index / tokens * line + index % tokens] = value;
    }
    let operation = Attention {
        batch,
        tokens,
        line,
        heads,
        d_head: d_model / heads,
        bias,
        mask: Mask::draw(dropout),
        records: inputs.iter().any(Tensor::is_tracked),
    };
    apply(operation, inputs.map(Tensor::into_dispatch)).0
}

#[derive(Debug)]
struct Attention {
    batch: usize,
    tokens: usize,
    /// Memory of a row of scores: whole vectors.
    line: usize,
    heads: usize,
    d_head: usize,
    /// `[batch, line]`, -∞ past the tokens.
    bias: Vec<f32>,
    /// Dropout of the shares.
    mask: Option<Mask>,
    /// Whether a gradient may be asked for.
    records: bool,
}

#[derive(Clone, Debug)]
struct Saved {
    /// Query, key and value.
    inputs: [FlexTensor; 3],
    /// Softmax of the scores, `[batch, heads, tokens, line]`.
    shares: Arc<Buffer>,
}

impl Operation<3> for Attention {
    type Saved = Option<Saved>;

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let inputs = inputs.map(contiguous);
        let shape = inputs[0].layout().shape().clone();
        let given = inputs.each_ref().map(elements);
        let mut output = Buffer::any(shape.num_elements());
        let square = self.tokens * self.line;
        let mut shares = Buffer::any(if self.records {
            self.pairs() * square
        } else {
            0
        });
        let parts = self.parts(&mut output);
        if self.records {
            parts
                .into_par_iter()
                .zip(shares.par_chunks_mut(square.max(1)))
                .enumerate()
                .for_each(|(index, (to, shares))| self.attend(index, given, shares, to));
        } else {
            parts.into_par_iter().enumerate().for_each(|(index, to)| {
                with_scratch(square, |shares| self.attend(index, given, shares, to));
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
        let square = (self.tokens * self.line).max(1);
        query
            .into_par_iter()
            .zip(key)
            .zip(value)
            .zip(saved.shares.par_chunks(square))
            .enumerate()
            .for_each(|(index, (((query, key), value), shares))| {
                self.turn(index, given, shares, gradient, [query, key, value]);
            });
        found.map(|values| Some(tensor(values, shape.clone())))
    }
}

impl Attention {
    /// Heads of all texts.
    fn pairs(&self) -> usize {
        self.batch * self.heads
    }

    fn scale(&self) -> f32 {
        (self.d_head as f32).powf(-0.5)
    }

    /// A head of a text, `[tokens, d_head]`, where it lies.
    fn head<'a>(&self, index: usize, values: &'a [f32]) -> Matrix<'a> {
        let d_model = self.heads * self.d_head;
        let (text, head) = (index / self.heads, index % self.heads);
        let start = text * self.tokens * d_model + head * self.d_head;
        Matrix::strided(&values[start..], self.tokens, self.d_head, d_model)
    }

    /// All heads of all texts, to write.
    fn parts<'a>(&self, values: &'a mut [f32]) -> Vec<MatrixMut<'a>> {
        let d_model = self.heads * self.d_head;
        values
            .chunks_exact_mut((self.tokens * d_model).max(1))
            .flat_map(|text| MatrixMut::new(text, self.tokens, d_model).column_chunks(self.d_head))
            .collect()
    }

    fn scores<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        Matrix::strided(values, self.tokens, self.tokens, self.line)
    }

    fn scores_mut<'a>(&self, values: &'a mut [f32]) -> MatrixMut<'a> {
        MatrixMut::strided(values, self.tokens, self.tokens, self.line)
    }

    fn attend(
        &self,
        index: usize,
        [query, key, value]: [&[f32]; 3],
        shares: &mut [f32],
        to: MatrixMut,
    ) {
        let [query, key, value] = [query, key, value].map(|values| self.head(index, values));
        product(
            self.scores_mut(shares),
            Output::Replace,
            query,
            key.transposed(),
        );
        let bias = &self.bias[index / self.heads * self.line..][..self.line];
        softmax(shares, self.tokens, bias, self.scale());
        match self.mask {
            None => product(to, Output::Replace, self.scores(shares), value),
            Some(mask) => with_scratch(shares.len(), |kept| {
                self.drop_shares(index, mask, shares, kept);
                product(to, Output::Replace, self.scores(kept), value);
            }),
        }
    }

    fn drop_shares(&self, index: usize, mask: Mask, shares: &[f32], kept: &mut [f32]) {
        let rows = shares
            .chunks_exact(self.line)
            .zip(kept.chunks_exact_mut(self.line));
        for (token, (shares, kept)) in rows.enumerate() {
            drop_row(mask.row(index * self.tokens + token), shares, kept);
        }
    }

    fn turn(
        &self,
        index: usize,
        [query, key, value]: [&[f32]; 3],
        shares: &[f32],
        gradient: &[f32],
        [to_query, to_key, to_value]: [MatrixMut; 3],
    ) {
        let [query, key, value] = [query, key, value].map(|values| self.head(index, values));
        let gradient = self.head(index, gradient);
        with_scratch(shares.len() * 2, |scratch| {
            let (slopes, kept) = scratch.split_at_mut(shares.len());
            product(
                self.scores_mut(slopes),
                Output::Replace,
                gradient,
                value.transposed(),
            );
            let kept: &[f32] = match self.mask {
                None => shares,
                Some(mask) => {
                    self.drop_shares(index, mask, shares, kept);
                    kept
                }
            };
            product(
                to_value,
                Output::Replace,
                self.scores(kept).transposed(),
                gradient,
            );
            let rows = shares
                .chunks_exact(self.line)
                .zip(slopes.chunks_exact_mut(self.line));
            for (token, (shares, slopes)) in rows.enumerate() {
                let mask = self.mask.map(|mask| mask.row(index * self.tokens + token));
                turn_row(shares, self.tokens, mask, self.scale(), slopes);
            }
            let slopes = self.scores(slopes);
            product(to_query, Output::Replace, slopes, key);
            product(to_key, Output::Replace, slopes.transposed(), query);
        });
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
