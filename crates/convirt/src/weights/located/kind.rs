//! What a setting names.

/// What a setting names, which decides the files that are needed of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightsKind {
    /// Description, weights and vocabulary.
    TextEncoder,
    /// Weights.
    ImageEncoder,
}
