//! The text tower's graph.

use convirt_model::{
    Activation, Bert, BertConfig, BertEmbeddings, BertFamily, BertLayer, ConVirtConfig, Pooling,
    ProjectionHead,
};

use super::graph::{Builder, Element, int, ints};
use crate::weights::Layout;
use crate::weights::onnx_proto::ModelProto;

/// Added to the attention scores of padding, as the encoder does.
const MASKED_SCORE: f32 = -1e4;

/// Added to the states of padding before a maximum; no state comes near it.
const MASKED_STATE: f32 = -1e30;

/// `input_ids`, `attention_mask` and, with token types, `token_type_ids`, each `[batch, tokens]`,
/// to `features` and `embedding`.
pub(super) fn tower(
    layout: &Layout,
    config: &ConVirtConfig,
    encoder: &Bert,
    projection: &ProjectionHead,
) -> ModelProto {
    let mut graph = Builder::new(layout);
    for name in ["input_ids", "attention_mask"] {
        graph.input(name, Element::Int64, &["batch", "tokens"]);
    }
    let axis = graph.integers(&[2]);
    let mask = graph.op("Unsqueeze", &["attention_mask", &axis]);
    let mask = graph.cast(&mask, Element::Float);
    let padding = graph.op_by("Sub", &mask, 1.0);
    let padding = graph.op("Neg", &[&padding]);

    let mut state = embed(&mut graph, &config.text, &encoder.embeddings);
    let bias = graph.op_by("Mul", &padding, MASKED_SCORE);
    let bias = graph.reshape(&bias, &[0, 1, 1, -1]);
    let depth = config.pooling_layer.unwrap_or(encoder.layers.len());
    for (index, layer) in encoder.layers[..depth].iter().enumerate() {
        state = transform(
            &mut graph,
            &format!("text_encoder.layers.{index}"),
            layer,
            &config.text,
            &state,
            &bias,
        );
    }
    let features = pool(&mut graph, config.pooling, &state, &mask, &padding);
    graph.finish("text_tower", &features, ("text_projection", projection))
}

fn embed(graph: &mut Builder, config: &BertConfig, embeddings: &BertEmbeddings) -> String {
    // Each token counts 1; where positions skip padding and start after its number, only real ones.
    let skips_padding = matches!(config.family, BertFamily::Roberta | BertFamily::XlmRoberta);
    let pad = skips_padding.then(|| graph.integers(&[config.pad_token_id as i64]));
    let counted = match &pad {
        Some(pad) => {
            let is_padding = graph.op("Equal", &["input_ids", pad]);
            graph.op("Not", &[&is_padding])
        }
        None => graph.op("Equal", &["input_ids", "input_ids"]),
    };
    let counted = graph.cast(&counted, Element::Int64);
    let axis = graph.integers(&[1]);
    let count = graph.op("CumSum", &[&counted, &axis]);
    let position = match &pad {
        Some(pad) => {
            let count = graph.op("Mul", &[&count, &counted]);
            graph.op("Add", &[&count, pad])
        }
        None => graph.op("Sub", &[&count, &counted]),
    };

    let at = |name: &str| format!("text_encoder.embeddings.{name}");
    let words = &embeddings.word_embeddings.weight;
    let words = graph.lookup(&at("word_embeddings"), words, "input_ids");
    let positions = &embeddings.position_embeddings.weight;
    let positions = graph.lookup(&at("position_embeddings"), positions, &position);
    let mut sum = graph.op("Add", &[&words, &positions]);
    if let Some(table) = &embeddings.token_type_embeddings {
        graph.input("token_type_ids", Element::Int64, &["batch", "tokens"]);
        let path = at("token_type_embeddings");
        let types = graph.lookup(&path, &table.weight, "token_type_ids");
        sum = graph.op("Add", &[&sum, &types]);
    }
    let norm = &embeddings.layer_norm;
    graph.layer_norm(&at("layer_norm"), norm, config.layer_norm_eps, &sum)
}

fn transform(
    graph: &mut Builder,
    path: &str,
    layer: &BertLayer,
    config: &BertConfig,
    state: &str,
    bias: &str,
) -> String {
    let at = |name: &str| format!("{path}.{name}");
    let (heads, width) = (config.num_attention_heads as i64, config.hidden_size as i64);
    let d_head = width / heads;
    let attention = &layer.attention;
    // Keys are left with tokens last, as the product with the queries wants them.
    let [query, key, value] = [
        ("query", &attention.query, [0, 2, 1, 3]),
        ("key", &attention.key, [0, 2, 3, 1]),
        ("value", &attention.value, [0, 2, 1, 3]),
    ]
    .map(|(name, linear, order)| {
        let projected = graph.linear(&at(&format!("attention.{name}")), linear, state);
        let split = graph.reshape(&projected, &[0, 0, heads, d_head]);
        graph.op_with("Transpose", &[&split], vec![ints("perm", &order)])
    });
    let query = graph.op_by("Mul", &query, (d_head as f32).powf(-0.5));
    let scores = graph.op("MatMul", &[&query, &key]);
    let scores = graph.op("Add", &[&scores, bias]);
    let shares = graph.op_with("Softmax", &[&scores], vec![int("axis", -1)]);
    let gathered = graph.op("MatMul", &[&shares, &value]);
    let order = ints("perm", &[0, 2, 1, 3]);
    let gathered = graph.op_with("Transpose", &[&gathered], vec![order]);
    let gathered = graph.reshape(&gathered, &[0, 0, width]);
    let attended = graph.linear(&at("attention.output"), &attention.output, &gathered);

    let epsilon = config.layer_norm_eps;
    let sum = graph.op("Add", &[&attended, state]);
    let state = graph.layer_norm(&at("attention_norm"), &layer.attention_norm, epsilon, &sum);
    let hidden = graph.linear(&at("intermediate"), &layer.intermediate, &state);
    let hidden = activate(graph, config.hidden_act, &hidden);
    let output = graph.linear(&at("output"), &layer.output, &hidden);
    let sum = graph.op("Add", &[&output, &state]);
    graph.layer_norm(&at("output_norm"), &layer.output_norm, epsilon, &sum)
}

fn activate(graph: &mut Builder, activation: Activation, x: &str) -> String {
    let curve = match activation {
        Activation::Relu => return graph.op("Relu", &[x]),
        Activation::Gelu => {
            let scaled = graph.op_by("Mul", x, 0.5f32.sqrt());
            graph.op("Erf", &[&scaled])
        }
        Activation::GeluTanh => {
            let cube = graph.op_by("Pow", x, 3.0);
            let cube = graph.op_by("Mul", &cube, 0.044715);
            let sum = graph.op("Add", &[x, &cube]);
            let scaled = graph.op_by("Mul", &sum, (2.0 / std::f32::consts::PI).sqrt());
            graph.op("Tanh", &[&scaled])
        }
    };
    let share = graph.op_by("Add", &curve, 1.0);
    let half = graph.op_by("Mul", x, 0.5);
    graph.op("Mul", &[&half, &share])
}

/// `[batch, tokens, d_model]` to `[batch, d_pooled]`; `mask` and `padding` are 1 or 0,
/// `[batch, tokens, 1]`.
fn pool(graph: &mut Builder, pooling: Pooling, state: &str, mask: &str, padding: &str) -> String {
    let axis = graph.integers(&[1]);
    let reduce = |graph: &mut Builder, op_type: &str, x: &str, keep: i64| {
        graph.op_with(op_type, &[x, &axis], vec![int("keepdims", keep)])
    };
    match pooling {
        Pooling::Mean => {
            let real = graph.op("Mul", &[state, mask]);
            let sum = reduce(graph, "ReduceSum", &real, 0);
            let count = reduce(graph, "ReduceSum", mask, 0);
            let count = graph.op_by("Max", &count, 1.0);
            graph.op("Div", &[&sum, &count])
        }
        Pooling::Max => {
            let bias = graph.op_by("Mul", padding, MASKED_STATE);
            let real = graph.op("Add", &[state, &bias]);
            let max = reduce(graph, "ReduceMax", &real, 0);
            let any = reduce(graph, "ReduceMax", mask, 0);
            graph.op("Mul", &[&max, &any])
        }
        Pooling::MeanMax => {
            let [mean, max] = [Pooling::Mean, Pooling::Max]
                .map(|pooling| pool(graph, pooling, state, mask, padding));
            graph.op_with("Concat", &[&mean, &max], vec![int("axis", 1)])
        }
        Pooling::First | Pooling::Last => {
            let number = graph.op("CumSum", &[mask, &axis]);
            let is_wanted = match pooling {
                Pooling::First => graph.op_by("Equal", &number, 1.0),
                _ => {
                    let count = reduce(graph, "ReduceSum", mask, 1);
                    graph.op("Equal", &[&number, &count])
                }
            };
            let is_wanted = graph.cast(&is_wanted, Element::Float);
            let weights = graph.op("Mul", &[&is_wanted, mask]);
            let wanted = graph.op("Mul", &[state, &weights]);
            reduce(graph, "ReduceSum", &wanted, 0)
        }
        Pooling::None => unreachable!("a configuration with it is invalid"),
    }
}
