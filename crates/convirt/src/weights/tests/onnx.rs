//! Reading weights from valid and malformed ONNX files.

use std::fs;

use burn::tensor::Device;
use convirt_model::{ResNetConfig, ResNetDepth};
use prost::Message;

use super::malformed::{DAMAGED, assert_rejected, opened, opened_as};
use crate::weights::onnx_proto::{
    Attribute, EXTERNAL, Entry, Graph, ModelProto, Node, Opset, TensorProto, data_type,
};
use crate::weights::*;

/// Returns a small file with numbers in two kinds of fields and with an `Identity` node.
pub fn small_file() -> Vec<u8> {
    let packed = TensorProto {
        float_data: vec![1.0, 2.0, 3.0],
        ..tensor("c.weight", data_type::FLOAT, &[3])
    };
    let nodes = vec![node("Identity", &["a.weight"], "b.weight")];
    encoded(vec![raw("a.weight", &[2, 2]), packed], nodes)
}

fn tensor(name: &str, data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type,
        name: name.to_string(),
        ..TensorProto::default()
    }
}

/// Returns a tensor with the 32-bit numbers 1, 2, 3 and so on.
fn raw(name: &str, dims: &[i64]) -> TensorProto {
    let numbers = 1..=dims.iter().product::<i64>();
    TensorProto {
        raw_data: numbers.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        ..tensor(name, data_type::FLOAT, dims)
    }
}

fn node(op_type: &str, input: &[&str], output: &str) -> Node {
    Node {
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.to_string()],
        op_type: op_type.to_string(),
        ..Node::default()
    }
}

fn encoded(initializer: Vec<TensorProto>, node: Vec<Node>) -> Vec<u8> {
    let model = ModelProto {
        ir_version: 8,
        producer_name: "pytorch".to_string(),
        graph: Some(Graph {
            node,
            initializer,
            ..Graph::default()
        }),
        opset_import: vec![Opset { version: 18 }],
        metadata_props: Vec::new(),
    };
    model.encode_to_vec()
}

/// Returns the bytes of a Protocol Buffers field that has a length.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u64;
    let mut bytes = vec![tag << 3 | 2];
    prost::encode_length_delimiter(length as usize, &mut bytes).unwrap();
    bytes.extend(content);
    bytes
}

/// Returns the bytes of a model whose graph has these bytes.
fn model(graph: &[u8]) -> Vec<u8> {
    let operations = field(8, &[0x10, 18]);
    [&[0x08, 8][..], &field(7, graph), &operations].concat()
}

/// The numbers are 1, −0.5 and 65504, the largest 16-bit number.
#[test]
fn numbers_are_read_from_every_field_that_can_hold_them() {
    let numbers = [1f32, -0.5, 65504.0];
    let f16 = [0x3c00, 0xb800, 0x7bff];
    let bf16 = [0x3f80, 0xbf00, 0x4780];
    let bytes = |bits: [i32; 3]| bits.map(|bits| (bits as u16).to_le_bytes()).concat();
    let doubles = numbers.map(f64::from);
    let empty = |data_type| tensor("w", data_type, &[3]);
    for (tensor, element_type) in [
        (
            TensorProto {
                raw_data: numbers.map(f32::to_le_bytes).concat(),
                ..empty(data_type::FLOAT)
            },
            ElementType::F32,
        ),
        (
            TensorProto {
                float_data: numbers.to_vec(),
                ..empty(data_type::FLOAT)
            },
            ElementType::F32,
        ),
        (
            TensorProto {
                raw_data: doubles.map(f64::to_le_bytes).concat(),
                ..empty(data_type::DOUBLE)
            },
            ElementType::F64,
        ),
        (
            TensorProto {
                double_data: doubles.to_vec(),
                ..empty(data_type::DOUBLE)
            },
            ElementType::F64,
        ),
        (
            TensorProto {
                raw_data: bytes(f16),
                ..empty(data_type::FLOAT16)
            },
            ElementType::F16,
        ),
        (
            TensorProto {
                int32_data: f16.to_vec(),
                ..empty(data_type::FLOAT16)
            },
            ElementType::F16,
        ),
        (
            TensorProto {
                raw_data: bytes(bf16),
                ..empty(data_type::BFLOAT16)
            },
            ElementType::BF16,
        ),
        (
            TensorProto {
                int32_data: bf16.to_vec(),
                ..empty(data_type::BFLOAT16)
            },
            ElementType::BF16,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, encoded(vec![tensor], Vec::new())).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        assert_eq!(file.format(), WeightsFormat::Onnx);
        let stored = &file.tensors()["w"];
        assert_eq!(stored.element_type, element_type);
        assert_eq!(stored.shape, [3]);
        let mut expected = numbers;
        if element_type == ElementType::BF16 {
            expected[2] = 65536.0;
        }
        assert_eq!(stored.read().unwrap(), expected, "{element_type}");
    }
}

#[test]
fn external_data_is_read_on_request() {
    let entry = |key: &str, value: &str| Entry {
        key: key.to_string(),
        value: value.to_string(),
    };
    let external_data = vec![
        entry("location", "model.onnx.data"),
        entry("offset", "4"),
        entry("length", "8"),
    ];
    let external_tensor = TensorProto {
        external_data,
        data_location: EXTERNAL,
        ..tensor("w", data_type::FLOAT, &[2])
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, encoded(vec![external_tensor], Vec::new())).unwrap();
    let error = opened(&path).unwrap_err();
    for part in [DAMAGED, "`w`", "`model.onnx.data`", "cannot be read"] {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
    let numbers = [0f32, 7.0, 8.0].map(f32::to_le_bytes).concat();
    let data = folder.path().join("model.onnx.data");
    fs::write(&data, &numbers[..10]).unwrap();
    assert!(opened(&path).unwrap_err().contains("10 bytes"));
    fs::write(&data, numbers).unwrap();
    // The folder can be opened instead of the file.
    let file = WeightsFile::open(folder.path()).unwrap();
    assert_eq!(file.tensors()["w"].read().unwrap(), [7.0, 8.0]);
    fs::write(&data, [0; 6]).unwrap();
    let error = file.tensors()["w"].read().unwrap_err().to_string();
    assert!(error.contains("model.onnx.data: damaged"), "{error}");
}

#[test]
fn onnx_is_recognized_by_its_first_fields_or_its_extension() {
    assert!(opened_as("weights", &small_file()).is_ok());
    // The graph comes first instead of the version.
    let graph = field(5, &raw("a.weight", &[1]).encode_to_vec());
    let reordered = [field(7, &graph), field(8, &[0x10, 18]), vec![0x08, 8]].concat();
    assert_eq!(opened_as("x.onnx", &reordered).unwrap().len(), 1);
    assert_eq!(opened_as("x.ONNX", &reordered).unwrap().len(), 1);
    assert_rejected(&reordered, "something else");
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"<html>", "web page"),
        (b"version https://git-lfs", "Git LFS"),
        (b"nothing of the kind", DAMAGED),
    ] {
        let error = opened_as("x.onnx", bytes).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

/// `torch.onnx.export` stores equal tensors once; several passes give chains of `Identity` nodes.
#[test]
fn tensors_also_have_the_names_that_identity_nodes_give_them() {
    let nodes = vec![
        node("Identity", &["a.weight"], "b.weight"),
        node("Relu", &["x"], "y"),
        node("Identity", &["b.weight"], "c.weight"),
        node("Identity", &["y"], "z"),
    ];
    let contents = opened_as("weights", &encoded(vec![raw("a.weight", &[2])], nodes)).unwrap();
    let names: Vec<_> = contents.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["a.weight", "b.weight", "c.weight"]);
    assert!(contents.iter().all(|(.., numbers)| *numbers == [1.0, 2.0]));
}

/// The shape of a square matrix does not show whether it is transposed.
#[test]
fn transposed_weights_get_another_name_than_pytorchs() {
    let transposed = Attribute {
        name: "transB".to_string(),
        i: Some(1),
        ..Attribute::default()
    };
    let nodes = vec![
        node("MatMul", &["x", "a.weight"], "y"),
        node("Gemm", &["x", "b.weight", "b.bias"], "z"),
        Node {
            attribute: vec![transposed],
            ..node("Gemm", &["x", "c.weight", "b.bias"], "z")
        },
        node("Transpose", &["d.weight"], "e"),
        node("MatMul", &["x", "e"], "f"),
    ];
    let matrices = ["a", "b", "c", "d"].map(|name| raw(&format!("{name}.weight"), &[2, 2]));
    let contents = opened_as("weights", &encoded(matrices.into(), nodes)).unwrap();
    let names: Vec<_> = contents.iter().map(|(name, ..)| name.as_str()).collect();
    let expected = [
        "a.weight (transposed)",
        "b.weight (transposed)",
        "c.weight",
        "d.weight",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_error_for_a_simplified_graph_says_how_to_export() {
    let encoder = || ResNetConfig::new(ResNetDepth::ResNet18).init(&Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet18.onnx");
    let stem = raw("conv1.weight", &[64, 3, 7, 7]);
    for (tensors, missing) in [
        // The older exporter renames all weights; the current one keeps the names of convolutions.
        (
            vec![raw("onnx::Conv_193", &[64, 3, 7, 7])],
            "no `conv1.weight`",
        ),
        (
            vec![stem, raw("conv1.weight_bias", &[64]), raw("val_15", &[])],
            "bn1.bias is missing",
        ),
    ] {
        fs::write(&path, encoded(tensors, Vec::new())).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        let error = load_image_encoder(encoder(), &file, &[]).unwrap_err();
        let error = error.to_string();
        let inspection = Inspection::read(&path).unwrap().to_string();
        for part in ["optimize=False", "do_constant_folding=False", "PRESERVE"] {
            assert!(error.contains(part), "no `{part}` in: {error}");
            assert!(inspection.contains(part), "no `{part}` in: {inspection}");
        }
        assert!(
            error.contains("resnet18.onnx") && error.contains(missing),
            "{error}"
        );
        assert!(!error.contains("val_15"), "{error}");
    }
}

#[test]
fn inconsistent_tensors_are_rejected() {
    let floats = |dims: &[i64]| TensorProto {
        dims: dims.to_vec(),
        ..raw("w", &[4])
    };
    let integers = |dims: &[i64]| tensor("w", data_type::INT64, dims);
    let large = 1 << 40;
    for (tensor, because) in [
        (floats(&[5]), "takes 20 bytes, 16 are there"),
        (floats(&[3]), "takes 12 bytes, 16 are there"),
        (floats(&[-4]), "below 0"),
        (floats(&[2, -2]), "below 0"),
        (floats(&[i64::MIN]), "below 0"),
        (floats(&[large]), "16 are there"),
        (floats(&[large, large]), "too large for any file"),
        (floats(&[large, large, 0]), "too large for any file"),
        (floats(&[i64::MAX]), "16 are there"),
        (integers(&[i64::MAX]), "shape"),
        (integers(&[large]), "shape"),
        (
            TensorProto {
                float_data: vec![1.0; 3],
                ..tensor("w", data_type::FLOAT, &[4])
            },
            "takes 16 bytes, 12 are there",
        ),
        (
            TensorProto {
                data_location: EXTERNAL,
                ..floats(&[4])
            },
            "not named",
        ),
    ] {
        let error = opened_as("weights", &encoded(vec![tensor], Vec::new())).unwrap_err();
        for part in [because, "tensor `w`", DAMAGED] {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    }
    let twice = vec![raw("w", &[1]), raw("w", &[2])];
    assert_rejected(&encoded(twice, Vec::new()), "tensor `w` is in it twice");
    assert_rejected(
        &encoded(vec![integers(&[0])], Vec::new()),
        "i64, which is not a real number",
    );
}

#[test]
fn inconsistent_fields_are_rejected() {
    let name = |name: &[u8]| field(8, name);
    for (graph, because) in [
        // A length beyond the enclosing message, and lengths of more than 64 bits.
        (vec![0x2a, 100], "beyond its end"),
        (
            vec![
                0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            "beyond its end",
        ),
        ([&[0x2a][..], &[0x80; 11]].concat(), "without an end"),
        (vec![0x2a, 0x80], "beyond its end"),
        (field(5, &[0x4a, 5, 1, 2, 3]), "beyond its end"),
        // A number instead of a tensor, a group, and the field number 0.
        (vec![0x28, 1], "instead of a message"),
        (vec![0x0b, 0x0c], "no known kind"),
        (vec![0x02, 0], "without a number"),
        // A name that is not UTF-8, and fields of the wrong type.
        (field(5, &name(b"\xff\xff")), "UTF-8"),
        (field(5, &field(2, b"\x01")), "wire type"),
        (field(5, &[0x48, 1]), "instead of a message"),
        (field(1, &field(4, b"\xff")), "UTF-8"),
    ] {
        let error = opened_as("weights", &model(&graph)).unwrap_err();
        assert!(
            error.contains(because) && error.contains(DAMAGED),
            "{error}"
        );
    }
    // A length of almost 64 bits.
    let file = [&[0x08, 8, 0x3a][..], &[0xff; 8], &[0x7f]].concat();
    assert_rejected(&file, "beyond its end");
}

/// Decoded messages would need sixty times the size of the file. `malformed.rs` also runs this test
/// within little memory.
#[test]
fn a_graph_of_many_nodes_needs_little_memory() {
    let nodes = field(1, b"").repeat(10_000_000);
    assert!(opened_as("weights", &model(&nodes)).unwrap().is_empty());
}
