//! The ONNX graph of the text tower.

use convirt_model::{
    Activation, Bert, BertConfig, BertEmbeddings, BertFamily, BertLayer, ConVirtConfig, Pooling,
    ProjectionHead,
};

use super::graph::{Builder, Element, int, ints};
use crate::weights::Layout;
use crate::weights::onnx_proto::ModelProto;

/// The bias that is added to the attention scores of padding tokens, the same as in the encoder.
const MASKED_SCORE: f32 = -1e4;

/// The bias that is added to the states of padding tokens before a maximum. States are far smaller.
const MASKED_STATE: f32 = -1e30;

/// Returns the graph from the token inputs to the outputs `features` and `embedding`.
///
/// # Shapes
///
/// - `input_ids`, `attention_mask` and, with token types, `token_type_ids`: `[batch, tokens]`
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
    let padding = graph.op_with_number("Sub", &mask, 1.0);
    let padding = graph.op("Neg", &[&padding]);

    let mut state = embed(&mut graph, &config.text, &encoder.embeddings);
    let bias = graph.op_with_number("Mul", &padding, MASKED_SCORE);
    let bias = graph.reshape(&bias, &[0, 1, 1, -1]);
    let depth = config.pooling_layer.unwrap_or(encoder.layers.len());
    for (index, layer) in encoder.layers[..depth].iter().enumerate() {
        state = transformer_layer(
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

/// Adds the embeddings of words, positions and token types, and their layer normalization.
fn embed(graph: &mut Builder, config: &BertConfig, embeddings: &BertEmbeddings) -> String {
    // Positions are a cumulative count of tokens. RoBERTa counts only tokens that are not padding,
    // and starts after the id of the padding token.
    let skips_padding = matches!(config.family, BertFamily::Roberta | BertFamily::XlmRoberta);
    let pad = skips_padding.then(|| graph.integers(&[config.pad_token_id as i64]));
    let is_counted = match &pad {
        Some(pad) => {
            let is_padding = graph.op("Equal", &["input_ids", pad]);
            graph.op("Not", &[&is_padding])
        }
        None => graph.op("Equal", &["input_ids", "input_ids"]),
    };
    let is_counted = graph.cast(&is_counted, Element::Int64);
    let axis = graph.integers(&[1]);
    let count = graph.op("CumSum", &[&is_counted, &axis]);
    let position = match &pad {
        Some(pad) => {
            let count = graph.op("Mul", &[&count, &is_counted]);
            graph.op("Add", &[&count, pad])
        }
        None => graph.op("Sub", &[&count, &is_counted]),
    };

    let path_of = |name: &str| format!("text_encoder.embeddings.{name}");
    let words = &embeddings.word_embeddings.weight;
    let words = graph.lookup(&path_of("word_embeddings"), words, "input_ids");
    let positions = &embeddings.position_embeddings.weight;
    let positions = graph.lookup(&path_of("position_embeddings"), positions, &position);
    let mut sum = graph.op("Add", &[&words, &positions]);
    if let Some(table) = &embeddings.token_type_embeddings {
        graph.input("token_type_ids", Element::Int64, &["batch", "tokens"]);
        let path = path_of("token_type_embeddings");
        let types = graph.lookup(&path, &table.weight, "token_type_ids");
        sum = graph.op("Add", &[&sum, &types]);
    }
    let norm = &embeddings.layer_norm;
    graph.layer_norm(&path_of("layer_norm"), norm, config.layer_norm_eps, &sum)
}

/// Adds one Transformer layer.
fn transformer_layer(
    graph: &mut Builder,
    path: &str,
    layer: &BertLayer,
    config: &BertConfig,
    state: &str,
    bias: &str,
) -> String {
    let path_of = |name: &str| format!("{path}.{name}");
    let (heads, width) = (config.num_attention_heads as i64, config.hidden_size as i64);
    let d_head = width / heads;
    let attention = &layer.attention;
    // Keys have tokens as their last dimension, for the matrix product with the queries.
    let [query, key, value] = [
        ("query", &attention.query, [0, 2, 1, 3]),
        ("key", &attention.key, [0, 2, 3, 1]),
        ("value", &attention.value, [0, 2, 1, 3]),
    ]
    .map(|(name, linear, order)| {
        let projected = graph.linear(&path_of(&format!("attention.{name}")), linear, state);
        let split = graph.reshape(&projected, &[0, 0, heads, d_head]);
        graph.op_with("Transpose", &[&split], vec![ints("perm", &order)])
    });
    let query = graph.op_with_number("Mul", &query, (d_head as f32).powf(-0.5));
    let scores = graph.op("MatMul", &[&query, &key]);
    let scores = graph.op("Add", &[&scores, bias]);
    let probabilities = graph.op_with("Softmax", &[&scores], vec![int("axis", -1)]);
    let context = graph.op("MatMul", &[&probabilities, &value]);
    let order = ints("perm", &[0, 2, 1, 3]);
    let context = graph.op_with("Transpose", &[&context], vec![order]);
    let context = graph.reshape(&context, &[0, 0, width]);
    let attention_output = graph.linear(&path_of("attention.output"), &attention.output, &context);

    let epsilon = config.layer_norm_eps;
    let sum = graph.op("Add", &[&attention_output, state]);
    let state = graph.layer_norm(
        &path_of("attention_norm"),
        &layer.attention_norm,
        epsilon,
        &sum,
    );
    let hidden = graph.linear(&path_of("intermediate"), &layer.intermediate, &state);
    let hidden = activate(graph, config.hidden_act, &hidden);
    let output = graph.linear(&path_of("output"), &layer.output, &hidden);
    let sum = graph.op("Add", &[&output, &state]);
    graph.layer_norm(&path_of("output_norm"), &layer.output_norm, epsilon, &sum)
}

/// Adds an activation; both GELUs are `x / 2 * (1 + s(x))` with a sigmoid-shaped function `s`.
fn activate(graph: &mut Builder, activation: Activation, x: &str) -> String {
    let sigmoid = match activation {
        Activation::Relu => return graph.op("Relu", &[x]),
        Activation::Gelu => {
            let scaled = graph.op_with_number("Mul", x, 0.5f32.sqrt());
            graph.op("Erf", &[&scaled])
        }
        Activation::GeluTanh => {
            let cube = graph.op_with_number("Pow", x, 3.0);
            let cube = graph.op_with_number("Mul", &cube, 0.044715);
            let sum = graph.op("Add", &[x, &cube]);
            let scaled = graph.op_with_number("Mul", &sum, (2.0 / std::f32::consts::PI).sqrt());
            graph.op("Tanh", &[&scaled])
        }
    };
    let factor = graph.op_with_number("Add", &sigmoid, 1.0);
    let half = graph.op_with_number("Mul", x, 0.5);
    graph.op("Mul", &[&half, &factor])
}

/// Adds the pooling of token states.
///
/// `mask` is 1 for tokens and 0 for padding, and `padding` is the opposite.
///
/// # Shapes
///
/// - `state`: `[batch, tokens, d_model]`
/// - `mask`, `padding`: `[batch, tokens, 1]`
/// - output: `[batch, d_pooled]`
fn pool(graph: &mut Builder, pooling: Pooling, state: &str, mask: &str, padding: &str) -> String {
    let axis = graph.integers(&[1]);
    let reduce = |graph: &mut Builder, op_type: &str, x: &str, keep_dims: i64| {
        graph.op_with(op_type, &[x, &axis], vec![int("keepdims", keep_dims)])
    };
    match pooling {
        Pooling::Mean => {
            let masked = graph.op("Mul", &[state, mask]);
            let sum = reduce(graph, "ReduceSum", &masked, 0);
            let count = reduce(graph, "ReduceSum", mask, 0);
            let count = graph.op_with_number("Max", &count, 1.0);
            graph.op("Div", &[&sum, &count])
        }
        Pooling::Max => {
            let bias = graph.op_with_number("Mul", padding, MASKED_STATE);
            let masked = graph.op("Add", &[state, &bias]);
            let max = reduce(graph, "ReduceMax", &masked, 0);
            let has_tokens = reduce(graph, "ReduceMax", mask, 0);
            graph.op("Mul", &[&max, &has_tokens])
        }
        Pooling::MeanMax => {
            let [mean, max] = [Pooling::Mean, Pooling::Max]
                .map(|pooling| pool(graph, pooling, state, mask, padding));
            graph.op_with("Concat", &[&mean, &max], vec![int("axis", 1)])
        }
        Pooling::First | Pooling::Last => {
            let token_number = graph.op("CumSum", &[mask, &axis]);
            let is_selected = match pooling {
                Pooling::First => graph.op_with_number("Equal", &token_number, 1.0),
                _ => {
                    let count = reduce(graph, "ReduceSum", mask, 1);
                    graph.op("Equal", &[&token_number, &count])
                }
            };
            let is_selected = graph.cast(&is_selected, Element::Float);
            let weights = graph.op("Mul", &[&is_selected, mask]);
            let selected = graph.op("Mul", &[state, &weights]);
            reduce(graph, "ReduceSum", &selected, 0)
        }
        Pooling::None => unreachable!("a configuration with it is invalid"),
    }
}
