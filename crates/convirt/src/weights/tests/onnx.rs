//! Weights out of ONNX files: others' and our own.

use std::fs;

use burn::tensor::Device;
use convirt_model::{ResNetConfig, ResNetDepth};
use prost::Message;

use super::malformed::{DAMAGED, opened, opened_as, refused};
use crate::weights::onnx_proto::{
    Attribute, EXTERNAL, Entry, Graph, ModelProto, Node, Opset, TensorProto, data_type,
};
use crate::weights::*;

/// A small file, with numbers in two fields and one of two equal tensors left out.
pub fn small() -> Vec<u8> {
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

/// 1, 2, 3 and so on in 32 bits.
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
    };
    model.encode_to_vec()
}

/// Fields of Protocol Buffers with a length, as their bytes.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u64;
    let mut bytes = vec![tag << 3 | 2];
    prost::encode_length_delimiter(length as usize, &mut bytes).unwrap();
    bytes.extend(content);
    bytes
}

/// A model whose graph has these bytes.
fn model(graph: &[u8]) -> Vec<u8> {
    let operations = field(8, &[0x10, 18]);
    [&[0x08, 8][..], &field(7, graph), &operations].concat()
}

/// 1, −0.5 and 65504, the largest number of 16 bits, in each field that may hold them.
#[test]
fn numbers_are_read_from_whichever_field_has_them() {
    let numbers = [1f32, -0.5, 65504.0];
    let f16 = [0x3c00, 0xb800, 0x7bff];
    let bf16 = [0x3f80, 0xbf00, 0x4780];
    let bytes = |bits: [i32; 3]| bits.map(|bits| (bits as u16).to_le_bytes()).concat();
    let doubles = numbers.map(f64::from);
    let of = |data_type| tensor("w", data_type, &[3]);
    for (tensor, element_type) in [
        (
            TensorProto {
                raw_data: numbers.map(f32::to_le_bytes).concat(),
                ..of(data_type::FLOAT)
            },
            ElementType::F32,
        ),
        (
            TensorProto {
                float_data: numbers.to_vec(),
                ..of(data_type::FLOAT)
            },
            ElementType::F32,
        ),
        (
            TensorProto {
                raw_data: doubles.map(f64::to_le_bytes).concat(),
                ..of(data_type::DOUBLE)
            },
            ElementType::F64,
        ),
        (
            TensorProto {
                double_data: doubles.to_vec(),
                ..of(data_type::DOUBLE)
            },
            ElementType::F64,
        ),
        (
            TensorProto {
                raw_data: bytes(f16),
                ..of(data_type::FLOAT16)
            },
            ElementType::F16,
        ),
        (
            TensorProto {
                int32_data: f16.to_vec(),
                ..of(data_type::FLOAT16)
            },
            ElementType::F16,
        ),
        (
            TensorProto {
                raw_data: bytes(bf16),
                ..of(data_type::BFLOAT16)
            },
            ElementType::BF16,
        ),
        (
            TensorProto {
                int32_data: bf16.to_vec(),
                ..of(data_type::BFLOAT16)
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
fn numbers_in_a_file_beside_are_read_when_asked_for() {
    let entry = |key: &str, value: &str| Entry {
        key: key.to_string(),
        value: value.to_string(),
    };
    let place = vec![
        entry("location", "model.onnx.data"),
        entry("offset", "4"),
        entry("length", "8"),
    ];
    let beside = TensorProto {
        external_data: place,
        data_location: EXTERNAL,
        ..tensor("w", data_type::FLOAT, &[2])
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, encoded(vec![beside], Vec::new())).unwrap();
    let error = opened(&path).unwrap_err();
    for part in [DAMAGED, "`w`", "`model.onnx.data`", "cannot be read"] {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
    let numbers = [0f32, 7.0, 8.0].map(f32::to_le_bytes).concat();
    let data = folder.path().join("model.onnx.data");
    fs::write(&data, &numbers[..10]).unwrap();
    assert!(opened(&path).unwrap_err().contains("10 bytes"));
    fs::write(&data, numbers).unwrap();
    // By the folder, too.
    let file = WeightsFile::open(folder.path()).unwrap();
    assert_eq!(file.tensors()["w"].read().unwrap(), [7.0, 8.0]);
    fs::write(&data, [0; 6]).unwrap();
    let error = file.tensors()["w"].read().unwrap_err().to_string();
    assert!(error.contains("model.onnx.data: damaged"), "{error}");
}

#[test]
fn onnx_is_known_by_its_first_fields_or_by_its_name() {
    assert!(opened_as("weights", &small()).is_ok());
    // The graph first.
    let graph = field(5, &raw("a.weight", &[1]).encode_to_vec());
    let turned = [field(7, &graph), field(8, &[0x10, 18]), vec![0x08, 8]].concat();
    assert_eq!(opened_as("x.onnx", &turned).unwrap().len(), 1);
    assert_eq!(opened_as("x.ONNX", &turned).unwrap().len(), 1);
    refused(&turned, "something else");
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

/// `torch.onnx.export` keeps one of several equal tensors; chains come of several passes.
#[test]
fn tensors_have_the_names_that_identities_give_them() {
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

/// A square matrix would fit either way.
#[test]
fn what_is_multiplied_by_does_not_pass_for_pytorchs_weight() {
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
fn a_simplified_graph_says_how_to_export() {
    let encoder = || ResNetConfig::new(ResNetDepth::ResNet18).init(&Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet18.onnx");
    let stem = raw("conv1.weight", &[64, 3, 7, 7]);
    for (tensors, missing) in [
        // The older exporter renames, the present one keeps the names of convolutions.
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
fn tensors_that_lie_are_refused() {
    let of = |dims: &[i64]| TensorProto {
        dims: dims.to_vec(),
        ..raw("w", &[4])
    };
    let integers = |dims: &[i64]| tensor("w", data_type::INT64, dims);
    let large = 1 << 40;
    for (tensor, because) in [
        (of(&[5]), "takes 20 bytes, 16 are there"),
        (of(&[3]), "takes 12 bytes, 16 are there"),
        (of(&[-4]), "below 0"),
        (of(&[2, -2]), "below 0"),
        (of(&[i64::MIN]), "below 0"),
        (of(&[large]), "16 are there"),
        (of(&[large, large]), "too large for any file"),
        (of(&[large, large, 0]), "too large for any file"),
        (of(&[i64::MAX]), "16 are there"),
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
                ..of(&[4])
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
    refused(&encoded(twice, Vec::new()), "tensor `w` is in it twice");
    refused(
        &encoded(vec![integers(&[0])], Vec::new()),
        "i64, which is not a real number",
    );
}

#[test]
fn fields_that_lie_are_refused() {
    let name = |name: &[u8]| field(8, name);
    for (graph, because) in [
        // Lengths: beyond what they lie in, and of more than 64 bits.
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
        // A number where a tensor should be, groups, no field at all.
        (vec![0x28, 1], "instead of a message"),
        (vec![0x0b, 0x0c], "no known kind"),
        (vec![0x02, 0], "without a number"),
        // A name that is no text, and bytes as a number.
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
    // More than a file could hold, in ten bytes.
    let file = [&[0x08, 8, 0x3a][..], &[0xff; 8], &[0x7f]].concat();
    refused(&file, "beyond its end");
}

/// In messages, these would take sixty times the file. Run within little memory among the other
/// malformed files.
#[test]
fn a_graph_of_many_nodes_is_no_bomb() {
    let nodes = field(1, b"").repeat(10_000_000);
    assert!(opened_as("weights", &model(&nodes)).unwrap().is_empty());
}
