//! The image tower's graph.

use convirt_model::{ProjectionHead, ResNet, ResidualBlock};

use super::graph::{Builder, Element, ints};
use crate::weights::Layout;
use crate::weights::onnx_proto::ModelProto;

/// `images`, `[batch, 3, height, width]`, to `features` and `embedding`.
pub(super) fn tower(layout: &Layout, encoder: &ResNet, projection: &ProjectionHead) -> ModelProto {
    let mut graph = Builder::new(layout);
    graph.input("images", Element::Float, &["batch", "3", "height", "width"]);
    let at = |name: &str| format!("image_encoder.{name}");
    let stem = ((&*at("conv1"), &encoder.conv1), (&*at("bn1"), &encoder.bn1));
    let map = graph.convolution(stem.0, stem.1, "images");
    let map = graph.op("Relu", &[&map]);
    let window = vec![
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[2, 2]),
        ints("pads", &[1, 1, 1, 1]),
    ];
    let mut map = graph.op_with("MaxPool", &[&map], window);
    let stages = [
        &encoder.layer1,
        &encoder.layer2,
        &encoder.layer3,
        &encoder.layer4,
    ];
    for (stage, blocks) in (1..).zip(stages) {
        for (index, block) in blocks.iter().enumerate() {
            let path = at(&format!("layer{stage}.{index}"));
            map = residual(&mut graph, &path, block, map);
        }
    }
    let map = graph.op("GlobalAveragePool", &[&map]);
    let features = graph.op("Flatten", &[&map]);
    graph.finish("image_tower", &features, ("image_projection", projection))
}

fn residual(graph: &mut Builder, path: &str, block: &ResidualBlock, input: String) -> String {
    let at = |name: &str| format!("{path}.{name}");
    let mut map = graph.convolution(
        (&at("conv1"), &block.conv1),
        (&at("bn1"), &block.bn1),
        &input,
    );
    map = graph.op("Relu", &[&map]);
    map = graph.convolution((&at("conv2"), &block.conv2), (&at("bn2"), &block.bn2), &map);
    if let (Some(conv3), Some(bn3)) = (&block.conv3, &block.bn3) {
        map = graph.op("Relu", &[&map]);
        map = graph.convolution((&at("conv3"), conv3), (&at("bn3"), bn3), &map);
    }
    let shortcut = match &block.downsample {
        Some(downsample) => graph.convolution(
            (&at("downsample.conv"), &downsample.conv),
            (&at("downsample.bn"), &downsample.bn),
            &input,
        ),
        None => input,
    };
    let sum = graph.op("Add", &[&map, &shortcut]);
    graph.op("Relu", &[&sum])
}
