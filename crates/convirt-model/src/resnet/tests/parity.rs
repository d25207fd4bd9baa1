//! Agreement with torchvision on `resnet50_io`: ResNet-50 in evaluation and in training.

use burn::tensor::{Device, TensorData};
use convirt_ops::test_devices::{device, on_each_device};

use super::*;
use crate::tests::reference::{Reference, assert_close, fill, formula, json, number};

/// PyTorch's own 32-bit error times this is the tolerance for the same computation in 32 bits.
const FACTOR: f64 = 5.0;

/// `layer1.0.downsample.bn.gamma` → `layer1.0.downsample.1.weight`, and so on.
pub(crate) fn torchvision_name(path: &str) -> String {
    path.replace("downsample.conv", "downsample.0")
        .replace("downsample.bn", "downsample.1")
        .replace("gamma", "weight")
        .replace("beta", "bias")
}

/// ResNet-50 with the weights of the reference's formula.
fn resnet50(device: &Device) -> ResNet {
    let shapes = json("resnet50_io");
    fill(
        ResNetConfig::new(ResNetDepth::ResNet50).init(device),
        |path| {
            let name = torchvision_name(path);
            let shape: Vec<usize> = shapes["keys"][&name]
                .as_array()
                .unwrap_or_else(|| panic!("no key {name}"))
                .iter()
                .map(|size| size.as_u64().unwrap() as usize)
                .collect();
            let (scale, offset) = match &shape[..] {
                [output, _, height, width] => {
                    ((6.0 / (output * height * width) as f64).sqrt(), 0.0)
                }
                _ if name.ends_with("running_var") => (0.2, 1.0),
                _ if name.ends_with("running_mean") => (0.1, 0.0),
                _ if name.ends_with("bias") => (0.1, 0.0),
                _ if name.contains(".bn3.") => (0.1, 0.5),
                _ => (0.2, 1.0),
            };
            formula(&name, &shape, scale, offset)
        },
    )
}

fn images(device: &Device) -> Tensor<4> {
    Tensor::from_data(formula("img", &[2, 3, 64, 64], 2.0, 0.0), device)
}

fn assert_is_reference(name: &str, actual: TensorData) {
    let pointer = format!("/tensors/{name}/torch_f32_vs_f64");
    let tolerance = FACTOR * number(&json("resnet50_io"), &pointer);
    let expected = Reference::read("resnet50_io").data(name);
    assert_close(name, actual, &expected, tolerance);
}

fn assert_stages_are_references(mode: &str, network: &ResNet, images: Tensor<4>) {
    let stem = network.stem(images.clone()).permute([0, 3, 1, 2]);
    let stem = stem.slice([0..2, 0..8]);
    assert_is_reference(&format!("{mode}.maxpool"), stem.into_data());
    let feature_map = network.forward_map(images);
    assert_is_reference(&format!("{mode}.layer4"), feature_map.into_data());
}

#[test]
fn formula_gives_the_references_values() {
    let checks = &json("resnet50_io")["checks"];
    let device = Device::flex();
    let network = resnet50(&device);
    let start = |tensor: Tensor<1>| tensor.slice(0..4).into_data();
    for (name, actual) in [
        (
            "conv1.weight",
            start(network.conv1.weight.val().flatten(0, 3)),
        ),
        ("bn1.running_var", start(network.bn1.running_var.value())),
        (
            "layer1.0.bn3.weight",
            start(network.layer1[0].bn3.as_ref().unwrap().gamma.val()),
        ),
        (
            "layer4.2.conv3.weight",
            start(
                network.layer4[2]
                    .conv3
                    .as_ref()
                    .unwrap()
                    .weight
                    .val()
                    .flatten(0, 3),
            ),
        ),
    ] {
        for (actual, expected) in actual.iter::<f32>().zip(checks[name].as_array().unwrap()) {
            assert_eq!(actual, expected.as_f64().unwrap() as f32, "{name}");
        }
    }
    let expected = Reference::read("resnet50_io").data("x");
    assert_eq!(images(&device).into_data(), expected);
}

#[test]
fn evaluation_is_torchvisions() {
    on_each_device(|| {
        let device = device();
        let network = resnet50(&device);
        assert_stages_are_references("eval", &network, images(&device));
        assert_is_reference("eval.feat", network.forward(images(&device)).into_data());
    });
}

#[test]
fn training_and_its_running_statistics_are_torchvisions() {
    on_each_device(|| {
        let device = device().autodiff();
        let network = resnet50(&device);
        let features = network.forward(images(&device));
        assert_is_reference("train.feat", features.into_data());
        let last = network.layer4[2].bn3.as_ref().unwrap();
        for (name, statistic) in [
            ("bn1.running_var", &network.bn1.running_var),
            ("layer4.2.bn3.running_mean", &last.running_mean),
            ("layer4.2.bn3.running_var", &last.running_var),
        ] {
            let name = format!("train.after.{name}");
            assert_is_reference(&name, statistic.value().into_data());
        }
        // Batch statistics do not depend on the running ones, so a second pass computes the same.
        assert_stages_are_references("train", &network, images(&device));
    });
}
