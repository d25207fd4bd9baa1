//! Long lists, truncated for messages.

use std::fmt::{self, Debug, Display};

use super::beginning;

/// Items shown in a message.
const MAX_ITEMS: usize = 20;

/// Characters shown of an item.
const MAX_ITEM_CHARS: usize = 80;

/// Shows a list as `{:?}` does, truncated to fit a message.
///
/// The first 20 items are shown and the others counted; items are cut off after 80 characters.
///
/// ```
/// let columns: Vec<String> = (0..200_000).map(|column| format!("c{column}")).collect();
/// let shown = convirt_data::truncated_list(&columns).to_string();
/// assert!(shown.starts_with(r#"["c0", "c1", "#));
/// assert!(shown.ends_with(r#""c19"] and 199980 more"#));
/// ```
pub fn truncated_list<T: Debug>(items: &[T]) -> impl Display {
    TruncatedList(items)
}

struct TruncatedList<'a, T>(&'a [T]);

impl<T: Debug> Display for TruncatedList<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(MAX_ITEMS)];
        f.write_str("[")?;
        for (place, item) in shown.iter().enumerate() {
            let separator = if place > 0 { ", " } else { "" };
            let item = format!("{item:?}");
            write!(f, "{separator}{}", beginning(&item, MAX_ITEM_CHARS))?;
        }
        f.write_str("]")?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_list_is_shown_in_full() {
        let lists: [&[&str]; 3] = [&[], &["a"], &["a\"\n", "b"]];
        for list in lists {
            assert_eq!(truncated_list(list).to_string(), format!("{list:?}"));
        }
    }

    #[test]
    fn a_long_list_and_long_items_are_truncated() {
        let name = "é".repeat(1_000);
        let shown = truncated_list(&[name.as_str(); 23]).to_string();
        assert!(shown.ends_with("] and 3 more"), "{shown}");
        // A quote and 79 letters.
        let first = format!("[\"{}…, \"é", "é".repeat(79));
        assert!(shown.starts_with(&first), "{shown}");
    }
}
