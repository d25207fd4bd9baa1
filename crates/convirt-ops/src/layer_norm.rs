//! Layer normalization, by itself and after a residual sum.

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use crate::composition::{Composition, column_sums, compose, in_parts, row};
use crate::dropout::{self, TokenDropout, check_probability};
use crate::storage::from_storage;

/// Normalizes each vector ([Ba et al. 2016](https://arxiv.org/abs/1607.06450), Section 3):
/// γ·(x − μ)/√(σ² + ε) + β with the biased σ².
///
/// # Shapes
///
/// - input, output: `[..., d_model]`
/// - gamma, beta: `[d_model]`
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::layer_norm;
///
/// let device = Device::flex();
/// let input = Tensor::<2>::from_floats([[1.0, 3.0]], &device);
/// let output = layer_norm(input, Tensor::ones([2], &device), Tensor::zeros([2], &device), 0.0);
/// assert_eq!(output.into_data(), [[-1.0f32, 1.0]].into());
/// ```
pub fn layer_norm<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    check_width(&input, [&gamma, &beta]);
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) && crate::flex::float32_here(&gamma) {
        return crate::flex::layer_norm(input, [gamma, beta], epsilon);
    }
    composed(input, gamma, beta, epsilon)
}

/// The end of a residual sublayer ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762),
/// Sections 3.1 and 5.4): the [`layer_norm`] of [`token_dropout`](crate::token_dropout)(input) +
/// residual.
///
/// # Shapes
///
/// - input, residual, output: `[..., d_model]`, or as [`TokenDropout::lengths`] says
/// - gamma, beta: `[d_model]`
///
/// # Panics
///
/// When the shapes do not fit, or the dropout's probability is not at least 0 and below 1.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{TokenDropout, add_layer_norm};
///
/// let device = Device::flex();
/// let input = Tensor::<2>::from_floats([[1.0, 1.0]], &device);
/// let residual = Tensor::<2>::from_floats([[0.0, 2.0]], &device);
/// let parameters = [Tensor::ones([2], &device), Tensor::zeros([2], &device)];
/// let output = add_layer_norm(input, residual, parameters, 0.0, TokenDropout::default());
/// assert_eq!(output.into_data(), [[-1.0f32, 1.0]].into());
/// ```
pub fn add_layer_norm<const D: usize>(
    input: Tensor<D>,
    residual: Tensor<D>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
    dropout: TokenDropout,
) -> Tensor<D> {
    check_width(&input, [&gamma, &beta]);
    check_probability(dropout.probability);
    assert_eq!(residual.dims(), input.dims(), "shape of the residual");
    let residual = residual.cast(input.dtype());
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) && crate::flex::float32_here(&gamma) {
        return crate::flex::add_layer_norm(input, residual, [gamma, beta], epsilon, dropout);
    }
    let sum = dropout::composed(input, dropout) + residual;
    composed(sum, gamma, beta, epsilon)
}

fn check_width<const D: usize>(input: &Tensor<D>, vectors: [&Tensor<1>; 2]) {
    for vector in vectors {
        assert_eq!(
            vector.dims(),
            [input.dims()[D - 1]],
            "a vector for the input"
        );
    }
}

/// Normalizes by Burn's own operations.
fn composed<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let shape = input.dims();
    let rows = shape[..D - 1].iter().product();
    if rows == 0 {
        return input;
    }
    let inputs = [
        in_parts(input, rows).into_dispatch(),
        row(gamma).into_dispatch(),
        row(beta).into_dispatch(),
    ];
    let output: Tensor<3> = compose(LayerNorm { epsilon }, inputs).0;
    output.reshape(shape)
}

/// The normalization of the rows of a matrix [`in_parts`].
#[derive(Debug)]
struct LayerNorm {
    epsilon: f64,
}

#[derive(Clone, Debug)]
struct Saved {
    input: Tensor<3>,
    gamma: Tensor<3>,
    mean: Tensor<3>,
    inverse_deviation: Tensor<3>,
}

/// Inputs: the matrix, and γ and β as rows.
impl Composition<3> for LayerNorm {
    type Saved = Saved;

    fn forward(&self, inputs: [DispatchTensor; 3]) -> (DispatchTensor, Saved) {
        let [input, gamma, beta] = inputs.map(Tensor::<3>::from_dispatch);
        let x = from_storage(input.clone());
        let mean = x.clone().mean_dim(2);
        let centred = x - mean.clone();
        let variance = centred.clone().square().mean_dim(2);
        let inverse_deviation = variance.add_scalar(self.epsilon).sqrt().recip();
        let output = centred * inverse_deviation.clone() * gamma.clone() + beta;
        let output = output.cast(input.dtype()).into_dispatch();
        let saved = Saved {
            input,
            gamma,
            mean,
            inverse_deviation,
        };
        (output, saved)
    }

    /// With x̂ = (x − μ)/√(σ² + ε) and g the output's gradient, which is that of γ·x̂ + β:
    /// dγ = Σg·x̂ and dβ = Σg over the rows, and in each row, as μ and σ² depend on x,
    /// dx = (g·γ − mean(g·γ) − x̂·mean(g·γ·x̂))/√(σ² + ε).
    fn backward(
        self,
        saved: Saved,
        gradient: DispatchTensor,
        needs_gradient: [bool; 3],
    ) -> [Option<DispatchTensor>; 3] {
        let gradient = Tensor::<3>::from_dispatch(gradient);
        let dtype = gradient.dtype();
        let gradient = from_storage(gradient);
        let normal = (from_storage(saved.input) - saved.mean) * saved.inverse_deviation.clone();
        let of_input = || {
            let scaled = gradient.clone() * saved.gamma;
            let of_mean = scaled.clone().mean_dim(2);
            let of_variance = (scaled.clone() * normal.clone()).mean_dim(2);
            let centred = scaled - of_mean - normal.clone() * of_variance;
            (centred * saved.inverse_deviation).cast(dtype)
        };
        let of_gamma = || column_sums(gradient.clone() * normal.clone());
        let of_beta = || column_sums(gradient.clone());
        [
            needs_gradient[0].then(of_input),
            needs_gradient[1].then(of_gamma),
            needs_gradient[2].then(of_beta),
        ]
        .map(|gradient| gradient.map(Tensor::into_dispatch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, on_each_device, random, seeded, values};
    use burn::tensor::{DType, Device};

    const EPSILON: f64 = 1e-5;

    /// The output, then the gradients of the sum, γ and β, in float64.
    fn reference(width: usize, [sum, gamma, beta, gradient]: [&[f64]; 4]) -> [Vec<f64>; 4] {
        let mut expected = [vec![], vec![], vec![0.0; width], vec![0.0; width]];
        for (row, gradient) in sum.chunks(width).zip(gradient.chunks(width)) {
            let average =
                |value: &dyn Fn(usize) -> f64| (0..width).map(value).sum::<f64>() / width as f64;
            let mean = average(&|c| row[c]);
            let deviation = (average(&|c| (row[c] - mean).powi(2)) + EPSILON).sqrt();
            let normal = |c: usize| (row[c] - mean) / deviation;
            let scaled = |c: usize| gradient[c] * gamma[c];
            let mean_gradient = average(&scaled);
            let projection = average(&|c| scaled(c) * normal(c));
            for c in 0..width {
                expected[0].push(normal(c) * gamma[c] + beta[c]);
                expected[1].push((scaled(c) - mean_gradient - normal(c) * projection) / deviation);
                expected[2][c] += gradient[c] * normal(c);
                expected[3][c] += gradient[c];
            }
        }
        expected
    }

    fn float64_values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
        tensor.clone().into_data().iter().collect()
    }

    /// The inputs, and the gradient of the output.
    struct Case {
        input: Tensor<3>,
        residual: Tensor<3>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        gradient: Tensor<3>,
    }

    impl Case {
        fn new(shape: [usize; 3]) -> Self {
            let device = device().autodiff();
            Self {
                input: (random(shape, 1, &device) + 0.5).detach().require_grad(),
                residual: random(shape, 2, &device).require_grad(),
                gamma: random([shape[2]], 3, &device).require_grad(),
                beta: random([shape[2]], 4, &device).require_grad(),
                gradient: random(shape, 5, &device),
            }
        }

        fn vectors(&self) -> [Tensor<1>; 2] {
            [self.gamma.clone(), self.beta.clone()]
        }

        /// The output, then the gradients of input, γ, β and, if it has one, the residual.
        fn run(&self, output: Tensor<3>) -> Vec<Vec<f32>> {
            let gradients = (output.clone() * self.gradient.clone()).sum().backward();
            let mut results = vec![
                values(&output),
                values(&self.input.grad(&gradients).unwrap()),
                values(&self.gamma.grad(&gradients).unwrap()),
                values(&self.beta.grad(&gradients).unwrap()),
            ];
            results.extend(self.residual.grad(&gradients).map(|g| values(&g)));
            results
        }

        fn expected(&self, sum: &[f64]) -> Vec<Vec<f64>> {
            let [gamma, beta] = self.vectors().map(|v| float64_values(&v));
            let gradient = float64_values(&self.gradient);
            reference(gamma.len(), [sum, &gamma, &beta, &gradient]).into()
        }
    }

    const SHAPES: [[usize; 3]; 6] = [
        [1, 1, 1],
        [1, 1, 5],
        [2, 3, 16],
        [3, 1, 33],
        [1, 70, 7],
        [2, 100, 50],
    ];

    /// Rounding, which a nearly constant row enlarges by up to 1/√ε.
    const TOLERANCE: f64 = 2e-5;

    #[test]
    fn an_empty_batch_stays_empty() {
        let device = Device::flex();
        for function in [layer_norm, composed] {
            let vector = Tensor::ones([4], &device);
            let input = Tensor::<3>::zeros([0, 3, 4], &device);
            assert_eq!(
                function(input, vector.clone(), vector, 1e-5).dims(),
                [0, 3, 4]
            );
        }
    }

    #[test]
    fn values_and_gradients_follow_the_formula() {
        on_each_device(|| {
            for shape in SHAPES {
                let case = Case::new(shape);
                let expected = case.expected(&float64_values(&case.input));
                let [gamma, beta] = case.vectors();
                for (level, actual) in with_each_kernel(|| {
                    let [gamma, beta] = case.vectors();
                    case.run(layer_norm(case.input.clone(), gamma, beta, EPSILON))
                }) {
                    for (actual, expected) in actual.iter().zip(&expected) {
                        assert_close(actual, expected, TOLERANCE, &format!("{level:?} {shape:?}"));
                    }
                }
                let actual = case.run(composed(case.input.clone(), gamma, beta, EPSILON));
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_close(actual, expected, TOLERANCE, &format!("composed {shape:?}"));
                }
            }
        });
    }

    #[test]
    fn residual_is_added_and_gets_the_gradient_of_the_sum() {
        on_each_device(|| {
            for shape in SHAPES {
                let case = Case::new(shape);
                let sum: Vec<f64> = float64_values(&case.input)
                    .iter()
                    .zip(float64_values(&case.residual))
                    .map(|(a, b)| a + b)
                    .collect();
                let mut expected = case.expected(&sum);
                expected.push(expected[1].clone());
                for (level, actual) in with_each_kernel(|| {
                    let (input, residual) = (case.input.clone(), case.residual.clone());
                    case.run(add_layer_norm(
                        input,
                        residual,
                        case.vectors(),
                        EPSILON,
                        TokenDropout::default(),
                    ))
                }) {
                    assert_eq!(actual.len(), 5);
                    for (actual, expected) in actual.iter().zip(&expected) {
                        assert_close(actual, expected, TOLERANCE, &format!("{level:?} {shape:?}"));
                    }
                }
            }
        });
    }

    /// The input's gradient is zero exactly where the mask dropped an element.
    #[test]
    fn dropped_elements_do_not_count_and_get_no_gradient() {
        on_each_device(|| {
            let probability = 0.4;
            for shape in [[2, 3, 50], [1, 130, 33]] {
                let case = Case::new(shape);
                for (level, actual) in with_each_kernel(|| {
                    let (input, residual) = (case.input.clone(), case.residual.clone());
                    let vectors = case.vectors();
                    let output = seeded(3, || {
                        add_layer_norm(input, residual, vectors, EPSILON, probability.into())
                    });
                    case.run(output)
                }) {
                    let context = format!("{level:?} {shape:?}");
                    let factors: Vec<f64> = actual[1]
                        .iter()
                        .map(|g| f64::from(u8::from(*g != 0.0)) / (1.0 - probability))
                        .collect();
                    let dropped = factors.iter().filter(|factor| **factor == 0.0).count();
                    let fraction = dropped as f64 / factors.len() as f64;
                    // At least 300 draws: standard error at most 0.03.
                    assert!(
                        (fraction - probability).abs() < 0.12,
                        "{context}: {fraction}"
                    );
                    let sums = float64_values(&case.input)
                        .into_iter()
                        .zip(float64_values(&case.residual));
                    let sum: Vec<f64> = sums.zip(&factors).map(|((a, b), f)| a * f + b).collect();
                    let mut expected = case.expected(&sum);
                    expected.push(expected[1].clone());
                    let pairs = expected[1].iter_mut().zip(&factors);
                    pairs.for_each(|(gradient, factor)| *gradient *= factor);
                    for (actual, expected) in actual.iter().zip(&expected) {
                        assert_close(actual, expected, TOLERANCE, &context);
                    }
                }
            }
        });
    }

    #[test]
    fn values_without_autodiff_are_the_same_and_inputs_do_not_change() {
        let case = Case::new([2, 3, 33]);
        let [input, residual] = [&case.input, &case.residual].map(|t| t.clone().inner());
        let before = [values(&input), values(&residual)];
        let vectors = case.vectors().map(Tensor::inner);
        let plain = add_layer_norm(
            input.clone(),
            residual.clone(),
            vectors,
            EPSILON,
            TokenDropout::default(),
        );
        assert_eq!([values(&input), values(&residual)], before);
        let vectors = case.vectors();
        let (input, residual) = (case.input.clone(), case.residual.clone());
        let recorded = add_layer_norm(input, residual, vectors, EPSILON, TokenDropout::default());
        assert_eq!(values(&plain), values(&recorded));
    }

    #[test]
    fn float64_is_computed_by_burns_operations() {
        let case = Case::new([2, 3, 33]);
        let double = |tensor: &Tensor<3>| tensor.clone().inner().cast(DType::F64);
        let vectors = case.vectors().map(|v| v.inner().cast(DType::F64));
        let [input, residual] = [&case.input, &case.residual].map(double);
        let actual = add_layer_norm(input, residual, vectors, EPSILON, TokenDropout::default());
        assert_eq!(actual.dtype(), DType::F64);
        let sum = float64_values(&(case.input.clone() + case.residual.clone()));
        let actual: Vec<f32> = actual.into_data().iter().collect();
        assert_close(&actual, &case.expected(&sum)[0], TOLERANCE, "composed");
    }

    /// Σx² − (Σx)²/n would lose a variance of 1/3 beside a square of 7·10⁷. The tolerance is
    /// float32's spacing of 2⁻¹⁰ at the mean.
    #[test]
    fn variance_beside_a_large_mean_is_kept() {
        on_each_device(|| {
            let device = device();
            let input = random([2, 768], 1, &device) + 8192.0;
            let (gamma, beta) = (Tensor::ones([768], &device), Tensor::zeros([768], &device));
            let exact = float64_values(&input);
            let zeros = vec![0.0; exact.len()];
            let expected = reference(768, [&exact, &[1.0; 768], &[0.0; 768], &zeros]);
            let actual = values(&layer_norm(input, gamma, beta, EPSILON));
            assert_close(&actual, &expected[0], 1e-3, "beside 8192");
        });
    }

    #[test]
    #[should_panic(expected = "shape of the residual")]
    fn residual_of_another_shape_panics() {
        let case = Case::new([1, 2, 3]);
        let residual = case.residual.clone().swap_dims(0, 1);
        add_layer_norm(
            case.input.clone(),
            residual,
            case.vectors(),
            EPSILON,
            TokenDropout::default(),
        );
    }
}
