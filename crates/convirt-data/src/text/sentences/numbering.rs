//! Numbered lists, within a line or over several.

use super::full_stop::takes_label;

/// State of a numbered list.
#[derive(Default)]
pub(super) struct Numbering {
    /// Number of the last item.
    last: Option<u32>,
}

/// A list number: `2.`, `2)` or `(2)`.
struct Marker {
    number: u32,
    form: Form,
}

#[derive(PartialEq)]
enum Form {
    FullStop,
    Parenthesis,
    Parentheses,
}

impl Numbering {
    /// Whether a line that begins with `first` starts an item.
    ///
    /// After a full stop any number does; within a sentence only the next number.
    pub(super) fn starts_item_line(&mut self, first: &str, after_stop: bool) -> bool {
        let Some(marker) = marker(first) else {
            return false;
        };
        let starts = after_stop || self.is_next(marker.number) && marker.number > 1;
        if starts {
            self.last = Some(marker.number);
        }
        starts
    }

    /// Whether `word` is the number of an item, between `previous` in the same sentence and `next`.
    pub(super) fn starts_item(
        &mut self,
        word: &str,
        previous: Option<&str>,
        next: Option<&str>,
    ) -> bool {
        let Some(marker) = marker(word) else {
            return false;
        };
        // In scripts without capitals, any letter may begin an item.
        let opens = |c: char| c.is_alphabetic() && !c.is_lowercase();
        let before_capital = next.is_some_and(|next| next.starts_with(opens));
        let starts = match previous {
            None => marker.form == Form::FullStop || self.is_next(marker.number),
            Some(previous) => {
                self.is_next(marker.number)
                    && marker.number > 1
                    && (before_capital || marker.form == Form::Parenthesis)
                    && !takes_label(previous)
                    && next != Some(word)
            }
        };
        if starts {
            self.last = Some(marker.number);
        }
        starts
    }

    fn is_next(&self, number: u32) -> bool {
        number == 1 || self.last.is_some_and(|last| number == last + 1)
    }
}

/// Reads a list number of one or two digits.
fn marker(word: &str) -> Option<Marker> {
    let (digits, form) = if let Some(digits) = word.strip_suffix(['.', '、', '．']) {
        (digits, Form::FullStop)
    } else if let Some(inner) = word.strip_prefix(['(', '（']) {
        (inner.strip_suffix([')', '）'])?, Form::Parentheses)
    } else {
        (word.strip_suffix([')', '）'])?, Form::Parenthesis)
    };
    let is_number = matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    Some(Marker { number, form })
}
