//! Residual blocks and their convolutions.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use convirt_ops::{Epilogue, branch};

use crate::batch_norm::BatchNorm;

/// The two building blocks of He et al. 2016, Figure 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1, the last four times as wide.
    Bottleneck,
}

impl BlockKind {
    /// Output channels for each channel of the block's width.
    pub(super) fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }

    /// Counts the parameters of a block.
    pub(super) fn parameters(self, d_input: usize, width: usize, is_strided: bool) -> usize {
        let d_output = width * self.expansion();
        // Without bias, and each followed by a batch norm.
        let convolution =
            |d_in: usize, d_out: usize, size: usize| d_in * d_out * size * size + 2 * d_out;
        let residual = match self {
            Self::Basic => convolution(d_input, width, 3) + convolution(width, width, 3),
            Self::Bottleneck => {
                convolution(d_input, width, 1)
                    + convolution(width, width, 3)
                    + convolution(width, d_output, 1)
            }
        };
        if is_strided || d_input != d_output {
            residual + convolution(d_input, d_output, 1)
        } else {
            residual
        }
    }

    /// Counts the elements of the feature maps that a block's convolutions output, given the
    /// numbers of pixels of its input and its output.
    pub(super) fn feature_map_elements(
        self,
        d_input: usize,
        width: usize,
        pixels: [u64; 2],
    ) -> u64 {
        let [before, after] = pixels;
        let d_output = width * self.expansion();
        let elements = |pixels: u64, channels: usize| pixels.saturating_mul(channels as u64);
        let residual = match self {
            Self::Basic => 2 * elements(after, width),
            Self::Bottleneck => {
                elements(before, width) + elements(after, width) + elements(after, d_output)
            }
        };
        if before != after || d_input != d_output {
            residual + elements(after, d_output)
        } else {
            residual
        }
    }
}

/// A residual block. Only bottlenecks have `conv3` and `bn3`.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// 3×3 with the block's stride, or the bottleneck's first 1×1.
    pub conv1: Conv2d,
    /// Normalization after `conv1`.
    pub bn1: BatchNorm,
    /// 3×3; in a bottleneck it has the block's stride (v1.5).
    pub conv2: Conv2d,
    /// Normalization after `conv2`.
    pub bn2: BatchNorm,
    /// The bottleneck's widening 1×1.
    pub conv3: Option<Conv2d>,
    /// Normalization after `conv3`.
    pub bn3: Option<BatchNorm>,
    /// Brings the input to the output's shape where they differ.
    pub downsample: Option<Downsample>,
}

impl ResidualBlock {
    pub(super) fn new(
        kind: BlockKind,
        d_input: usize,
        width: usize,
        stride: usize,
        device: &Device,
    ) -> Self {
        let d_output = width * kind.expansion();
        let norm = |channels| BatchNorm::new(channels, device);
        let conv = |channels, size, stride| convolution(channels, size, stride, device);
        let (conv1, conv2, conv3) = match kind {
            BlockKind::Basic => (
                conv([d_input, width], 3, stride),
                conv([width, width], 3, 1),
                None,
            ),
            BlockKind::Bottleneck => (
                conv([d_input, width], 1, 1),
                conv([width, width], 3, stride),
                Some(conv([width, d_output], 1, 1)),
            ),
        };
        let downsample = (stride != 1 || d_input != d_output).then(|| Downsample {
            conv: conv([d_input, d_output], 1, stride),
            bn: norm(d_output),
        });
        Self {
            conv1,
            bn1: norm(width),
            conv2,
            bn2: norm(width),
            bn3: conv3.as_ref().map(|_| norm(d_output)),
            conv3,
            downsample,
        }
    }

    /// Applies `relu(residual(input) + shortcut(input))`.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, height, width, channels]`
    /// - output: `[batch, height / stride, width / stride, channels_out]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [input, shortcut] = branch(input);
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(shortcut),
            None => shortcut,
        };
        let hidden = self.bn1.forward_conv(&self.conv1, input, Epilogue::Relu);
        let Some((conv3, bn3)) = self.conv3.as_ref().zip(self.bn3.as_ref()) else {
            let epilogue = Epilogue::AddRelu(shortcut);
            return self.bn2.forward_conv(&self.conv2, hidden, epilogue);
        };
        let hidden = self.bn2.forward_conv(&self.conv2, hidden, Epilogue::Relu);
        bn3.forward_conv(conv3, hidden, Epilogue::AddRelu(shortcut))
    }

    /// The batch norms in the order of their calls.
    pub(super) fn batch_norms(&self) -> impl Iterator<Item = &BatchNorm> {
        let of_shortcut = self.downsample.iter().map(|it| &it.bn);
        of_shortcut.chain([&self.bn1, &self.bn2]).chain(&self.bn3)
    }
}

/// The shortcut of a block that changes the shape.
#[derive(Module, Debug)]
pub struct Downsample {
    /// 1×1 with the block's stride.
    pub conv: Conv2d,
    /// Normalization after it.
    pub bn: BatchNorm,
}

impl Downsample {
    /// Projects the block's input to its output's shape.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, height, width, channels]`
    /// - output: `[batch, height / stride, width / stride, channels_out]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.bn.forward_conv(&self.conv, input, Epilogue::Nothing)
    }
}

/// A square convolution without bias that keeps the size at stride 1, as
/// [`BatchNorm::forward_conv`] takes it.
pub(super) fn convolution(
    channels: [usize; 2],
    size: usize,
    stride: usize,
    device: &Device,
) -> Conv2d {
    let margin = size / 2;
    Conv2dConfig::new(channels, [size, size])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(margin, margin, margin, margin))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal {
            gain: 2f64.sqrt(),
            fan_out_only: true,
        })
        .init(device)
}
