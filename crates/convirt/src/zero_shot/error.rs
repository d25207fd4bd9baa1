//! Why images cannot be classified by prompts.

use convirt_data::truncated_list;

/// Why images cannot be classified by prompts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZeroShotError {
    /// A label has no prompts.
    #[error("no prompts for the label `{label}`; there are some for {found}", found = truncated_list(found))]
    NoPrompts {
        /// The label.
        label: String,
        /// The classes that have prompts.
        found: Vec<String>,
    },

    /// Several findings are to be predicted by mutually exclusive classes.
    #[error(
        "one image may have several findings, but without `negative` prompts the classes \
         exclude each other; add negative prompts to each class"
    )]
    ExclusiveClasses,
}
