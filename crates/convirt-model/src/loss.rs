//! The bidirectional contrastive loss.

mod config;
mod ntxent;

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor};
use convirt_ops::{ContrastiveOptions, contrastive_loss, from_storage, sigmoid_loss};

pub use config::{ContrastiveLossConfig, LossKind};
pub use ntxent::{NtXentLoss, NtXentLossConfig, NtXentOutput};

use crate::association::associate;

/// Vectors shorter than this are divided by it instead of by their length, as
/// `torch.nn.functional.normalize` does.
const MIN_LENGTH: f64 = 1e-12;

/// Largest learnable 1/τ (Radford et al. 2021, Section 2.5).
const MAX_SCALE: f64 = 100.0;

/// The bidirectional contrastive loss (Zhang et al. 2022, Eq. 2–4).
///
/// With S the matrix of similarities, q_ij = 1/τ · S_ij, and P the target distribution,
///
/// L = −1/N Σ_i Σ_j P_ij ( λ log softmax_j(q_ij) + (1−λ) log softmax_j(q_ji) ).
///
/// The paper's P is the identity: pair i is the positive of row i and all others are negatives.
/// With [`multi_positive`](ContrastiveLossConfig::multi_positive), P_ij is 1/n_i for each of the
/// n_i pairs j whose text equals that of i, and 0 elsewhere; the minimum of the loss is then the
/// mean of ln n_i. If no text occurs twice, both are the same.
///
/// With [`LossKind::Sigmoid`] it is the loss of SigLIP ([Zhai et al.
/// 2023](https://arxiv.org/abs/2303.15343)),
///
/// L = −1/N Σ_i Σ_j log σ( z_ij (q_ij + b) ),
///
/// where z_ij is 1 for the pairs with P_ij above 0, −1 for all others, and the bias b is trained.
///
/// The matrix is computed tile by tile, so that memory grows linearly with the batch.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::ContrastiveLossConfig;
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let device = Device::flex();
/// let loss = ContrastiveLossConfig::default().init(&device)?;
/// let images = Tensor::<2>::eye(3, &device);
/// let matching = loss.forward(images.clone(), images.clone(), None);
/// let shuffled = loss.forward(images.clone(), images.flip([0]), None);
/// assert!(matching.loss.into_scalar::<f32>() < shuffled.loss.into_scalar::<f32>());
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ContrastiveLoss {
    /// log(1/τ), `[1]`, where τ is trained.
    pub log_scale: Option<Param<Tensor<1>>>,
    /// b, `[1]`, of the sigmoid loss.
    pub bias: Option<Param<Tensor<1>>>,
    temperature: f64,
    image_to_text_weight: f64,
    use_cosine_similarity: bool,
    multi_positive: bool,
}

/// Output of [`ContrastiveLoss::forward`].
#[derive(Clone, Debug)]
pub struct ContrastiveOutput {
    /// Mean over the batch, `[1]`, in nats. Chance level is [`LossKind::chance`].
    pub loss: Tensor<1>,
    /// For each image the number of the most similar text, `[batch]`.
    pub nearest_texts: Tensor<1, Int>,
    /// For each text the number of the most similar image, `[batch]`.
    pub nearest_images: Tensor<1, Int>,
}

impl ContrastiveLoss {
    fn new(config: &ContrastiveLossConfig, device: &Device) -> Self {
        let log_scale = -config.temperature.ln();
        let (bias, is_sigmoid) = (config.bias, config.kind == LossKind::Sigmoid);
        Self {
            log_scale: (config.learnable_temperature).then(|| number(log_scale, device)),
            bias: is_sigmoid.then(|| number(bias, device)),
            temperature: config.temperature,
            image_to_text_weight: config.image_to_text_weight,
            use_cosine_similarity: config.use_cosine_similarity,
            multi_positive: config.multi_positive,
        }
    }

    /// Computes the loss of a batch of matching embeddings; pair `i` is the positive of row `i`.
    ///
    /// Embeddings in half precision are widened to 32 bits first.
    ///
    /// # Shapes
    ///
    /// - images, texts: `[batch, d_embedding]`, not normalized
    /// - text_ids: `[batch]`, equal numbers for equal texts; without it no two texts are equal
    ///
    /// # Panics
    ///
    /// When the shapes differ.
    pub fn forward(
        &self,
        images: Tensor<2>,
        texts: Tensor<2>,
        text_ids: Option<Tensor<1, Int>>,
    ) -> ContrastiveOutput {
        assert_eq!(images.dims(), texts.dims(), "one text for each image");
        let [batch, _] = images.dims();
        let [images, texts] = [images, texts].map(|vectors| self.vectors(vectors));
        let device = images.device().without_autodiff();
        let text_ids = text_ids.filter(|_| self.multi_positive);
        let text_ids = text_ids.unwrap_or_else(|| Tensor::arange(0..batch as i64, &device));
        let scale = self.scale(&images);
        let contrast = match &self.bias {
            Some(bias) => sigmoid_loss(images, texts, scale, from_storage(bias.val()), text_ids),
            None => {
                let options = ContrastiveOptions {
                    row_weight: self.image_to_text_weight,
                    excludes_diagonal: false,
                };
                contrastive_loss(images, texts, scale, text_ids, options)
            }
        };
        ContrastiveOutput {
            loss: contrast.loss,
            nearest_texts: contrast.best_columns,
            nearest_images: contrast.best_rows,
        }
    }

    /// Computes all similarities divided by τ, without a bias.
    ///
    /// # Shapes
    ///
    /// - images: `[images, d_embedding]`, not normalized
    /// - texts: `[texts, d_embedding]`, not normalized
    /// - output: `[images, texts]`
    pub fn logits(&self, images: Tensor<2>, texts: Tensor<2>) -> Tensor<2> {
        let [images, texts] = [images, texts].map(|vectors| self.vectors(vectors));
        let scale = self.scale(&images);
        images.matmul(texts.transpose()) * scale.unsqueeze::<2>()
    }

    /// Returns τ; reads it from the device where it is trained.
    pub fn temperature(&self) -> f64 {
        match &self.log_scale {
            Some(log_scale) => 1.0 / scale(log_scale.val()).into_scalar::<f64>(),
            None => self.temperature,
        }
    }

    /// Limits a trained 1/τ to at most 100, as CLIP does after each step of its optimizer.
    ///
    /// [`forward`](Self::forward) applies the limit, too; this keeps the parameter itself within
    /// it.
    pub fn clamp_temperature(mut self) -> Self {
        self.log_scale = self.log_scale.map(|log_scale| {
            log_scale.map(|value| {
                let clamped = value.clone().without_autodiff().clamp_max(MAX_SCALE.ln());
                associate(clamped, &value).set_require_grad(value.is_require_grad())
            })
        });
        self
    }

    /// The vectors whose dot products are the similarities.
    fn vectors(&self, embeddings: Tensor<2>) -> Tensor<2> {
        let embeddings = from_storage(embeddings);
        if self.use_cosine_similarity {
            normalize(embeddings)
        } else {
            embeddings
        }
    }

    /// 1/τ, `[1]`, for the similarities of these vectors.
    fn scale(&self, vectors: &Tensor<2>) -> Tensor<1> {
        match &self.log_scale {
            Some(log_scale) => scale(from_storage(log_scale.val())),
            None => fixed_scale(self.temperature, vectors),
        }
    }
}

/// A parameter of one number.
fn number(number: f64, device: &Device) -> Param<Tensor<1>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            Tensor::<1>::full([1], number, device).set_require_grad(require_grad)
        },
        device.clone(),
        true,
        [1].into(),
    )
}

/// 1/τ, `[1]`, on the device and of the type of these vectors.
fn fixed_scale(temperature: f64, vectors: &Tensor<2>) -> Tensor<1> {
    let device = vectors.device().without_autodiff();
    Tensor::from_data([1.0 / temperature], (&device, vectors.dtype()))
}

/// 1/τ, limited to [`MAX_SCALE`]. The gradient passes through the limit, so that a value beyond it
/// can return.
fn scale(log_scale: Tensor<1>) -> Tensor<1> {
    let excess = log_scale
        .clone()
        .detach()
        .sub_scalar(MAX_SCALE.ln())
        .clamp_min(0.0);
    (log_scale - excess).exp()
}

/// `x / max(‖x‖, 1e-12)` for each row; the length's gradient is zero where 1e-12 is larger.
fn normalize(vectors: Tensor<2>) -> Tensor<2> {
    let squares = vectors.clone().square().sum_dim(1);
    vectors / squares.clamp_min(MIN_LENGTH * MIN_LENGTH).sqrt()
}

#[cfg(test)]
mod tests {
    mod parity;

    use super::*;
    use burn::tensor::{DType, Distribution, TensorData, Tolerance};

    fn vectors(batch: usize, seed: u64, device: &Device) -> Tensor<2> {
        device.seed(seed);
        Tensor::<2>::random([batch, 5], Distribution::Normal(0.0, 1.0), device).cast(DType::F64)
    }

    fn value(output: &ContrastiveOutput) -> f64 {
        output.loss.clone().into_scalar()
    }

    /// Compares with central differences of the loss in 64 bits, whose truncation error is of the
    /// order of the step squared, 1e-8.
    fn assert_gradient_is_the_central_difference(
        config: ContrastiveLossConfig,
        text_ids: Option<[i64; 6]>,
    ) {
        let device = Device::flex().autodiff();
        let loss = config.init(&device).unwrap();
        let text_ids = text_ids.map(|ids| Tensor::<1, Int>::from_data(ids, &device));
        let score = |images: Tensor<2>, texts| loss.forward(images, texts, text_ids.clone());
        let images = vectors(6, 1, &device).require_grad();
        let texts = vectors(6, 2, &device);
        let gradients = score(images.clone(), texts.clone()).loss.backward();
        let gradient = images.grad(&gradients).unwrap().into_data();
        let step = 1e-4;
        for (index, expected) in gradient.iter::<f64>().enumerate() {
            let [above, below] = [step, -step].map(|shift| {
                let mut shifted = images.clone().into_data().iter::<f64>().collect::<Vec<_>>();
                shifted[index] += shift;
                let shifted =
                    Tensor::from_data(TensorData::new(shifted, [6, 5]), (&device, DType::F64));
                value(&score(shifted, texts.clone()))
            });
            let difference = (above - below) / (2.0 * step);
            assert!(
                (difference - expected).abs() < 1e-6,
                "{difference} {expected}"
            );
        }
    }

    #[test]
    fn gradient_with_several_positives_is_the_central_difference() {
        let config = ContrastiveLossConfig::default();
        assert_gradient_is_the_central_difference(config, Some([4, 7, 4, 9, 4, 7]));
    }

    #[test]
    fn gradient_of_the_dot_product_is_the_central_difference() {
        let config = ContrastiveLossConfig {
            use_cosine_similarity: false,
            temperature: 1.0,
            ..Default::default()
        };
        assert_gradient_is_the_central_difference(config, None);
    }

    #[test]
    fn gradient_of_the_temperature_is_the_central_difference() {
        let device = Device::flex().autodiff();
        let images = vectors(6, 1, &device).cast(DType::F32);
        let texts = vectors(6, 2, &device).cast(DType::F32);
        let config = ContrastiveLossConfig {
            learnable_temperature: true,
            temperature: 0.5,
            ..Default::default()
        };
        let loss = config.init(&device).unwrap();
        let output = loss.forward(images.clone(), texts.clone(), None);
        let gradients = output.loss.backward();
        let log_scale = loss.log_scale.as_ref().unwrap().val();
        let gradient = log_scale.grad(&gradients).unwrap().into_scalar::<f64>();
        let [above, below] = [1e-3f64, -1e-3].map(|shift| {
            let fixed = ContrastiveLossConfig {
                learnable_temperature: false,
                temperature: 0.5 * (-shift).exp(),
                ..config
            };
            let loss = fixed.init(&device).unwrap();
            let [images, texts] = [&images, &texts].map(|t| t.clone().cast(DType::F64));
            value(&loss.forward(images, texts, None))
        });
        let difference = (above - below) / 2e-3;
        assert!(
            (difference - gradient).abs() < 1e-5,
            "{difference} {gradient}"
        );
    }

    /// By hand: orthogonal unit vectors, τ = 0.5 and b = −1, so that logits are 1 for a pair and −1
    /// for others. Equal texts make the pair (0, 1) a positive with the logit −1.
    #[test]
    fn sigmoid_loss_classifies_each_pair() {
        let device = Device::flex().autodiff();
        let config = ContrastiveLossConfig {
            kind: LossKind::Sigmoid,
            temperature: 0.5,
            bias: -1.0,
            ..Default::default()
        };
        let loss = config.init(&device).unwrap();
        let axes = Tensor::<2>::eye(3, &device);
        let output = loss.forward(axes.clone(), axes.clone(), None);
        let term = |logit: f64| (-logit).exp().ln_1p();
        assert!((value(&output) - 3.0 * term(1.0)).abs() < 1e-6);
        let gradients = output.loss.backward();
        let bias = loss.bias.as_ref().unwrap().val();
        // 1/N Σ σ(logit) − z: three times σ(1) − 1 and six times σ(−1), which is the same.
        let expected = (6.0 - 3.0) / 3.0 * (1.0 / (1.0 + 1f64.exp()));
        let gradient = bias.grad(&gradients).unwrap().into_scalar::<f64>();
        assert!((gradient - expected).abs() < 1e-6, "{gradient}");

        let ids = Tensor::from_data([8i64, 8, 3], &device);
        let output = loss.forward(axes.clone(), axes, Some(ids));
        let expected = (7.0 * term(1.0) + 2.0 * term(-1.0)) / 3.0;
        assert!((value(&output) - expected).abs() < 1e-6);
    }

    #[test]
    fn scale_is_limited_to_a_hundred_and_can_return() {
        let device = Device::flex().autodiff();
        let config = ContrastiveLossConfig {
            learnable_temperature: true,
            ..Default::default()
        };
        let mut loss = config.init(&device).unwrap();
        loss.log_scale = loss
            .log_scale
            .map(|s| s.map(|s| Tensor::full([1], 9.0, &s.device()).require_grad()));
        assert!((loss.temperature() - 0.01).abs() < 1e-6);
        let output = loss.forward(
            vectors(4, 1, &device).cast(DType::F32),
            vectors(4, 2, &device).cast(DType::F32),
            None,
        );
        let gradients = output.loss.backward();
        let log_scale = loss.log_scale.as_ref().unwrap().val();
        assert!(
            log_scale
                .grad(&gradients)
                .unwrap()
                .into_scalar::<f32>()
                .abs()
                > 0.0
        );
        let log_scale = loss.clamp_temperature().log_scale.unwrap();
        assert!((log_scale.val().into_scalar::<f64>() - 100f64.ln()).abs() < 1e-6);
        assert!(log_scale.is_require_grad());
    }

    /// By hand: three orthogonal unit vectors, τ = 1, texts 0 and 1 equal. A row's softmax is
    /// e/(e+2) on the diagonal and 1/(e+2) elsewhere; rows 0 and 1 have two targets of 1/2.
    #[test]
    fn equal_texts_have_equal_targets() {
        let device = Device::flex();
        let config = ContrastiveLossConfig {
            temperature: 1.0,
            ..Default::default()
        };
        let axes = Tensor::<2>::eye(3, &device).mul_scalar(5.0);
        let ids = Tensor::from_data([8i64, 8, 3], &device);
        let output =
            config
                .init(&device)
                .unwrap()
                .forward(axes.clone(), axes.clone(), Some(ids.clone()));
        let log_sum = (1f64.exp() + 2.0).ln();
        let expected = (2.0 * (log_sum - 0.5) + (log_sum - 1.0)) / 3.0;
        assert!((value(&output) - expected).abs() < 1e-6);

        let paper = ContrastiveLossConfig {
            multi_positive: false,
            ..config
        };
        let output = paper
            .init(&device)
            .unwrap()
            .forward(axes.clone(), axes, Some(ids));
        assert!((value(&output) - (log_sum - 1.0)).abs() < 1e-6);
    }

    #[test]
    fn different_texts_give_the_papers_loss() {
        let device = Device::flex();
        let loss = ContrastiveLossConfig::default().init(&device).unwrap();
        let (images, texts) = (vectors(6, 1, &device), vectors(6, 2, &device));
        let ids = Tensor::from_data([5i64, 3, 1, 0, 2, 4], &device);
        let with_ids = loss.forward(images.clone(), texts.clone(), Some(ids));
        let without = loss.forward(images, texts, None);
        assert_eq!(with_ids.loss.into_data(), without.loss.into_data());
    }

    #[test]
    fn logits_are_cosines_over_the_temperature() {
        let device = Device::flex();
        let loss = ContrastiveLossConfig::default().init(&device).unwrap();
        let images = Tensor::from_floats([[3.0, 4.0], [1.0, 0.0]], &device);
        let texts = Tensor::from_floats([[0.0, 2.0], [5.0, 0.0]], &device);
        let logits = loss.logits(images, texts).into_data();
        let expected = TensorData::from([[8.0f32, 6.0], [0.0, 10.0]]);
        logits.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn half_precision_is_computed_in_float32() {
        let device = Device::flex();
        let loss = ContrastiveLossConfig::default().init(&device).unwrap();
        let half = vectors(6, 1, &device).cast(DType::F16);
        let full = half.clone().cast(DType::F32);
        let from_half = loss.forward(half.clone(), half, None);
        let from_full = loss.forward(full.clone(), full, None);
        assert_eq!(from_half.loss.into_data(), from_full.loss.into_data());
    }
}
