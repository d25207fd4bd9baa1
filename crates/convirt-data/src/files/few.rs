//! Long lists in messages.

use std::fmt::{self, Debug, Display};

/// Items that a message shows.
const SHOWN: usize = 20;

/// Characters of an item that a message shows.
const LONGEST: usize = 80;

/// Shows a list as `{:?}` does, but for what is too much for a message: the items behind the first
/// 20 are counted, and those of more than 80 characters are cut off.
///
/// ```
/// let columns: Vec<String> = (0..200_000).map(|column| format!("c{column}")).collect();
/// let shown = convirt_data::few(&columns).to_string();
/// assert!(shown.starts_with(r#"["c0", "c1", "#));
/// assert!(shown.ends_with(r#""c19"] and 199980 more"#));
/// ```
pub fn few<T: Debug>(items: &[T]) -> impl Display {
    Few(items)
}

struct Few<'a, T>(&'a [T]);

impl<T: Debug> Display for Few<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN)];
        f.write_str("[")?;
        for (place, item) in shown.iter().enumerate() {
            let separator = if place > 0 { ", " } else { "" };
            let item = format!("{item:?}");
            match item.char_indices().nth(LONGEST) {
                Some((end, _)) => write!(f, "{separator}{}…", &item[..end])?,
                None => write!(f, "{separator}{item}")?,
            }
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
    fn a_short_list_is_shown_as_it_is() {
        let lists: [&[&str]; 3] = [&[], &["a"], &["a\"\n", "b"]];
        for list in lists {
            assert_eq!(few(list).to_string(), format!("{list:?}"));
        }
    }

    #[test]
    fn a_long_list_is_counted_and_a_long_name_cut() {
        let name = "é".repeat(1_000);
        let shown = few(&[name.as_str(); 23]).to_string();
        assert!(shown.ends_with("] and 3 more"), "{shown}");
        // A quote and 79 letters.
        let first = format!("[\"{}…, \"é", "é".repeat(79));
        assert!(shown.starts_with(&first), "{shown}");
    }
}
