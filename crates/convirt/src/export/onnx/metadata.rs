//! The metadata of an ONNX file: what its user must know and the graph does not say.

use convirt_model::Pooling;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::export::preprocessing::Preprocessing;
use crate::weights::onnx_proto::Entry;

/// What `images` must be, and what `embedding` is.
#[derive(Serialize)]
pub(super) struct ImageMetadata {
    #[serde(flatten)]
    pub preprocessing: Preprocessing,
    /// Divisor of cosines in the softmax of the loss; `None` for the image side of a pair alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// What `input_ids` must be, and what `features` and `embedding` are.
#[derive(Serialize)]
pub(super) struct TextMetadata {
    pub max_tokens: usize,
    pub pooling: Pooling,
    /// Number of layers whose output is pooled.
    pub pooling_layer: usize,
    pub temperature: f64,
}

/// Returns the entries of an ONNX file's metadata, whose values are JSON, except that text has no
/// quotation marks.
pub(super) fn entries(metadata: &impl Serialize) -> Vec<Entry> {
    // As text first: a `Value` widens float32, and 0.485 would become 0.48500001430511475.
    let json = serde_json::to_string(metadata).expect("plain data");
    let mut values: Map<String, Value> = serde_json::from_str(&json).expect("an object");
    let normalization = "none; divide `embedding` by its L2 norm before comparing";
    values.insert("embedding_normalization".to_string(), normalization.into());
    let values = values.into_iter();
    values
        .map(|(key, value)| Entry {
            key,
            value: match value {
                Value::String(text) => text,
                other => other.to_string(),
            },
        })
        .collect()
}
