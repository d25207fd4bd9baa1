//! Projection heads, g_v and g_u of the paper.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::linear::apply_linear;

/// Configuration of a [`ProjectionHead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectionHeadConfig {
    /// Width of the encoder's features, and of the hidden layer.
    pub d_input: usize,
    /// Width of the shared space.
    pub d_embedding: usize,
}

impl ProjectionHeadConfig {
    /// Largest width of the space; published ones have 128 to 2,048 dimensions.
    pub const MAX_EMBEDDING: usize = 65_536;

    /// Creates a configuration from the encoder's width to that of the shared space.
    pub fn new(d_input: usize, d_embedding: usize) -> Self {
        Self {
            d_input,
            d_embedding,
        }
    }

    /// Checks the width of the shared space.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] naming the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        match self.d_embedding {
            1..=Self::MAX_EMBEDDING => Ok(()),
            found => Err(ModelError::OutOfRange {
                key: "d_embedding",
                found: found.to_string(),
                expected: "1 to 65,536",
            }),
        }
    }

    /// Counts the parameters without building the head.
    pub fn parameters(&self) -> u64 {
        let [input, output] = [self.d_input, self.d_embedding].map(|width| width as u64);
        (input + 1) * input + (input + 1) * output
    }

    /// Initializes weights and biases as `torch.nn.Linear` does, U(±1/√fan_in).
    pub fn init(&self, device: &Device) -> ProjectionHead {
        ProjectionHead {
            linear1: LinearConfig::new(self.d_input, self.d_input).init(device),
            linear2: LinearConfig::new(self.d_input, self.d_embedding).init(device),
        }
    }
}

/// Maps an encoder's features into the shared space, `W2 ReLU(W1 h)` with biases
/// (Zhang et al. 2022, Section 2.2).
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::ProjectionHeadConfig;
///
/// let device = Device::flex();
/// let head = ProjectionHeadConfig::new(8, 4).init(&device);
/// let embedding = head.forward(Tensor::ones([2, 8], &device));
/// assert_eq!(embedding.dims(), [2, 4]);
/// ```
#[derive(Module, Debug)]
pub struct ProjectionHead {
    /// W1, as wide as the encoder.
    pub linear1: Linear,
    /// W2, into the shared space.
    pub linear2: Linear,
}

impl ProjectionHead {
    /// Projects features; the result is not normalized.
    ///
    /// # Shapes
    ///
    /// - features: `[batch, d_model]`
    /// - output: `[batch, d_embedding]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        apply_linear(&self.linear2, relu(apply_linear(&self.linear1, features)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn weights_and_biases_start_uniform_within_the_inverse_root_of_the_fan_in() {
        let device = Device::flex();
        device.seed(1);
        let head = ProjectionHeadConfig::new(256, 64).init(&device);
        for (values, count) in [
            (head.linear2.weight.val().into_data(), 256 * 64),
            (head.linear2.bias.as_ref().unwrap().val().into_data(), 64),
        ] {
            let largest = values.iter::<f32>().map(f32::abs).fold(0.0, f32::max);
            // The largest of n uniform draws falls short of the bound by about bound/n.
            assert!(largest <= 1.0 / 16.0 && largest > (1.0 - 8.0 / count as f32) / 16.0);
        }
    }

    #[test]
    fn hidden_units_pass_a_relu() {
        let device = Device::flex();
        let head = ProjectionHeadConfig::new(4, 3).init(&device);
        let features = Tensor::<2>::from_floats([[0.3, -1.0, 2.0, 0.1]], &device);
        let hidden = head.linear1.forward(features.clone()).clamp_min(0.0);
        let expected = head.linear2.forward(hidden);
        // Burn adds the bias first, this crate last.
        let tolerance = Tolerance::absolute(1e-6);
        let actual = head.forward(features).into_data();
        actual.assert_approx_eq::<f32>(&expected.into_data(), tolerance);
    }
}
