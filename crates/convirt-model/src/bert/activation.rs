//! The activation function of the feed-forward network.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu_approximate, relu};
use convirt_ops::gelu;

/// Activation function between the two layers of the feed-forward network.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::Activation;
///
/// let output = Activation::Relu.forward(Tensor::<1>::from_floats([-1.0, 2.0], &Device::flex()));
/// assert_eq!(output.into_data(), [0.0f32, 2.0].into());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `gelu`: x·Φ(x) by the error function ([Hendrycks & Gimpel
    /// 2016](https://arxiv.org/abs/1606.08415)).
    Gelu,
    /// `gelu_new` or `gelu_pytorch_tanh`: the approximation of GELU by tanh.
    GeluTanh,
    /// `relu`.
    Relu,
}

impl Activation {
    /// Returns Hugging Face's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_new",
            Self::Relu => "relu",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }

    /// Applies the function to each element.
    ///
    /// # Shapes
    ///
    /// - input, output: any
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(input),
            Self::GeluTanh => gelu_approximate(input),
            Self::Relu => relu(input),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    /// `torch.nn.functional.gelu(x)` and its derivative, in float64, at -2, -0.5, 0, 1, 3:
    /// x·Φ(x) and Φ(x) + x·φ(x).
    #[test]
    fn gelu_and_its_gradient_are_exact() {
        let x = [-2.0f32, -0.5, 0.0, 1.0, 3.0];
        let value = [
            -0.045_500_264,
            -0.154_268_77,
            0.0,
            0.841_344_8,
            2.995_950_3f32,
        ];
        let derivative = [-0.085_231_8, 0.132_504_9, 0.5, 1.083_315_5, 1.011_945_7f32];
        let device = Device::flex().autodiff();
        let input = Tensor::<1>::from_floats(x, &device).require_grad();
        let composed = Activation::Gelu.forward(input.clone());
        let gradients = composed.clone().sum().backward();
        let fused = Activation::Gelu.forward(Tensor::<1>::from_floats(x, &Device::flex()));
        let tolerance = Tolerance::absolute(1e-6);
        for (actual, expected) in [
            (composed, value),
            (fused, value),
            (input.grad(&gradients).unwrap(), derivative),
        ] {
            actual
                .into_data()
                .assert_approx_eq::<f32>(&expected.into(), tolerance);
        }
    }

    #[test]
    fn names_read_back() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            assert_eq!(Activation::from_name(activation.name()), Some(activation));
        }
        assert_eq!(Activation::from_name("swish"), None);
    }
}
