//! ResNet image encoders, f_v of the paper.
//!
//! Parameter paths are torchvision's (`conv1.weight`, `layer1.0.bn2.gamma`, …) except that
//! `downsample.0` is `downsample.conv` and `downsample.1` is `downsample.bn`; the classifier `fc`
//! is left out.

mod block;

use std::fmt;
use std::str::FromStr;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use convirt_ops::{Epilogue, Window, from_storage, max_pool2d, to_storage};
use serde::{Deserialize, Serialize};

pub use block::{Downsample, ResidualBlock};

use crate::ModelError;
use crate::batch_norm::BatchNorm;
use block::{BlockKind, convolution};

/// Depth of a ResNet, with torchvision's names.
///
/// # Examples
///
/// ```
/// use convirt_model::{ResNetConfig, ResNetDepth};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let depth: ResNetDepth = "resnet50".parse()?;
/// assert_eq!(ResNetConfig::new(depth).d_model(), 2048);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResNetDepth {
    /// `resnet18`, 11.2 million parameters, `d_model` 512.
    ResNet18,
    /// `resnet34`, 21.3 million parameters, `d_model` 512.
    ResNet34,
    /// `resnet50`, 23.5 million parameters, `d_model` 2048; the paper's.
    ResNet50,
    /// `resnet101`, 42.5 million parameters, `d_model` 2048.
    ResNet101,
    /// `resnet152`, 58.1 million parameters, `d_model` 2048.
    ResNet152,
}

impl ResNetDepth {
    /// Every depth, shallowest first.
    pub const ALL: [Self; 5] = [
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::ResNet101,
        Self::ResNet152,
    ];

    /// Returns torchvision's name, `resnet18` to `resnet152`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
            Self::ResNet152 => "resnet152",
        }
    }

    fn kind(self) -> BlockKind {
        match self {
            Self::ResNet18 | Self::ResNet34 => BlockKind::Basic,
            Self::ResNet50 | Self::ResNet101 | Self::ResNet152 => BlockKind::Bottleneck,
        }
    }

    /// Blocks in each of the four stages (He et al. 2016, Table 1).
    fn blocks(self) -> [usize; 4] {
        match self {
            Self::ResNet18 => [2, 2, 2, 2],
            Self::ResNet34 | Self::ResNet50 => [3, 4, 6, 3],
            Self::ResNet101 => [3, 4, 23, 3],
            Self::ResNet152 => [3, 8, 36, 3],
        }
    }
}

impl fmt::Display for ResNetDepth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ResNetDepth {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        Self::ALL
            .into_iter()
            .find(|depth| depth.name() == name)
            .ok_or_else(|| ModelError::Unsupported {
                key: "image encoder",
                found: name.to_string(),
                supported: "resnet18, resnet34, resnet50, resnet101, resnet152",
            })
    }
}

/// Configuration of a [`ResNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResNetConfig {
    /// Number of layers.
    pub depth: ResNetDepth,
}

impl ResNetConfig {
    /// Creates a configuration of the given depth.
    pub fn new(depth: ResNetDepth) -> Self {
        Self { depth }
    }

    /// Returns the width of the encoder's output, 512 or 2048.
    pub fn d_model(&self) -> usize {
        512 * self.depth.kind().expansion()
    }

    /// Counts the parameters without building the network.
    pub fn parameters(&self) -> u64 {
        let kind = self.depth.kind();
        let (mut count, mut d_input) = (3 * 64 * 7 * 7 + 2 * 64, 64);
        for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
            for position in 0..self.depth.blocks()[stage] {
                let is_strided = position == 0 && stage > 0;
                count += kind.parameters(d_input, width, is_strided);
                d_input = width * kind.expansion();
            }
        }
        count as u64
    }

    /// Counts the elements of the convolutions' output feature maps, for an image of `side` ×
    /// `side` pixels.
    pub fn feature_map_elements(&self, side: usize) -> u64 {
        let kind = self.depth.kind();
        let pixels = |side: usize| (side as u64).saturating_mul(side as u64);
        // The stem's convolution and its pooling each halve the side.
        let stem = side.div_ceil(2);
        let mut side = stem.div_ceil(2);
        let (mut count, mut d_input) = (pixels(stem).saturating_mul(64), 64);
        for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
            for position in 0..self.depth.blocks()[stage] {
                let before = side;
                if position == 0 && stage > 0 {
                    side = side.div_ceil(2);
                }
                let pixels = [before, side].map(pixels);
                let elements = kind.feature_map_elements(d_input, width, pixels);
                count = count.saturating_add(elements);
                d_input = width * kind.expansion();
            }
        }
        count
    }

    /// Initializes the network as torchvision does: Kaiming normal (fan out) convolutions, batch
    /// norms at γ = 1, β = 0.
    pub fn init(&self, device: &Device) -> ResNet {
        let kind = self.depth.kind();
        let mut d_input = 64;
        let mut stage = |index: usize, width: usize| -> Vec<ResidualBlock> {
            (0..self.depth.blocks()[index])
                .map(|position| {
                    let stride = if position == 0 && index > 0 { 2 } else { 1 };
                    let block = ResidualBlock::new(kind, d_input, width, stride, device);
                    d_input = width * kind.expansion();
                    block
                })
                .collect()
        };
        ResNet {
            conv1: convolution([3, 64], 7, 2, device),
            bn1: BatchNorm::new(64, device),
            layer1: stage(0, 64),
            layer2: stage(1, 128),
            layer3: stage(2, 256),
            layer4: stage(3, 512),
            d_model: self.d_model(),
        }
    }
}

/// Residual network ([He et al. 2016](https://arxiv.org/abs/1512.03385)) without a classifier, in
/// the v1.5 form: the bottleneck's stride is in its 3×3 convolution.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::{ResNetConfig, ResNetDepth};
///
/// let device = Device::flex();
/// let encoder = ResNetConfig::new(ResNetDepth::ResNet18).init(&device);
/// let features = encoder.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(features.dims(), [2, 512]);
/// ```
#[derive(Module, Debug)]
pub struct ResNet {
    /// The stem's 7×7 convolution, stride 2.
    pub conv1: Conv2d,
    /// The stem's normalization.
    pub bn1: BatchNorm,
    /// Stage at 1/4 of the image's size.
    pub layer1: Vec<ResidualBlock>,
    /// Stage at 1/8.
    pub layer2: Vec<ResidualBlock>,
    /// Stage at 1/16.
    pub layer3: Vec<ResidualBlock>,
    /// Stage at 1/32.
    pub layer4: Vec<ResidualBlock>,
    d_model: usize,
}

impl ResNet {
    /// Returns the width of the output, 512 or 2048.
    pub fn d_model(&self) -> usize {
        self.d_model
    }

    /// Encodes each image as one vector, the average of its [feature map](Self::forward_map).
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, d_model]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let feature_map = from_storage(self.forward_channels_last(images));
        let [batch, height, width, d_model] = feature_map.dims();
        feature_map
            .reshape([batch, height * width, d_model])
            .mean_dim(1)
            .reshape([batch, d_model])
    }

    /// Encodes each image as a feature map, before any pooling.
    ///
    /// Heights and widths that are not a multiple of 32 are rounded up.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, d_model, height / 32, width / 32]`
    pub fn forward_map(&self, images: Tensor<4>) -> Tensor<4> {
        from_storage(self.forward_channels_last(images)).permute([0, 3, 1, 2])
    }

    /// `[batch, 3, height, width]` → `[batch, height / 32, width / 32, d_model]`.
    fn forward_channels_last(&self, images: Tensor<4>) -> Tensor<4> {
        let images = self.stem(images);
        self.blocks()
            .fold(images, |feature_map, block| block.forward(feature_map))
    }

    /// Returns the batch norms whose running statistics change in training, in the order of their
    /// calls.
    pub fn updated_batch_norms(&self) -> Vec<&BatchNorm> {
        let of_blocks = self.blocks().flat_map(ResidualBlock::batch_norms);
        let all = std::iter::once(&self.bn1).chain(of_blocks);
        all.filter(|norm| norm.is_updated()).collect()
    }

    fn blocks(&self) -> impl Iterator<Item = &ResidualBlock> {
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        stages.into_iter().flatten()
    }

    /// `[batch, 3, height, width]` → `[batch, height / 4, width / 4, 64]`.
    fn stem(&self, images: Tensor<4>) -> Tensor<4> {
        let images = to_storage(images).permute([0, 2, 3, 1]);
        let feature_map = self.bn1.forward_conv(&self.conv1, images, Epilogue::Relu);
        let window = Window {
            stride: [2, 2],
            padding: [1, 1],
            dilation: [1, 1],
        };
        max_pool2d(feature_map, [3, 3], window)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod parity;

    use super::*;

    /// torchvision's `sum(p.numel())` minus the classifier `fc` with its 1000·(d_model + 1)
    /// parameters, plus two statistics for each channel of a batch norm.
    #[test]
    fn every_depth_has_as_many_parameters_as_torchvision() {
        let published = [
            (ResNetDepth::ResNet18, 11_689_512, 4_800),
            (ResNetDepth::ResNet34, 21_797_672, 8_512),
            (ResNetDepth::ResNet50, 25_557_032, 26_560),
            (ResNetDepth::ResNet101, 44_549_160, 52_672),
            (ResNetDepth::ResNet152, 60_192_808, 75_712),
        ];
        for (depth, with_classifier, channels) in published {
            let config = ResNetConfig::new(depth);
            let network = config.init(&Device::flex());
            let classifier = 1000 * (config.d_model() + 1);
            assert_eq!(config.parameters(), (with_classifier - classifier) as u64);
            assert_eq!(
                network.num_params(),
                with_classifier - classifier + 2 * channels,
                "{depth}"
            );
        }
    }

    #[test]
    fn feature_map_is_a_thirty_second_of_the_image_rounded_up() {
        let device = Device::flex();
        let network = ResNetConfig::new(ResNetDepth::ResNet18).init(&device);
        let images = Tensor::zeros([1, 3, 64, 70], &device);
        assert_eq!(network.forward_map(images).dims(), [1, 512, 2, 3]);
    }

    /// Rounding changes the sign of some ReLU inputs, and so the direction of gradients. For
    /// torchvision under PyTorch's autocast, the cosines of the gradients are 0.93, 0.95 and 0.97
    /// here, and that of the features is 0.9997.
    #[test]
    fn features_and_gradients_of_bfloat16_have_the_directions_of_float32() {
        use burn::optim::GradientsParams;
        use burn::tensor::Distribution;
        use convirt_ops::{Precision, autocast};

        let device = Device::flex().autodiff();
        let network = ResNetConfig::new(ResNetDepth::ResNet18).init(&device);
        let images = Tensor::random([8, 3, 64, 64], Distribution::Normal(0.0, 1.0), &device);
        let direction = Tensor::random([8, 512], Distribution::Normal(0.0, 1.0), &device);
        let precisions = [Precision::Float32, Precision::BFloat16];
        let evaluated = precisions.map(|precision| {
            let images = images.clone().inner();
            autocast(precision, || network.valid().forward(images)).flatten(0, 1)
        });
        let runs = precisions.map(|precision| {
            let features = autocast(precision, || network.forward(images.clone()));
            let projection = (features.clone() * direction.clone()).sum();
            let gradients = GradientsParams::from_grads(projection.backward(), &network);
            let weights = [
                &network.conv1,
                &network.layer2[1].conv2,
                &network.layer4[1].conv1,
            ];
            let gradient = |conv: &Conv2d| gradients.get::<4>(conv.weight.id).unwrap();
            let mut directions = weights.map(|conv| gradient(conv).flatten(0, 3)).to_vec();
            directions.push(features.inner().flatten(0, 1));
            directions
        });
        let pairs = runs[0].iter().cloned().zip(runs[1].iter().cloned());
        let [exact, rounded] = evaluated;
        for (index, (exact, rounded)) in pairs.chain([(exact, rounded)]).enumerate() {
            let dot =
                |a: &Tensor<1>, b: &Tensor<1>| (a.clone() * b.clone()).sum().into_scalar::<f32>();
            let cosine =
                dot(&exact, &rounded) / (dot(&exact, &exact) * dot(&rounded, &rounded)).sqrt();
            let min_cosine = if index < 3 { 0.9 } else { 0.9995 };
            assert!(cosine > min_cosine && cosine < 1.0, "{index}: {cosine}");
        }
    }

    #[test]
    fn names_are_read_and_written_as_torchvision_spells_them() {
        for depth in ResNetDepth::ALL {
            assert_eq!(depth.name().parse::<ResNetDepth>().unwrap(), depth);
            let json = serde_json::to_string(&depth).unwrap();
            assert_eq!(json, format!("\"{depth}\""));
            assert_eq!(serde_json::from_str::<ResNetDepth>(&json).unwrap(), depth);
        }
        let error = "resnet51".parse::<ResNetDepth>().unwrap_err();
        assert!(error.to_string().contains("resnet51"), "{error}");
    }

    #[test]
    fn convolutions_start_kaiming_normal_over_the_fan_out() {
        let device = Device::flex();
        device.seed(7);
        let network = ResNetConfig::new(ResNetDepth::ResNet18).init(&device);
        let weight = network.layer3[0].conv2.weight.val();
        let expected = (2.0f32 / (256.0 * 9.0)).sqrt();
        let actual = weight.var(0).mean().sqrt().into_scalar::<f32>();
        assert!(
            (actual / expected - 1.0).abs() < 0.01,
            "{actual} {expected}"
        );
    }

    /// Sums of `output.numel()` over the `Conv2d` layers of timm's models, by forward hooks.
    #[test]
    fn feature_maps_are_as_large_as_timms() {
        for (depth, elements_224, elements_33) in [
            (ResNetDepth::ResNet18, 2_483_712, 76_992),
            (ResNetDepth::ResNet34, 3_738_112, 122_688),
            (ResNetDepth::ResNet50, 11_113_984, 373_184),
            (ResNetDepth::ResNet101, 16_231_936, 608_192),
            (ResNetDepth::ResNet152, 22_554_112, 864_704),
        ] {
            let config = ResNetConfig::new(depth);
            let elements = [224, 33].map(|side| config.feature_map_elements(side));
            assert_eq!(elements, [elements_224, elements_33], "{depth}");
        }
    }
}
