//! The beginning of a long text.

use std::borrow::Cow;

/// Returns the first `length` characters of a text, with an ellipsis if there are more.
///
/// ```
/// assert_eq!(convirt_data::beginning("Clear lungs.", 5), "Clear…");
/// assert_eq!(convirt_data::beginning("Clear", 5), "Clear");
/// ```
pub fn beginning(text: &str, length: usize) -> Cow<'_, str> {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
