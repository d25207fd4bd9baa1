//! Agreement with `transformers` on `tiny_bert`: hidden states, poolings and gradients.

use burn::tensor::{Device, TensorData};
use convirt_ops::test_devices::{device, on_each_device};
use serde_json::Value;

use super::*;
use crate::Pooling;
use crate::tests::reference::{Reference, assert_close, fill, formula, json, number};

/// PyTorch's own 32-bit error times this is the tolerance for the same computation in 32 bits.
const FACTOR: f64 = 10.0;

/// The reference's encoder, without dropout.
pub(crate) fn tiny_bert(device: &Device) -> Bert {
    let config = BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::parse(&json("tiny_bert_config").to_string()).unwrap()
    };
    let weights = Reference::read("tiny_bert");
    fill(config.init(device).unwrap(), |path| {
        weights.data(&hugging_face_name(path))
    })
}

/// `layers.0.attention.query.weight` → `encoder.layer.0.attention.self.query.weight`, and so on.
pub(crate) fn hugging_face_name(path: &str) -> String {
    let name = path
        .replace("layers.", "encoder.layer.")
        .replace("gamma", "weight")
        .replace("beta", "bias")
        .replace("layer_norm.", "LayerNorm.")
        .replace("attention_norm.", "attention.output.LayerNorm.")
        .replace("output_norm.", "output.LayerNorm.")
        .replace("intermediate.", "intermediate.dense.");
    let name = ["query", "key", "value"].iter().fold(name, |name, part| {
        name.replace(
            &format!("attention.{part}"),
            &format!("attention.self.{part}"),
        )
    });
    if name.contains("LayerNorm") {
        name
    } else {
        name.replace("output.", "output.dense.")
    }
}

fn input(reference: &Reference, id: usize, device: &Device) -> TextInput {
    TextInput {
        input_ids: reference.int(&format!("{id}.input_ids"), device),
        attention_mask: reference
            .int::<2>(&format!("{id}.attention_mask"), device)
            .equal_elem(1),
        token_type_ids: Some(reference.int(&format!("{id}.token_type_ids"), device)),
    }
}

fn tolerance(case: &Value, name: &str) -> f64 {
    FACTOR
        * number(
            case,
            &format!("/torch_f32_vs_f64/{}", name.replace('/', "~1")),
        )
}

#[test]
fn hidden_states_and_poolings_are_the_references() {
    on_each_device(|| {
        let reference = Reference::read("tiny_bert_io");
        let cases = json("tiny_bert_io");
        let device = device();
        for encoder in [tiny_bert(&device), tiny_bert(&device.clone().autodiff())] {
            for (id, case) in cases["cases"].as_array().unwrap().iter().enumerate() {
                let input = input(&reference, id, &device);
                let states = encoder.forward(input.clone());
                let pool = |pooling: Pooling| {
                    let mask = input.attention_mask.clone();
                    pooling
                        .forward(states[2].clone(), mask)
                        .into_vectors()
                        .unwrap()
                        .into_data()
                };
                let check = |name: &str, actual: TensorData, expected: TensorData| {
                    let tolerance = tolerance(case, name);
                    assert_close(&format!("{id} {name}"), actual, &expected, tolerance);
                };
                let padding = input.attention_mask.clone().bool_not();
                for (name, actual) in ["emb", "layer1", "last_hidden_state"]
                    .into_iter()
                    .zip(&states)
                {
                    let padding = padding.clone().unsqueeze_dim::<3>(2);
                    let padding = padding.expand(actual.dims());
                    let expected = reference.float::<3>(&format!("{id}.{name}"), &device);
                    // States of padding are unspecified.
                    check(
                        name,
                        actual
                            .clone()
                            .without_autodiff()
                            .mask_fill(padding.clone(), 0.0)
                            .into_data(),
                        expected.mask_fill(padding, 0.0).into_data(),
                    );
                }
                for (name, pooling) in [
                    ("mean", Pooling::Mean),
                    ("max", Pooling::Max),
                    ("cls", Pooling::First),
                ] {
                    check(name, pool(pooling), reference.data(&format!("{id}.{name}")));
                }
            }
        }
    });
}

#[test]
fn gradients_of_the_mean_are_the_references() {
    on_each_device(|| {
        let device = device().autodiff();
        let encoder = tiny_bert(&device);
        let reference = Reference::read("tiny_bert_io");
        let case = &json("tiny_bert_io")["cases"][0];
        let input = input(&reference, 0, &device);
        let state = encoder.forward_to(input.clone(), 2);
        let mean = Pooling::Mean.forward(state, input.attention_mask);
        let mean = mean.into_vectors().unwrap();
        let cotangent =
            Tensor::<2>::from_data(formula("bert.cot", &mean.dims(), 1.0, 0.0), &device);
        let gradients = (mean * cotangent).sum().backward();

        let layers = &encoder.layers;
        let embeddings = &encoder.embeddings;
        let attention = &layers[0].attention;
        let matrix = |weight: &Param<Tensor<2>>| weight.val().grad(&gradients).unwrap();
        let vector = |weight: &Param<Tensor<1>>| weight.val().grad(&gradients).unwrap().into_data();
        let beta = layers[1].output_norm.beta.as_ref().unwrap();
        let bias = layers[1].intermediate.bias.as_ref().unwrap();
        let token_types = embeddings.token_type_embeddings.as_ref().unwrap();
        let words = matrix(&embeddings.word_embeddings.weight);
        assert_eq!(
            words.clone().slice(0..1).into_data(),
            TensorData::zeros::<f32, _>([1, 128]),
            "masked padding must not move the padding row"
        );
        let rows = reference.int::<1>("0.grad_word_rows", &device.without_autodiff());
        for (name, actual) in [
            (
                "embeddings.position_embeddings.weight",
                matrix(&embeddings.position_embeddings.weight).into_data(),
            ),
            (
                "embeddings.token_type_embeddings.weight",
                matrix(&token_types.weight).into_data(),
            ),
            (
                "embeddings.LayerNorm.weight",
                vector(&embeddings.layer_norm.gamma),
            ),
            (
                "encoder.layer.0.attention.self.query.weight",
                matrix(&attention.query.weight).transpose().into_data(),
            ),
            (
                "encoder.layer.0.attention.self.key.weight",
                matrix(&attention.key.weight).transpose().into_data(),
            ),
            (
                "encoder.layer.0.attention.self.value.weight",
                matrix(&attention.value.weight).transpose().into_data(),
            ),
            ("encoder.layer.1.intermediate.dense.bias", vector(bias)),
            (
                "encoder.layer.1.output.LayerNorm.weight",
                vector(&layers[1].output_norm.gamma),
            ),
            ("encoder.layer.1.output.LayerNorm.bias", vector(beta)),
        ] {
            let key = format!("grad.{name}");
            assert_close(
                name,
                actual,
                &reference.data(&format!("0.{key}")),
                tolerance(case, &key),
            );
        }
        let key = "grad.word_embeddings[grad_word_rows]";
        let expected = reference.data(&format!("0.{key}"));
        assert_close(
            key,
            words.select(0, rows).into_data(),
            &expected,
            tolerance(case, key),
        );
    });
}
