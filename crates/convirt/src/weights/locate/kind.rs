//! The kinds of weights that a setting can name.

/// The kind of weights that a setting names. It decides which files of a model are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightsKind {
    /// A text encoder, which needs its configuration, weights and vocabulary.
    TextEncoder,
    /// An image encoder, which needs its weights.
    ImageEncoder,
    /// A whole model of this crate, exported: its description, weights and, if it reads texts, its
    /// vocabulary.
    Model,
}
