//! Batch normalization by Burn's operations, of the matrix that a channels-last feature map is: a row
//! per pixel and a column per channel.
//!
//! With x̂ = (x − μ)/√(σ² + ε), n rows and g the gradient of γ·x̂ + β, the gradients are
//! dβ = Σg, dγ = Σg·x̂ and, as μ and σ² depend on x,
//! dx = γ/√(σ² + ε) · (g − dβ/n − x̂·dγ/n) (Ioffe & Szegedy 2015, Section 3).

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::{BatchNormalized, Epilogue, Normalization};
use crate::composition::{Composition, column_sums, compose, in_parts, row, vector};
use crate::storage::from_storage;

/// Normalizes by the statistics of the batch.
pub(super) fn batch_norm_train(
    input: Tensor<4>,
    parameters: [Tensor<1>; 2],
    epsilon: f64,
    epilogue: Epilogue,
) -> BatchNormalized {
    let (output, saved) = normalize(input, parameters, epsilon, None, epilogue);
    let [mean, variance] = saved.statistics;
    BatchNormalized {
        output,
        mean: vector(mean).without_autodiff(),
        variance: vector(variance).without_autodiff(),
    }
}

/// Normalizes by given statistics.
pub(super) fn batch_norm(
    input: Tensor<4>,
    normalization: Normalization,
    epilogue: Epilogue,
) -> Tensor<4> {
    let Normalization {
        gamma,
        beta,
        mean,
        variance,
        epsilon,
    } = normalization;
    let statistics = Some([mean, variance].map(row));
    normalize(input, [gamma, beta], epsilon, statistics, epilogue).0
}

fn normalize(
    input: Tensor<4>,
    parameters: [Tensor<1>; 2],
    epsilon: f64,
    fixed_statistics: Option<[Tensor<3>; 2]>,
    epilogue: Epilogue,
) -> (Tensor<4>, Saved) {
    let [gamma, beta] = parameters.map(|vector| row(vector).into_dispatch());
    let operation = BatchNorm {
        epsilon,
        has_relu: epilogue.has_relu(),
        fixed_statistics,
    };
    let input = input.into_dispatch();
    match epilogue {
        Epilogue::Nothing | Epilogue::Relu => compose(operation, [input, gamma, beta]),
        Epilogue::AddRelu(shortcut) => {
            compose(operation, [input, gamma, beta, shortcut.into_dispatch()])
        }
    }
}

#[derive(Debug)]
struct BatchNorm {
    epsilon: f64,
    has_relu: bool,
    /// Mean and variance to use instead of the batch's, rows.
    fixed_statistics: Option<[Tensor<3>; 2]>,
}

#[derive(Clone, Debug)]
struct Saved {
    input: Tensor<4>,
    gamma: Tensor<3>,
    /// Mean and variance, rows.
    statistics: [Tensor<3>; 2],
    /// If a ReLU follows, which passed what is positive here.
    output: Option<Tensor<4>>,
}

/// Inputs: the feature map, γ and β as rows and, in the case of four, the shortcut.
impl<const N: usize> Composition<N> for BatchNorm {
    type Saved = Saved;

    fn forward(&self, inputs: [DispatchTensor; N]) -> (DispatchTensor, Saved) {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("three inputs or four");
        let input = Tensor::<4>::from_dispatch(next());
        let [gamma, beta] = [next(), next()].map(Tensor::<3>::from_dispatch);
        let shortcut = inputs.next().map(Tensor::<4>::from_dispatch).map(pixels);
        let x = pixels(input.clone());
        let statistics = match &self.fixed_statistics {
            Some(statistics) => statistics.clone(),
            None => statistics(&x),
        };
        let [mean, variance] = statistics.clone();
        let output = (x - mean) * (gamma.clone() * self.inverse_deviation(variance)) + beta;
        let output = match shortcut {
            Some(shortcut) => output + shortcut,
            None => output,
        };
        let output = match self.has_relu {
            true => relu(output),
            false => output,
        };
        let output = output.cast(input.dtype()).reshape(input.dims());
        let saved = Saved {
            input,
            gamma,
            statistics,
            output: self.has_relu.then(|| output.clone()),
        };
        (output.into_dispatch(), saved)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: DispatchTensor,
        needs_gradient: [bool; N],
    ) -> [Option<DispatchTensor>; N] {
        let gradient = Tensor::<4>::from_dispatch(gradient);
        let (shape, dtype) = (gradient.dims(), gradient.dtype());
        let map = |pixels: Tensor<3>| pixels.cast(dtype).reshape(shape).into_dispatch();
        let (x, gradient) = (pixels(saved.input), pixels(gradient));
        let gradient = match saved.output.map(pixels) {
            Some(output) => gradient.mask_fill(output.lower_equal_elem(0.0), 0.0),
            None => gradient,
        };
        let [mean, variance] = saved.statistics;
        let inverse_deviation = self.inverse_deviation(variance);
        let normal = (x - mean) * inverse_deviation.clone();
        let scale = saved.gamma * inverse_deviation;
        let sum = column_sums(gradient.clone());
        let projection = column_sums(gradient.clone() * normal.clone());
        let of_input = needs_gradient[0].then(|| match self.fixed_statistics {
            Some(_) => gradient.clone() * scale,
            None => {
                let share = (shape[..3].iter().product::<usize>() as f64).recip();
                let of_mean = sum.clone().mul_scalar(share);
                let of_variance = normal * projection.clone().mul_scalar(share);
                (gradient.clone() - of_mean - of_variance) * scale
            }
        });
        let mut results = [
            of_input.map(map),
            Some(projection.into_dispatch()),
            Some(sum.into_dispatch()),
            Some(map(gradient)),
        ]
        .into_iter();
        needs_gradient.map(|is_needed| results.next().flatten().filter(|_| is_needed))
    }
}

impl BatchNorm {
    /// 1/√(σ² + ε).
    fn inverse_deviation(&self, variance: Tensor<3>) -> Tensor<3> {
        variance.add_scalar(self.epsilon).sqrt().recip()
    }
}

/// A feature map in float32 as a matrix with a row per pixel, [`in_parts`].
fn pixels(map: Tensor<4>) -> Tensor<3> {
    let [batch, height, width, _] = map.dims();
    from_storage(in_parts(map, batch * height * width))
}

/// Means and biased variances of columns, rows.
fn statistics(pixels: &Tensor<3>) -> [Tensor<3>; 2] {
    let [parts, rows, _] = pixels.dims();
    let share = ((parts * rows) as f64).recip();
    let mean = column_sums(pixels.clone()).mul_scalar(share);
    let squares = (pixels.clone() - mean.clone()).square();
    let variance = column_sums(squares).mul_scalar(share);
    [mean, variance]
}
