//! The loss of SimCLR, over views of images only.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use convirt_ops::{ContrastiveOptions, contrastive_loss, from_storage};
use serde::{Deserialize, Serialize};

use super::config::check_temperature;
use super::{fixed_scale, normalize};
use crate::ModelError;

/// Configuration of an [`NtXentLoss`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NtXentLossConfig {
    /// τ, 0.0001 to 1,000; default 0.1, that of the baseline of Zhang et al. 2022.
    pub temperature: f64,
}

impl Default for NtXentLossConfig {
    fn default() -> Self {
        Self { temperature: 0.1 }
    }
}

impl NtXentLossConfig {
    /// Initializes the loss.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] for a temperature outside its range.
    pub fn init(&self) -> Result<NtXentLoss, ModelError> {
        self.validate()?;
        Ok(NtXentLoss {
            temperature: self.temperature,
        })
    }

    /// Checks the range of τ.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] naming the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_temperature(self.temperature)
    }
}

/// The normalized temperature-scaled cross-entropy of two views of each image
/// ([Chen et al. 2020](https://arxiv.org/abs/2002.05709), Eq. 1).
///
/// With s the cosine similarity and j(i) the other view of the image of view i,
///
/// L = −1/2N Σ_i log( exp(s_ij(i)/τ) / Σ_{k≠i} exp(s_ik/τ) ).
///
/// A batch of one image has no negatives: its loss is 0, and so is the gradient.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::NtXentLossConfig;
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let loss = NtXentLossConfig::default().init()?;
/// // Both views of each of two images.
/// let views = Tensor::<2>::eye(2, &Device::flex()).repeat_dim(0, 2);
/// assert!(loss.forward(views).loss.into_scalar::<f32>() < 0.01);
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct NtXentLoss {
    temperature: f64,
}

/// Output of [`NtXentLoss::forward`].
#[derive(Clone, Debug)]
pub struct NtXentOutput {
    /// Mean over all views, `[1]`, in nats. Chance level is ln(2 · batch − 1).
    pub loss: Tensor<1>,
    /// For each view the number of the most similar other view, `[2 * batch]`.
    pub nearest_views: Tensor<1, Int>,
}

impl NtXentLoss {
    /// Returns the temperature.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Computes the loss of two views of each image; rows `i` and `batch + i` are image `i`'s.
    ///
    /// Embeddings in half precision are widened to 32 bits first.
    ///
    /// # Shapes
    ///
    /// - views: `[2 * batch, d_embedding]`, not normalized
    ///
    /// # Panics
    ///
    /// When the number of views is odd or 0.
    pub fn forward(&self, views: Tensor<2>) -> NtXentOutput {
        let [count, _] = views.dims();
        assert!(
            count > 0 && count.is_multiple_of(2),
            "{count} views are not two of each image"
        );
        let views = normalize(from_storage(views));
        let device = views.device().without_autodiff();
        let images = Tensor::arange(0..count as i64 / 2, &device).repeat_dim(0, 2);
        let options = ContrastiveOptions {
            row_weight: 1.0,
            excludes_diagonal: true,
        };
        let scale = fixed_scale(self.temperature, &views);
        let contrast = contrastive_loss(views.clone(), views, scale, images, options);
        NtXentOutput {
            loss: contrast.loss,
            nearest_views: contrast.best_columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::tests::reference::{assert_close, json, number};

    /// PyTorch's own 32-bit error times this is the tolerance for the same computation in 32 bits.
    const FACTOR: f64 = 10.0;

    fn config(temperature: f64) -> NtXentLossConfig {
        NtXentLossConfig { temperature }
    }

    /// The views of the reference.
    fn views(batch: usize, dim: usize, device: &Device) -> Tensor<2> {
        let numbers = (0..2 * batch * dim).map(|i| ((37 * i + 11) % 101) as f64 / 50.0 - 1.0);
        let numbers: Vec<_> = numbers.map(|number| number as f32).collect();
        Tensor::from_data(TensorData::new(numbers, [2 * batch, dim]), device)
    }

    // `nt_xent.json` was computed by PyTorch 2.15 in 64 and in 32 bits:
    //
    //     views = torch.arange(2 * batch * dim, dtype=torch.float64)
    //     views = ((37 * views + 11) % 101 / 50 - 1).float().reshape(2 * batch, dim)
    //     z = F.normalize(views.double().requires_grad_())
    //     logits = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=bool), -torch.inf)
    //     loss = F.cross_entropy(logits, torch.arange(len(z)).roll(batch))
    //     loss.backward()
    #[test]
    fn loss_and_gradient_are_pytorchs() {
        let device = Device::flex().autodiff();
        let cases = json("nt_xent");
        let cases = cases["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 6);
        for case in cases {
            let [batch, dim] = ["/batch", "/dim"].map(|key| number(case, key) as usize);
            let temperature = number(case, "/temperature");
            let name = format!("{batch} images, temperature {temperature}");
            let views = views(batch, dim, &device).require_grad();
            let loss = config(temperature).init().unwrap();
            let loss = loss.forward(views.clone()).loss;

            let expected = number(case, "/loss_f64");
            // At least a unit in the last place of the logits, which are up to 1/τ.
            let rounding = f64::from(f32::EPSILON) / temperature;
            let tolerance = (FACTOR * (number(case, "/loss_f32") - expected).abs()).max(rounding);
            assert_close(
                &name,
                loss.clone().into_data(),
                &[expected].into(),
                tolerance,
            );

            let gradients = loss.backward();
            let gradient = views.grad(&gradients).unwrap().into_data();
            let expected = case["gradient_f64"].as_array().unwrap();
            let expected: Vec<_> = expected.iter().filter_map(|x| x.as_f64()).collect();
            let expected = TensorData::new(expected, [2 * batch, dim]);
            let tolerance = FACTOR * number(case, "/torch_f32_grad_err");
            assert_close(&name, gradient, &expected, tolerance);
        }
    }

    #[test]
    fn equal_views_have_the_logarithm_of_the_number_of_others() {
        let device = Device::flex();
        let same = Tensor::<2>::ones([12, 4], &device);
        let output = config(0.1).init().unwrap().forward(same);
        let loss: f64 = output.loss.into_scalar();
        assert!((loss - 11f64.ln()).abs() < 1e-6, "{loss}");
    }

    /// By hand: two images with equal views, orthogonal to each other, τ = 1. Of the three other
    /// views, one is equal and two are orthogonal.
    #[test]
    fn a_view_is_not_its_own_candidate() {
        let device = Device::flex();
        let views = Tensor::from_floats([[2.0, 0.0], [0.0, 3.0], [4.0, 0.0], [0.0, 5.0]], &device);
        let output = config(1.0).init().unwrap().forward(views);
        let loss: f64 = output.loss.into_scalar();
        assert!(
            (loss - ((1f64.exp() + 2.0).ln() - 1.0)).abs() < 1e-6,
            "{loss}"
        );
        assert_eq!(output.nearest_views.into_data(), [2, 3, 0, 1].into());
    }

    #[test]
    fn a_temperature_out_of_range_is_an_error() {
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = config(temperature).init().unwrap_err().to_string();
            assert!(error.contains("`temperature` is"), "{error}");
        }
    }
}
