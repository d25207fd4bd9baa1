//! Self-attention and its gradient, one head of one text at a time.
//!
//! A head's queries, keys and values are `d_head` columns of a text's `[tokens, d_model]` matrices,
//! read in place. Its attention probabilities are a square with a row per query:
//!
//! ```text
//!           d_model = heads · d_head                          keys, filled up to whole vectors
//!         ┌────────┬────────┬───┐                            ┌───────────────────┬───────┐
//!  tokens │ head 0 │ head 1 │ … │  query · keyᵀ ─► softmax ─► │ probabilities     │ zeros │ tokens
//!         └────────┴────────┴───┘                            └───────────────────┴───────┘
//!                                                             probabilities · value ─► output
//! ```
//!
//! Rows are filled up to multiples of [`LANES`] with a bias of −∞, so that the softmax needs no
//! loop for the last few keys. A square of 128 tokens is 64 KiB of float32 and stays in the second
//! cache from the first matrix product to the last; each (text, head) is a task for one thread.

use burn::backend::Flex;
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, convert, with_element_type};
use super::math::{LANES, exp, mul_add};
use super::matmul::{Factor, Matrix, MatrixMut, Output, matmul_float32};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, new_tensor, with_scratch};
use super::{FlexTensor, Operation, apply};
use crate::dropout::{Mask, RowMask};

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
    let texts = lengths.iter().enumerate();
    let texts = texts
        .filter(|(_, tokens)| **tokens > 0)
        .map(|(number, &tokens)| {
            let mut bias = vec![f32::NEG_INFINITY; tokens.next_multiple_of(LANES)];
            bias.iter_mut()
                .zip(values.by_ref().take(tokens))
                .for_each(|(target, value)| *target = value);
            first_token += tokens;
            Text {
                number,
                first_token: first_token - tokens,
                tokens,
                bias,
            }
        });
    let operation = Attention {
        texts: texts.collect(),
        heads,
        d_head: d_model / heads,
        mask: Mask::draw(dropout, heads, &Device::flex()),
        records: inputs.iter().any(Tensor::is_tracked),
    };
    apply(operation, inputs.map(Tensor::into_dispatch)).0
}

#[derive(Debug)]
struct Attention {
    texts: Vec<Text>,
    heads: usize,
    d_head: usize,
    /// Dropout of the attention probabilities.
    mask: Option<Mask>,
    /// Whether gradients are recorded.
    records: bool,
}

/// One of the texts; its tokens are consecutive rows.
#[derive(Debug)]
struct Text {
    /// Its place in the batch, which selects the dropout mask.
    number: usize,
    first_token: usize,
    tokens: usize,
    /// Added to the scores of each key; −∞ past the last key, up to whole vectors.
    bias: Vec<f32>,
}

impl Text {
    /// Length of a row of scores in memory, a multiple of [`LANES`].
    fn line(&self) -> usize {
        self.bias.len()
    }

    /// Length of a head's scores in memory.
    fn square(&self) -> usize {
        self.tokens * self.line()
    }
}

#[derive(Clone, Debug)]
struct Saved {
    /// Query, key and value.
    inputs: [FlexTensor; 3],
    /// Softmax of the scores: for each text `[heads, tokens, line]`, in the inputs' type.
    probabilities: FlexTensor,
}

impl Operation<Flex, 3> for Attention {
    type Saved = Option<Saved>;

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let inputs = inputs.map(contiguous);
        with_element_type!(inputs[0].dtype(), T => {
            let (output, probabilities) = self.forward_typed::<T>(&inputs);
            let saved = probabilities.map(|probabilities| Saved {
                inputs,
                probabilities,
            });
            (output, saved)
        })
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let Saved {
            inputs,
            probabilities,
        } = saved.expect("kept where gradients are recorded");
        let gradient = contiguous(gradient);
        let gradients = with_element_type!(probabilities.dtype(), T => {
            self.backward_typed::<T>(&inputs, elements(&probabilities), &gradient)
        });
        gradients.map(Some)
    }
}

impl Attention {
    /// The output, and the probabilities where gradients are recorded.
    fn forward_typed<T: Element>(
        &self,
        inputs: &[FlexTensor; 3],
    ) -> (FlexTensor, Option<FlexTensor>) {
        let shape = inputs[0].layout().shape().clone();
        let input_elements = inputs.each_ref().map(elements::<T>);
        let mut output = Buffer::unspecified(shape.num_elements());
        let lengths = self.texts.iter().map(|text| self.heads * text.square());
        let length: usize = if self.records { lengths.sum() } else { 0 };
        let mut probabilities = Buffer::<T>::unspecified(length);
        let mut squares_to_save = self.squares_mut(&mut probabilities).into_iter();
        let heads = self.heads().zip(self.columns_mut(&mut output));
        let heads: Vec<_> = heads
            .map(|(head, output)| (head, output, squares_to_save.next()))
            .collect();
        heads.into_par_iter().for_each(|(head, output, save)| {
            self.attend(head, input_elements, save, output);
        });
        let saved = self.records.then(|| new_tensor(probabilities, [length]));
        (new_tensor(output, shape), saved)
    }

    fn backward_typed<T: Element>(
        &self,
        inputs: &[FlexTensor; 3],
        mut probabilities: &[T],
        gradient: &FlexTensor,
    ) -> [FlexTensor; 3] {
        let shape = gradient.layout().shape().clone();
        let input_elements = inputs.each_ref().map(elements::<T>);
        let gradient = elements::<T>(gradient);
        let mut gradients = [0; 3].map(|_| Buffer::unspecified(gradient.len()));
        let [query, key, value] = gradients
            .each_mut()
            .map(|values| self.columns_mut::<T>(values));
        let heads: Vec<_> = self
            .heads()
            .map(|head| {
                let (own, others) = probabilities.split_at(head.text.square());
                probabilities = others;
                (head, own)
            })
            .collect();
        heads
            .into_par_iter()
            .zip(query)
            .zip(key)
            .zip(value)
            .for_each(|((((head, probabilities), query), key), value)| {
                let outputs = [query, key, value];
                self.head_gradients(head, input_elements, probabilities, gradient, outputs);
            });
        gradients.map(|values| new_tensor(values, shape.clone()))
    }

    /// The heads of all texts, text after text.
    fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let texts = self.texts.iter();
        texts.flat_map(|text| (0..self.heads).map(move |number| Head { text, number }))
    }

    fn scale(&self) -> f32 {
        (self.d_head as f32).powf(-0.5)
    }

    /// A head's columns of its text's rows, `[tokens, d_head]`, in place.
    fn columns<'a, T: Copy>(&self, head: Head, values: &'a [T]) -> Matrix<'a, T> {
        let d_model = self.heads * self.d_head;
        let start = head.text.first_token * d_model + head.number * self.d_head;
        Matrix::strided(&values[start..], head.text.tokens, self.d_head, d_model)
    }

    /// Lends a head's columns of several tensors in float32: in place, or converted to scratch
    /// memory.
    fn with_columns<T: Element, const N: usize>(
        &self,
        head: Head,
        values: [&[T]; N],
        work: impl FnOnce([Matrix; N]),
    ) {
        let length = head.text.tokens * self.d_head;
        let columns = values.map(|values| self.columns(head, values));
        let converted_length = match T::DTYPE {
            f32::DTYPE => 0,
            _ => length,
        };
        with_scratch(N * converted_length, |scratch| {
            let mut scratch = scratch.chunks_exact_mut(length.max(1));
            work(columns.map(|columns| match T::factor(columns) {
                Factor::Float32(columns) => columns,
                Factor::BFloat16(columns) => {
                    let converted = scratch.next().expect("memory for each");
                    let rows = converted.chunks_exact_mut(self.d_head.max(1)).enumerate();
                    rows.for_each(|(row, converted)| convert(columns.row(row), converted));
                    Matrix::new(converted, head.text.tokens, self.d_head)
                }
            }));
        });
    }

    /// The columns of all heads of all texts, to be written.
    fn columns_mut<'a, T>(&self, mut values: &'a mut [T]) -> Vec<MatrixMut<'a, T>> {
        let d_model = self.heads * self.d_head;
        let texts = self.texts.iter().flat_map(|text| {
            let (own, others) = std::mem::take(&mut values).split_at_mut(text.tokens * d_model);
            values = others;
            MatrixMut::new(own, text.tokens, d_model).column_chunks(self.d_head)
        });
        texts.collect()
    }

    /// Memory for the scores of all heads of all texts; none where no gradients are recorded.
    fn squares_mut<'a, T>(&self, mut values: &'a mut [T]) -> Vec<&'a mut [T]> {
        let heads = self.heads().take_while(|_| self.records);
        let squares = heads.map(|head| {
            let (own, others) = std::mem::take(&mut values).split_at_mut(head.text.square());
            values = others;
            own
        });
        squares.collect()
    }

    fn attend<T: Element>(
        &self,
        head: Head,
        inputs: [&[T]; 3],
        save: Option<&mut [T]>,
        output: MatrixMut<T>,
    ) {
        self.with_columns(head, inputs, |[query, key, value]| {
            with_scratch(head.text.square(), |probabilities| {
                let scores = head.scores_mut(probabilities);
                matmul_float32(scores, Output::Replace, query, key.transposed());
                let Text { tokens, bias, .. } = head.text;
                softmax(probabilities, *tokens, bias, self.scale());
                if let Some(save) = save {
                    convert(probabilities, save);
                }
                if let Some(mask) = self.mask {
                    head.drop_probabilities(self.heads, mask, probabilities);
                }
                matmul_rounded(output, head.scores(probabilities), value);
            });
        });
    }

    fn head_gradients<T: Element>(
        &self,
        head: Head,
        [query, key, value]: [&[T]; 3],
        saved: &[T],
        gradient: &[T],
        [query_gradient, key_gradient, value_gradient]: [MatrixMut<T>; 3],
    ) {
        let inputs = [query, key, value, gradient];
        self.with_columns(head, inputs, |[query, key, value, gradient]| {
            with_scratch(saved.len() * 3, |scratch| {
                let (gradients, scratch) = scratch.split_at_mut(saved.len());
                let (probabilities, dropped) = scratch.split_at_mut(saved.len());
                let score_matrix = head.scores_mut(gradients);
                matmul_float32(score_matrix, Output::Replace, gradient, value.transposed());
                convert(saved, probabilities);
                dropped.copy_from_slice(probabilities);
                if let Some(mask) = self.mask {
                    head.drop_probabilities(self.heads, mask, dropped);
                }
                matmul_rounded(value_gradient, head.scores(dropped).transposed(), gradient);
                let line = head.text.line();
                let rows = probabilities
                    .chunks_exact(line)
                    .zip(gradients.chunks_exact_mut(line));
                for (token, (probabilities, gradients)) in rows.enumerate() {
                    let mask = self.mask.map(|mask| head.mask(self.heads, mask, token));
                    let tokens = head.text.tokens;
                    score_gradients(probabilities, tokens, mask, self.scale(), gradients);
                }
                let gradients = head.scores(gradients);
                matmul_rounded(query_gradient, gradients, key);
                matmul_rounded(key_gradient, gradients.transposed(), query);
            });
        });
    }
}

/// Computes `a·b` in float32 and rounds it to the output's type.
fn matmul_rounded<T: Element>(output: MatrixMut<T>, a: Matrix, b: Matrix) {
    match T::float32(output) {
        Ok(output) => matmul_float32(output, Output::Replace, a, b),
        Err(mut output) => with_scratch(output.rows() * output.columns(), |sums| {
            let (rows, columns) = (output.rows(), output.columns());
            matmul_float32(MatrixMut::new(sums, rows, columns), Output::Replace, a, b);
            let sums = sums.chunks_exact(columns.max(1)).enumerate();
            sums.for_each(|(row, sums)| convert(sums, output.row_mut(row)));
        }),
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

    /// The mask of a token's row.
    fn mask(&self, heads: usize, mask: Mask, token: usize) -> RowMask {
        mask.row([self.text.number * heads + self.number, token])
    }

    fn drop_probabilities(&self, heads: usize, mask: Mask, probabilities: &mut [f32]) {
        let rows = probabilities.chunks_exact_mut(self.text.line().max(1));
        for (token, probabilities) in rows.enumerate() {
            drop_row(self.mask(heads, mask, token), probabilities);
        }
    }
}

vectorized! {
    /// Replaces scores by the softmax of scale·score + bias; rows are whole vectors.
    fn softmax(scores: &mut [f32], tokens: usize, bias: &[f32], scale: f32) {
        let (bias, _) = bias.as_chunks::<LANES>();
        for row in scores.chunks_exact_mut(bias.len() * LANES) {
            row[tokens..].fill(0.0);
            let (row, _) = row.as_chunks_mut::<LANES>();
            let mut max = [f32::NEG_INFINITY; LANES];
            for (row, bias) in row.iter_mut().zip(bias) {
                for lane in 0..LANES {
                    row[lane] = mul_add::<FUSED>(row[lane], scale, bias[lane]);
                    max[lane] = if row[lane] > max[lane] { row[lane] } else { max[lane] };
                }
            }
            let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let mut total = [0.0f32; LANES];
            for row in row.iter_mut() {
                for lane in 0..LANES {
                    row[lane] = exp::<FUSED>(row[lane] - max);
                    total[lane] += row[lane];
                }
            }
            let inverse = 1.0 / total.iter().sum::<f32>();
            for row in row.iter_mut() {
                row.iter_mut().for_each(|value| *value *= inverse);
            }
        }
    }
}

vectorized! {
    fn drop_row(mask: RowMask, probabilities: &mut [f32]) {
        mask.multiply(probabilities);
    }
}

vectorized! {
    /// Replaces the gradient of a row of probabilities after dropout by the gradient of its scores.
    fn score_gradients(
        probabilities: &[f32],
        tokens: usize,
        mask: Option<RowMask>,
        scale: f32,
        gradients: &mut [f32],
    ) {
        gradients[tokens..].fill(0.0);
        if let Some(mask) = mask {
            mask.multiply(gradients);
        }
        let (probabilities, _) = probabilities.as_chunks::<LANES>();
        let (gradients, _) = gradients.as_chunks_mut::<LANES>();
        let mut weighted_mean = [0.0f32; LANES];
        for (probability, gradient) in probabilities.iter().zip(&*gradients) {
            for lane in 0..LANES {
                let sum = weighted_mean[lane];
                weighted_mean[lane] = mul_add::<FUSED>(probability[lane], gradient[lane], sum);
            }
        }
        let weighted_mean = weighted_mean.iter().sum::<f32>();
        for (probability, gradient) in probabilities.iter().zip(gradients) {
            for lane in 0..LANES {
                gradient[lane] = probability[lane] * (gradient[lane] - weighted_mean) * scale;
            }
        }
    }
}
