//! Joining of the lines of a report into blocks.

use super::full_stop::{BULLETS, ends_in_full_stop, separate_glued, takes_label};
use super::heading::{is_heading_line, starts_with_label};
use super::numbering::Numbering;

/// Characters that are bullets only at the start of a line.
const DASHES: [&str; 6] = ["-", "*", "–", "—", "·", "+"];

/// Words after which a sentence continues on the next line, even if the line is short.
const JOINING_WORDS: [&str; 22] = [
    "a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "no", "of", "on", "or", "than",
    "the", "to", "versus", "was", "were", "with", "without",
];

/// Joins trimmed lines into blocks: paragraphs, list items and headed sections.
///
/// `width` is the length of the longest line of the report.
pub(crate) fn blocks<'a>(lines: impl Iterator<Item = &'a str>, width: usize) -> Vec<String> {
    let mut numbering = Numbering::default();
    let mut blocks = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    for line in lines {
        let is_gap = line.is_empty() || is_rule(line);
        let begins = block.last().is_none_or(|above| {
            is_gap
                || is_heading_line(above)
                || is_item(line)
                || is_heading_line(line)
                || starts_with_label(line)
                || is_deliberate_break(above, line, width)
        });
        let first = first_word(line);
        let after_stop = begins
            || block
                .last()
                .is_some_and(|above| ends_in_full_stop(above) || above.ends_with(':'));
        let is_numbered = numbering.starts_item_line(first, after_stop);
        if begins || is_numbered {
            blocks.extend(joined(&block));
            block.clear();
        }
        if !is_gap {
            block.push(line);
        }
    }
    blocks.extend(joined(&block));
    blocks
}

/// Joins lines with single spaces between their words; `None` if there are no words.
fn joined(lines: &[&str]) -> Option<String> {
    let words: Vec<_> = lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Whether a word is a bullet; `previous` is the word before it in the sentence.
pub(super) fn is_bullet(word: &str, previous: Option<&str>) -> bool {
    word.chars().all(|c| BULLETS.contains(&c)) || previous.is_none() && DASHES.contains(&word)
}

/// Whether a line ends deliberately: the first word of the next line would have fit into `width`
/// and looks like the start of a sentence.
fn is_deliberate_break(line: &str, next: &str, width: usize) -> bool {
    let last = line.rsplit(char::is_whitespace).next().unwrap_or(line);
    let goes_on = last.ends_with([',', ';', ':', '-', '/', '(', '&'])
        || ends_in_full_stop(line)
        || takes_label(last)
        || JOINING_WORDS.contains(&last.to_lowercase().as_str());
    let would_fit = length(line) + 1 + length(first_word(next)) <= width;
    !goes_on && would_fit && next.starts_with(char::is_uppercase)
}

fn is_item(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or("");
    line.starts_with(BULLETS) || DASHES.contains(&first)
}

/// Whether a line is a rule, such as a line of underscores; three underscores are a removed name.
pub(crate) fn is_rule(line: &str) -> bool {
    length(line) > 3 && line.chars().all(|c| "_-=*~".contains(c))
}

/// Returns the first word of a line, or its list number if no space follows ("1.No").
fn first_word(line: &str) -> &str {
    let word = line.split_whitespace().next().unwrap_or("");
    separate_glued(word).first().copied().unwrap_or("")
}

fn length(line: &str) -> usize {
    line.chars().count()
}
