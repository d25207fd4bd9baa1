//! Residual blocks and their convolutions.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, s};

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
}

/// A residual block; `conv3` and `bn3` are there in bottlenecks only.
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
    /// - input: `[batch, channels, height, width]`
    /// - output: `[batch, channels_out, height / stride, width / stride]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(input.clone()),
            None => input.clone(),
        };
        let map = relu(self.bn1.forward(convolve(&self.conv1, input)));
        let mut map = self.bn2.forward(convolve(&self.conv2, map));
        if let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) {
            map = bn3.forward(convolve(conv3, relu(map)));
        }
        relu(map + shortcut)
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
    /// - input: `[batch, channels, height, width]`
    /// - output: `[batch, channels_out, height / stride, width / stride]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.bn.forward(convolve(&self.conv, input))
    }
}

/// A square convolution without bias that keeps the size at stride 1.
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

/// Applies a convolution, a 1×1 as the matrix product that it is.
fn convolve(conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    if conv.kernel_size == [1, 1] {
        pointwise(conv, input)
    } else {
        conv.forward(input)
    }
}

/// `W·x` at every (strided) pixel.
///
/// On Burn's CPU backend a 1×1 convolution of stride 2 gathers patches first, and the gradient of
/// any convolution's weight is one matrix–vector product per input channel; as a product of
/// matrices both run at the speed of the matrix multiplication. A training step of ResNet-50 at 64²
/// takes two thirds of the time.
fn pointwise(conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let [step_y, step_x] = conv.stride.map(|stride| stride as i32);
    let input = if conv.stride == [1, 1] {
        input
    } else {
        input.slice(s![.., .., ..;step_y, ..;step_x])
    };
    let [batch, d_input, height, width] = input.dims();
    let [d_output, ..] = conv.weight.dims();
    let weight = conv.weight.val().reshape([1, d_output, d_input]);
    weight
        .matmul(input.reshape([batch, d_input, height * width]))
        .reshape([batch, d_output, height, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn pointwise_product_is_the_convolution_with_its_gradients() {
        let device = Device::flex().autodiff();
        device.seed(3);
        for stride in [1, 2] {
            let conv = convolution([6, 5], 1, stride, &device);
            let input = Tensor::<4>::random([2, 6, 7, 4], Distribution::Default, &device);
            let results = [pointwise, |conv: &Conv2d, input| conv.forward(input)].map(|apply| {
                let input = input.clone().detach().require_grad();
                let output = apply(&conv, input.clone());
                let gradients = output.clone().square().sum().backward();
                (
                    output,
                    input.grad(&gradients).unwrap(),
                    conv.weight.val().grad(&gradients).unwrap(),
                )
            });
            let [ours, theirs] = results;
            // Sums of at most 56 products of the order of 1, some of which cancel.
            let close = |a: Tensor<4>, b: Tensor<4>| {
                let tolerance = Tolerance::rel_abs(1e-5, 1e-5);
                a.into_data()
                    .assert_approx_eq::<f32>(&b.into_data(), tolerance);
            };
            close(ours.0, theirs.0);
            close(ours.1, theirs.1);
            close(ours.2, theirs.2);
        }
    }
}
