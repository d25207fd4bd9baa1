//! The sigmoid loss of SigLIP: each pair is classified on its own.

use burn::tensor::activation::{sigmoid, softplus};
use burn::tensor::{Int, Tensor};

use super::{Best, Contrast, Pairs, assert_fits, strips, zero};

/// Computes the sigmoid loss of vectors with logits q_ij = scale · u_i·v_j + bias
/// ([Zhai et al. 2023](https://arxiv.org/abs/2303.15343), Algorithm 1),
///
/// L = −1/N Σ_i Σ_j log σ(z_ij q_ij),
///
/// with z_ij = 1 if row i and column j are of one class and −1 otherwise, in memory that grows
/// linearly with the batch.
///
/// # Shapes
///
/// - rows, columns: `[batch, d_embedding]`
/// - scale: `[1]`, above 0
/// - bias: `[1]`
/// - classes: `[batch]`, of row i and of column i
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use convirt_ops::sigmoid_loss;
///
/// let device = Device::flex();
/// let (images, texts) = (Tensor::<2>::eye(3, &device), Tensor::<2>::eye(3, &device));
/// let [scale, bias] = [2.0, -1.0].map(|number| Tensor::<1>::from_floats([number], &device));
/// let contrast = sigmoid_loss(images, texts, scale, bias, Tensor::arange(0..3, &device));
/// // The logits of a row are 1 for its own text and −1 for the two others.
/// let expected = 3.0 * (1.0 + (-1f64).exp()).ln();
/// assert!((contrast.loss.into_scalar::<f64>() - expected).abs() < 1e-6);
/// assert_eq!(contrast.best_columns.into_data(), [0, 1, 2].into());
/// ```
pub fn sigmoid_loss(
    rows: Tensor<2>,
    columns: Tensor<2>,
    scale: Tensor<1>,
    bias: Tensor<1>,
    classes: Tensor<1, Int>,
) -> Contrast {
    assert_fits(&rows, &columns, &[&scale, &bias], &classes);
    #[cfg(feature = "flex")]
    if super::runs_on_flex(&rows, &columns, &[&scale, &bias]) {
        return crate::flex::sigmoid_loss(rows, columns, scale, bias, classes);
    }
    composed(rows, columns, scale, bias, classes)
}

/// The loss by Burn's own operations.
fn composed(
    rows: Tensor<2>,
    columns: Tensor<2>,
    scale: Tensor<1>,
    bias: Tensor<1>,
    classes: Tensor<1, Int>,
) -> Contrast {
    let pairs = Pairs::new(&rows, &columns, &scale, classes);
    let plain_bias = bias.clone().without_autodiff();
    // 1 for pairs of one class, −1 for others.
    let signs = |strip: &_| {
        let positives = pairs.is_positive(strip).float().cast(pairs.rows.dtype());
        positives.mul_scalar(2.0).sub_scalar(1.0)
    };
    let logits = |strip: &_| pairs.logits(strip) + plain_bias.clone().unsqueeze::<2>();
    let size = pairs.size();
    let mut best = Best::new(&pairs);
    let mut sum = Tensor::<1>::zeros_like(&plain_bias);
    for strip in strips(size) {
        let logits = logits(&strip);
        best.add(&logits, &strip);
        sum = sum
            + softplus((logits * signs(&strip)).neg(), 1.0)
                .sum_dim(1)
                .sum();
    }
    let contrast = best.contrast(sum.div_scalar(size as f64));
    let vectors_train = rows.is_autodiff() || columns.is_autodiff();
    if !(vectors_train || scale.is_autodiff() || bias.is_autodiff()) {
        return contrast;
    }
    let mut bias_gradient = Tensor::<1>::zeros_like(&plain_bias);
    let [row_gradient, column_gradient] = pairs.gradients(|strip| {
        let signs = signs(strip);
        let missing = sigmoid((logits(strip) * signs.clone()).neg());
        let gradient = (missing * signs).div_scalar(-(size as f64));
        bias_gradient = bias_gradient.clone() + gradient.clone().sum_dim(1).sum();
        gradient
    });
    let scale_gradient = pairs.scale_gradient(&row_gradient);
    let zero = zero(rows, row_gradient)
        + zero(columns, column_gradient)
        + zero(scale, scale_gradient)
        + zero(bias, bias_gradient);
    Contrast {
        loss: zero + contrast.loss,
        ..contrast
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::device::is_flex;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_cpu, on_each_device, random};

    type Function = fn(Tensor<2>, Tensor<2>, Tensor<1>, Tensor<1>, Tensor<1, Int>) -> Contrast;

    /// The loss with all logits in memory, and Burn's gradient.
    fn dense(
        rows: Tensor<2>,
        columns: Tensor<2>,
        scale: Tensor<1>,
        bias: Tensor<1>,
        classes: Tensor<1, Int>,
    ) -> Contrast {
        let ([size, _], dtype) = (rows.dims(), rows.dtype());
        let pairs = Pairs::new(&rows, &columns, &scale, classes);
        let positives = pairs.is_positive(&(0..size)).float().cast(dtype);
        let logits = rows.matmul(columns.transpose()) * scale.unsqueeze::<2>();
        let logits = logits + bias.unsqueeze::<2>();
        // log(1 + exp(−zq)) = log(1 + exp(q)) − q for z = 1, since these logits are small.
        let terms = logits.clone().exp().log1p() - logits.clone() * positives;
        let best = |logits: Tensor<2>| logits.argmax(1).squeeze_dim::<1>(1);
        let plain = logits.without_autodiff();
        Contrast {
            // The gradient of Burn's `div_scalar` has the precision of float32.
            loss: terms.sum() / Tensor::from_data([size as f64], (&Device::flex(), dtype)),
            best_columns: best(plain.clone()),
            best_rows: best(plain.transpose()),
        }
    }

    /// Twice the loss and the best candidates, then the gradients of rows, columns, scale, bias.
    fn evaluate(
        function: Function,
        dtype: DType,
        shape: [usize; 2],
        [scale, bias]: [f64; 2],
        classes: i64,
    ) -> Vec<Vec<f64>> {
        let device = device().autodiff();
        let vectors = |seed| random(shape, seed, &device).cast(dtype).require_grad();
        let (rows, columns) = (vectors(1), vectors(2));
        let number =
            |number: f64| Tensor::<1>::from_data([number], (&device, dtype)).require_grad();
        let (scale, bias) = (number(scale), number(bias));
        let numbers = Tensor::<1, Int>::arange(0..shape[0] as i64, &device);
        let classes = numbers.remainder_scalar(classes).without_autodiff();
        let (u, v) = (rows.clone(), columns.clone());
        let contrast = function(u, v, scale.clone(), bias.clone(), classes);
        let loss = contrast.loss.clone().mul_scalar(2.0);
        let gradients = loss.clone().backward();
        let vectors = [rows, columns].map(|it| it.grad(&gradients).unwrap().into_data());
        let numbers = [scale, bias].map(|it| it.grad(&gradients).unwrap().into_data());
        let best = [contrast.best_columns, contrast.best_rows].map(Tensor::into_data);
        let results = [loss.into_data()].into_iter().chain(best).chain(vectors);
        results
            .chain(numbers)
            .map(|data| data.iter::<f64>().collect())
            .collect()
    }

    fn check(shape: [usize; 2], numbers: [f64; 2], classes: i64) {
        let expected = on_cpu(|| evaluate(dense, DType::F64, shape, numbers, classes));
        // Elsewhere than on the CPU the loss is the composed one.
        let tolerance = if is_flex(&device()) { 2e-6 } else { 1e-5 };
        let ways: [(Function, DType, f64); 3] = [
            (composed, DType::F64, 1e-11),
            (composed, DType::F32, 1e-5),
            (sigmoid_loss, DType::F32, tolerance),
        ];
        // Drivers in software compute wrong logarithms in float64.
        let can = |way: &(Function, DType, f64)| way.1 == DType::F32 || is_flex(&device());
        for (way, dtype, tolerance) in ways.into_iter().filter(can) {
            let actual = evaluate(way, dtype, shape, numbers, classes);
            for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
                for (actual, expected) in actual.iter().zip(expected) {
                    let error = (actual - expected).abs();
                    assert!(
                        error <= tolerance * largest.max(0.1),
                        "{index} of {shape:?} {numbers:?} {dtype:?}: {actual}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn values_and_gradients_are_those_of_the_whole_matrix() {
        on_each_device(|| {
            for shape in [[1, 3], [37, 20], [130, 8]] {
                for (numbers, classes) in [([7.0, -3.0], 1_000), ([10.0, -10.0], 9)] {
                    check(shape, numbers, classes);
                }
            }
        });
    }

    /// Three strips of rows, and two chunks of columns.
    #[test]
    fn several_strips_are_one_matrix() {
        check([1_100, 8], [5.0, -7.0], 800);
    }

    #[test]
    fn each_kernel_computes_the_loss() {
        with_each_kernel(|| check([70, 12], [7.0, -3.0], 50));
    }

    /// Logits of ±10,000: pairs that are far on the right side cost nothing, others their distance.
    #[test]
    fn logits_of_any_size_do_not_overflow() {
        let device = Device::flex();
        let rows = Tensor::<2>::from_floats([[1.0, 0.0], [-1.0, 0.0]], &device);
        let [scale, bias] = [1e4, 0.0].map(|number| Tensor::<1>::from_floats([number], &device));
        for function in [sigmoid_loss as Function, composed] {
            let loss = |columns: Tensor<2>| {
                let classes = Tensor::arange(0..2, &device);
                let (scale, bias) = (scale.clone(), bias.clone());
                function(rows.clone(), columns, scale, bias, classes)
                    .loss
                    .into_scalar::<f32>()
            };
            assert_eq!(loss(rows.clone()), 0.0);
            assert_eq!(loss(rows.clone().neg()), 2e4);
        }
    }
}
