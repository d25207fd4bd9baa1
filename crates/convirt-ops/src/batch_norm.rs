//! Batch normalization with the ReLU or residual sum that follows it in a residual network.

mod composed;

use burn::tensor::Tensor;

use crate::{Window, conv2d};

/// The operation that follows a batch normalization in a residual network.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "short-lived")]
pub enum Epilogue {
    /// Nothing.
    Nothing,
    /// max(0, x).
    Relu,
    /// max(0, x + shortcut); the shortcut is a feature map of the same shape.
    AddRelu(Tensor<4>),
}

impl Epilogue {
    /// The same with the shortcut cast to a feature map's type.
    fn cast_like(self, map: &Tensor<4>) -> Self {
        match self {
            Self::AddRelu(shortcut) => Self::AddRelu(shortcut.cast(map.dtype())),
            other => other,
        }
    }

    pub(crate) fn has_relu(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// A feature map normalized by the statistics of its batch.
#[derive(Clone, Debug)]
pub struct BatchNormalized {
    /// `[batch, height, width, channels]`.
    pub output: Tensor<4>,
    /// The batch's means, `[channels]`, without gradients.
    pub mean: Tensor<1>,
    /// The batch's biased variances, `[channels]`, without gradients.
    pub variance: Tensor<1>,
}

/// Normalizes each channel by the statistics of the batch
/// ([Ioffe & Szegedy 2015](https://arxiv.org/abs/1502.03167), Algorithm 1):
/// γ·(x − μ)/√(σ² + ε) + β with the biased σ², followed by an [`Epilogue`].
///
/// # Shapes
///
/// - input: `[batch, height, width, channels]`
/// - gamma, beta: `[channels]`
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Epilogue, batch_norm_train};
///
/// let device = Device::flex();
/// // One image of 1 × 2 pixels with one channel.
/// let input = Tensor::from_floats([[[[5.0], [1.0]]]], &device);
/// let [gamma, beta] = [Tensor::ones([1], &device), Tensor::zeros([1], &device)];
/// let normalized = batch_norm_train(input, gamma, beta, 0.0, Epilogue::Nothing);
/// assert_eq!(normalized.output.into_data(), [[[[1.0f32], [-1.0]]]].into());
/// assert_eq!(normalized.variance.into_data(), [4.0f32].into());
/// ```
pub fn batch_norm_train(
    input: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    epilogue: Epilogue,
) -> BatchNormalized {
    check(&input, [&gamma, &beta], &epilogue);
    let epilogue = epilogue.cast_like(&input);
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::batch_norm_train(input, gamma, beta, epsilon, epilogue);
    }
    composed::batch_norm_train(input, [gamma, beta], epsilon, epilogue)
}

/// The statistics and parameters of a normalization; each vector is `[channels]`.
#[derive(Clone, Debug)]
pub struct Normalization {
    /// Scale γ.
    pub gamma: Tensor<1>,
    /// Offset β.
    pub beta: Tensor<1>,
    /// Means μ; they get no gradient.
    pub mean: Tensor<1>,
    /// Variances σ²; they get no gradient.
    pub variance: Tensor<1>,
    /// ε, added to the variances.
    pub epsilon: f64,
}

/// Normalizes each channel by given statistics, followed by an [`Epilogue`].
///
/// # Shapes
///
/// - input, output: `[batch, height, width, channels]`
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Epilogue, Normalization, batch_norm};
///
/// let device = Device::flex();
/// let normalization = Normalization {
///     gamma: Tensor::from_floats([2.0], &device),
///     beta: Tensor::from_floats([1.0], &device),
///     mean: Tensor::from_floats([3.0], &device),
///     variance: Tensor::from_floats([4.0], &device),
///     epsilon: 0.0,
/// };
/// // One image of 1 × 2 pixels with one channel.
/// let input = Tensor::from_floats([[[[5.0], [1.0]]]], &device);
/// let output = batch_norm(input, normalization, Epilogue::Relu);
/// assert_eq!(output.into_data(), [[[[3.0f32], [0.0]]]].into());
/// ```
pub fn batch_norm(input: Tensor<4>, normalization: Normalization, epilogue: Epilogue) -> Tensor<4> {
    check(
        &input,
        [&normalization.gamma, &normalization.beta],
        &epilogue,
    );
    check(
        &input,
        [&normalization.mean, &normalization.variance],
        &epilogue,
    );
    let normalization = Normalization {
        mean: normalization.mean.without_autodiff(),
        variance: normalization.variance.without_autodiff(),
        ..normalization
    };
    let epilogue = epilogue.cast_like(&input);
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::batch_norm(input, normalization, epilogue);
    }
    composed::batch_norm(input, normalization, epilogue)
}

/// Computes a [`conv2d`](crate::conv2d) and its [`batch_norm`] by given statistics. On the CPU and
/// without autodiff this is one pass over memory.
///
/// # Shapes
///
/// Those of the two operations.
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Epilogue, Normalization, Window, conv2d_batch_norm};
///
/// let device = Device::flex();
/// let normalization = Normalization {
///     gamma: Tensor::ones([16], &device),
///     beta: Tensor::zeros([16], &device),
///     mean: Tensor::zeros([16], &device),
///     variance: Tensor::ones([16], &device),
///     epsilon: 1e-5,
/// };
/// let images = Tensor::ones([2, 8, 8, 3], &device);
/// let weight = Tensor::ones([16, 3, 1, 1], &device);
/// let output =
///     conv2d_batch_norm(images, weight, Window::UNIT, 1, normalization, Epilogue::Relu);
/// assert_eq!(output.dims(), [2, 8, 8, 16]);
/// ```
pub fn conv2d_batch_norm(
    input: Tensor<4>,
    weight: Tensor<4>,
    window: Window,
    groups: usize,
    normalization: Normalization,
    epilogue: Epilogue,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    {
        let is_plain = |map: &Tensor<4>| crate::flex::runs_here(map) && !map.is_autodiff();
        let is_plain = is_plain(&input)
            && crate::flex::float32_here(&weight)
            && !weight.is_autodiff()
            && !matches!(&epilogue, Epilogue::AddRelu(shortcut) if !is_plain(shortcut))
            && !normalization.gamma.is_autodiff()
            && !normalization.beta.is_autodiff();
        if is_plain {
            let output = window.output(&input, &weight, groups);
            check_shape(
                output,
                [&normalization.gamma, &normalization.beta],
                &epilogue,
            );
            check_shape(
                output,
                [&normalization.mean, &normalization.variance],
                &epilogue,
            );
            let epilogue = epilogue.cast_like(&input);
            return crate::flex::conv2d_batch_norm(
                [input, weight],
                window,
                groups,
                normalization,
                epilogue,
            );
        }
    }
    batch_norm(
        conv2d(input, weight, window, groups),
        normalization,
        epilogue,
    )
}

fn check(input: &Tensor<4>, vectors: [&Tensor<1>; 2], epilogue: &Epilogue) {
    check_shape(input.dims(), vectors, epilogue);
}

fn check_shape(shape: [usize; 4], vectors: [&Tensor<1>; 2], epilogue: &Epilogue) {
    for vector in vectors {
        assert_eq!(vector.dims(), [shape[3]], "a vector for {shape:?}");
    }
    if let Epilogue::AddRelu(shortcut) = epilogue {
        assert_eq!(shortcut.dims(), shape, "shape of the shortcut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, on_each_device, random};
    use crate::{Precision, autocast};
    use burn::tensor::Device;

    const EPSILON: f64 = 1e-5;

    /// Which statistics, and which epilogue.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        by_batch: bool,
        relu: bool,
        shortcut: bool,
    }

    impl Case {
        fn all() -> impl Iterator<Item = Self> {
            [true, false].into_iter().flat_map(|by_batch| {
                [(false, false), (true, false), (true, true)].map(|(relu, shortcut)| Self {
                    by_batch,
                    relu,
                    shortcut,
                })
            })
        }
    }

    /// The output, then the gradients of input, γ, β and shortcut, in float64.
    fn reference(case: Case, inputs: &[Vec<f32>; 6], gradient: &[f32]) -> Vec<Vec<f64>> {
        let float64 = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let [input, gamma, beta, mean, variance, shortcut] = inputs.each_ref().map(|v| float64(v));
        let gradient = float64(gradient);
        let channels = gamma.len();
        let rows = input.len() / channels;
        let mut expected = vec![vec![0.0; input.len()]; 2];
        expected.extend([
            vec![0.0; channels],
            vec![0.0; channels],
            vec![0.0; input.len()],
        ]);
        for channel in 0..channels {
            let at = |row: usize| row * channels + channel;
            let average =
                |value: &dyn Fn(usize) -> f64| (0..rows).map(value).sum::<f64>() / rows as f64;
            let (mean, variance) = if case.by_batch {
                let mean = average(&|row| input[at(row)]);
                (mean, average(&|row| (input[at(row)] - mean).powi(2)))
            } else {
                (mean[channel], variance[channel])
            };
            let deviation = (variance + EPSILON).sqrt();
            let normal = |row: usize| (input[at(row)] - mean) / deviation;
            let value_and_gradient = |row: usize| {
                let value = gamma[channel] * normal(row) + beta[channel];
                let value = value + f64::from(u8::from(case.shortcut)) * shortcut[at(row)];
                let passes = !case.relu || value > 0.0;
                (
                    if passes { value } else { 0.0 },
                    if passes { gradient[at(row)] } else { 0.0 },
                )
            };
            let mean_gradient = average(&|row| value_and_gradient(row).1);
            let projection = average(&|row| value_and_gradient(row).1 * normal(row));
            for row in 0..rows {
                let (value, passed) = value_and_gradient(row);
                let centred = if case.by_batch {
                    passed - mean_gradient - normal(row) * projection
                } else {
                    passed
                };
                expected[0][at(row)] = value;
                expected[1][at(row)] = gamma[channel] / deviation * centred;
                expected[2][channel] += passed * normal(row);
                expected[3][channel] += passed;
                expected[4][at(row)] = passed;
            }
        }
        if !case.shortcut {
            expected.pop();
        }
        expected
    }

    fn check_case(fused: bool, case: Case, [batch, height, width, channels]: [usize; 4]) {
        let device = device().autodiff();
        let shape = [batch, height, width, channels];
        let input = (random(shape, 1, &device) + 0.5).require_grad();
        let gamma = (random([channels], 2, &device) + 0.1).require_grad();
        let beta = random([channels], 3, &device).require_grad();
        let mean = random([channels], 4, &device);
        let variance = random([channels], 5, &device).square();
        let shortcut = random(shape, 6, &device).require_grad();
        let epilogue = match case {
            Case { shortcut: true, .. } => Epilogue::AddRelu(shortcut.clone()),
            Case { relu: true, .. } => Epilogue::Relu,
            _ => Epilogue::Nothing,
        };
        let (g, b) = (gamma.clone(), beta.clone());
        let normalization = Normalization {
            gamma: gamma.clone(),
            beta: beta.clone(),
            mean: mean.clone().without_autodiff(),
            variance: variance.clone().without_autodiff(),
            epsilon: EPSILON,
        };
        let output = match (case.by_batch, fused) {
            (true, true) => batch_norm_train(input.clone(), g, b, EPSILON, epilogue).output,
            (true, false) => {
                composed::batch_norm_train(input.clone(), [g, b], EPSILON, epilogue).output
            }
            (false, true) => batch_norm(input.clone(), normalization, epilogue),
            (false, false) => composed::batch_norm(input.clone(), normalization, epilogue),
        };
        let gradient = random(shape, 7, &device);
        let gradients = (output.clone() * gradient.clone()).sum().backward();
        let mut actual = vec![
            output.into_data(),
            input.grad(&gradients).unwrap().into_data(),
        ];
        actual.extend([&gamma, &beta].map(|v| v.grad(&gradients).unwrap().into_data()));
        actual.extend(
            case.shortcut
                .then(|| shortcut.grad(&gradients).unwrap().into_data()),
        );
        let values = |data: burn::tensor::TensorData| data.try_to_vec::<f32>().unwrap();
        let inputs = [
            values(input.into_data()),
            values(gamma.into_data()),
            values(beta.into_data()),
            values(mean.into_data()),
            values(variance.into_data()),
            values(shortcut.into_data()),
        ];
        let expected = reference(case, &inputs, &values(gradient.into_data()));
        for (actual, expected) in actual.into_iter().zip(expected) {
            assert_close(
                &values(actual),
                &expected,
                1e-5,
                &format!("{case:?} {shape:?} {fused}"),
            );
        }
    }

    #[test]
    fn values_and_gradients_follow_the_formula() {
        on_each_device(|| {
            for case in Case::all() {
                for shape in [[2, 3, 5, 3], [1, 2, 2, 33], [3, 1, 1, 1], [2, 30, 31, 20]] {
                    with_each_kernel(|| check_case(true, case, shape));
                    check_case(false, case, shape);
                }
            }
        });
    }

    #[test]
    fn statistics_are_those_of_the_batch() {
        on_each_device(|| {
            let device = device();
            let input = random([2, 9, 7, 5], 1, &device);
            let (gamma, beta) = (Tensor::ones([5], &device), Tensor::zeros([5], &device));
            let actual = batch_norm_train(input.clone(), gamma, beta, EPSILON, Epilogue::Nothing);
            let rows = input.reshape([2 * 9 * 7, 5]);
            let (mean, variance) = (rows.clone().mean_dim(0), rows.var_bias(0));
            for (actual, expected) in [(actual.mean, mean), (actual.variance, variance)] {
                let expected: Vec<f64> = expected.into_data().iter().collect();
                let actual: Vec<f32> = actual.into_data().iter().collect();
                assert_close(&actual, &expected, 1e-6, "statistics");
            }
        });
    }

    /// Σx² − (Σx)²/n would lose a variance of 1/3 beside a square of 7·10⁷. The values themselves
    /// are multiples of 2⁻¹⁰, float32's spacing at the mean.
    #[test]
    fn variance_beside_a_large_mean_is_kept() {
        on_each_device(|| {
            let device = device();
            let input = random([4, 16, 16, 2], 1, &device) + 8192.0;
            let (gamma, beta) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
            let values: Vec<f64> = input.clone().into_data().iter().collect();
            let actual = batch_norm_train(input, gamma, beta, EPSILON, Epilogue::Nothing);
            let variances: Vec<f32> = actual.variance.into_data().iter().collect();
            for (channel, actual) in variances.iter().enumerate() {
                let column: Vec<f64> = values.iter().skip(channel).step_by(2).copied().collect();
                let mean = column.iter().sum::<f64>() / column.len() as f64;
                let exact =
                    column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / column.len() as f64;
                assert!(
                    (f64::from(*actual) / exact - 1.0).abs() < 1e-5,
                    "{actual} {exact}"
                );
            }
        });
    }

    #[test]
    fn relu_does_not_hide_nan() {
        let device = Device::flex();
        let input = Tensor::from_data([[[[f32::NAN]]]], &device);
        let output = batch_norm(input, normalization(1, &device), Epilogue::Relu);
        assert!(output.into_scalar::<f32>().is_nan());
    }

    fn normalization(channels: usize, device: &Device) -> Normalization {
        Normalization {
            gamma: random([channels], 2, device) + 0.1,
            beta: random([channels], 3, device),
            mean: random([channels], 4, device),
            variance: random([channels], 5, device).square(),
            epsilon: EPSILON,
        }
    }

    #[test]
    fn one_pass_gives_the_same_bits_as_convolution_and_normalization() {
        let device = Device::flex();
        let window = |stride, padding| Window {
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1, 1],
        };
        for (shape, weight, window, groups) in [
            ([2, 5, 7, 3], [4, 3, 1, 1], Window::UNIT, 1),
            ([3, 20, 19, 8], [6, 8, 3, 3], window(1, 1), 1),
            ([3, 20, 19, 8], [6, 4, 3, 3], window(2, 1), 2),
            ([2, 20, 19, 40], [70, 20, 1, 1], Window::UNIT, 2),
            ([2, 20, 19, 4], [5, 4, 1, 1], window(2, 0), 1),
        ] {
            let (input, weight) = (random(shape, 1, &device), random(weight, 6, &device));
            let normalization = normalization(weight.dims()[0], &device);
            let shortcut = random(window.output(&input, &weight, groups), 7, &device);
            for epilogue in [
                Epilogue::Nothing,
                Epilogue::Relu,
                Epilogue::AddRelu(shortcut),
            ] {
                let runs = with_each_kernel(|| {
                    [Precision::Float32, Precision::BFloat16].map(|precision| {
                        let (input, weight) = (input.clone(), weight.clone());
                        let (normalization, epilogue) = (normalization.clone(), epilogue.clone());
                        let outputs = autocast(precision, || {
                            let map = conv2d(input.clone(), weight.clone(), window, groups);
                            let two = batch_norm(map, normalization.clone(), epilogue.clone());
                            [
                                two,
                                conv2d_batch_norm(
                                    input,
                                    weight,
                                    window,
                                    groups,
                                    normalization,
                                    epilogue,
                                ),
                            ]
                        });
                        outputs.map(Tensor::into_data)
                    })
                });
                for (level, [two, one]) in runs.into_iter().flat_map(|(l, r)| r.map(|r| (l, r))) {
                    assert_eq!(two, one, "{shape:?} {level:?}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a vector for [1, 2, 2, 3]")]
    fn normalization_of_another_width_panics() {
        let device = Device::flex();
        let (input, weight) = (
            random([1, 2, 2, 2], 1, &device),
            random([3, 2, 1, 1], 2, &device),
        );
        let normalization = normalization(2, &device);
        conv2d_batch_norm(
            input,
            weight,
            Window::UNIT,
            1,
            normalization,
            Epilogue::Relu,
        );
    }
}
