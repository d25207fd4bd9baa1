//! The ONNX graph of the image tower.

use convirt_model::{ProjectionHead, ResNet, ResidualBlock};

use super::graph::{Builder, Element, ints};
use crate::weights::Layout;
use crate::weights::onnx_proto::ModelProto;

/// Returns the graph from the input `images` to the outputs `features` and `embedding`.
///
/// # Shapes
///
/// - `images`: `[batch, 3, height, width]`
pub(super) fn tower(layout: &Layout, encoder: &ResNet, projection: &ProjectionHead) -> ModelProto {
    let mut graph = Builder::new(layout);
    graph.input("images", Element::Float, &["batch", "3", "height", "width"]);
    let path_of = |name: &str| format!("image_encoder.{name}");
    let features = graph.convolution(
        (&path_of("conv1"), &encoder.conv1),
        (&path_of("bn1"), &encoder.bn1),
        "images",
    );
    let features = graph.op("Relu", &[&features]);
    let window = vec![
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[2, 2]),
        ints("pads", &[1, 1, 1, 1]),
    ];
    let mut features = graph.op_with("MaxPool", &[&features], window);
    let stages = [
        &encoder.layer1,
        &encoder.layer2,
        &encoder.layer3,
        &encoder.layer4,
    ];
    for (stage, blocks) in (1..).zip(stages) {
        for (index, block) in blocks.iter().enumerate() {
            let path = path_of(&format!("layer{stage}.{index}"));
            features = residual_block(&mut graph, &path, block, features);
        }
    }
    let features = graph.op("GlobalAveragePool", &[&features]);
    let features = graph.op("Flatten", &[&features]);
    graph.finish("image_tower", &features, ("image_projection", projection))
}

fn residual_block(graph: &mut Builder, path: &str, block: &ResidualBlock, input: String) -> String {
    let path_of = |name: &str| format!("{path}.{name}");
    let mut features = graph.convolution(
        (&path_of("conv1"), &block.conv1),
        (&path_of("bn1"), &block.bn1),
        &input,
    );
    features = graph.op("Relu", &[&features]);
    features = graph.convolution(
        (&path_of("conv2"), &block.conv2),
        (&path_of("bn2"), &block.bn2),
        &features,
    );
    if let (Some(conv3), Some(bn3)) = (&block.conv3, &block.bn3) {
        features = graph.op("Relu", &[&features]);
        features = graph.convolution(
            (&path_of("conv3"), conv3),
            (&path_of("bn3"), bn3),
            &features,
        );
    }
    let shortcut = match &block.downsample {
        Some(downsample) => graph.convolution(
            (&path_of("downsample.conv"), &downsample.conv),
            (&path_of("downsample.bn"), &downsample.bn),
            &input,
        ),
        None => input,
    };
    let sum = graph.op("Add", &[&features, &shortcut]);
    graph.op("Relu", &[&sum])
}
