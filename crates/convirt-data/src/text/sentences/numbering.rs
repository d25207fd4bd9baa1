//! Numbered lists, inside a line or over several.

use super::full_stop::takes_label;

/// How far a numbered list has come.
#[derive(Default)]
pub(super) struct Numbering {
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
    /// Whether a line that begins with `first` is the next item.
    ///
    /// After a full stop any number opens one; in a running sentence only the one due.
    pub(super) fn takes_line(&mut self, first: &str, after_stop: bool) -> bool {
        let Some(marker) = marker(first) else {
            return false;
        };
        let taken = after_stop || self.is_due(marker.number) && marker.number > 1;
        if taken {
            self.last = Some(marker.number);
        }
        taken
    }

    /// Whether `word` numbers an item, between `previous` in the same sentence and `next`.
    pub(super) fn takes(&mut self, word: &str, previous: Option<&str>, next: Option<&str>) -> bool {
        let Some(marker) = marker(word) else {
            return false;
        };
        // Scripts without capitals begin an item with any letter.
        let opens = |c: char| c.is_alphabetic() && !c.is_lowercase();
        let before_capital = next.is_some_and(|next| next.starts_with(opens));
        let taken = match previous {
            None => marker.form == Form::FullStop || self.is_due(marker.number),
            Some(previous) => {
                self.is_due(marker.number)
                    && marker.number > 1
                    && (before_capital || marker.form == Form::Parenthesis)
                    && !takes_label(previous)
                    && next != Some(word)
            }
        };
        if taken {
            self.last = Some(marker.number);
        }
        taken
    }

    fn is_due(&self, number: u32) -> bool {
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
