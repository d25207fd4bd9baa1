//! Errors of a model's configuration.

/// Errors of a model's configuration. The networks themselves panic on wrong shapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The text is not JSON, or a key has the wrong type; the source names line and column.
    #[error("not a valid encoder configuration")]
    Json(#[from] serde_json::Error),

    /// A required key is absent.
    #[error("no key `{key}`, which a `{model_type}` configuration needs")]
    MissingKey {
        /// The family, as `model_type` spells it.
        model_type: &'static str,
        /// The absent key.
        key: &'static str,
    },

    /// A key names an architecture or a variant that is not implemented.
    #[error("`{key}` is `{found}`; supported: {supported}")]
    Unsupported {
        /// The key, as the configuration spells it.
        key: &'static str,
        /// The value found.
        found: String,
        /// The values that would have been accepted.
        supported: &'static str,
    },

    /// A number is out of range.
    #[error("`{key}` is {found}; expected {expected}")]
    OutOfRange {
        /// The field.
        key: &'static str,
        /// The value found.
        found: String,
        /// The range.
        expected: &'static str,
    },

    /// The hidden size is not a multiple of the number of attention heads.
    #[error("hidden size {hidden_size} is not divisible by {heads} attention heads")]
    UnevenHeads {
        /// `d_model` of the encoder.
        hidden_size: usize,
        /// Number of attention heads.
        heads: usize,
    },

    /// A layer number beyond the encoder's depth.
    #[error("`{key}` names layer {layer}, but the encoder has {layers} layers")]
    LayerOutOfRange {
        /// The field that holds the number.
        key: &'static str,
        /// The number found.
        layer: usize,
        /// Layers of the encoder.
        layers: usize,
    },

    /// Pooling `none` where one vector per text is required.
    #[error("pooling `none` keeps every token, but a projection needs one vector per text")]
    PoolingWithoutVector,
}
