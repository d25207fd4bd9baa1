//! Why classes cannot be told by their prompts.

use convirt_data::truncated_list;

/// Why classes cannot be told by their prompts.
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

    /// Findings that may go together are to be told by classes that exclude each other.
    #[error(
        "several findings may hold of one image, but without `negative` prompts the classes \
         exclude each other; give each of them some"
    )]
    FindingsExclude,
}
