//! Section headings, which are removed, and labels, which are kept.

use crate::text::heading_names::{is_capitals, names_a_section};

/// Additional words that occur in headings.
const FILLER_WORDS: [&str; 14] = [
    "additional",
    "and",
    "brief",
    "clinical",
    "final",
    "for",
    "of",
    "or",
    "preliminary",
    "relevant",
    "the",
    "this",
    "type",
    "wet",
];

/// Longest heading, in words.
const MAX_WORDS: usize = 8;

/// A label at the start of a text: the part before the first colon.
struct Label<'a> {
    /// Whether the label is a section heading.
    is_heading: bool,
    /// The text after the colon.
    rest: &'a str,
}

/// Removes section headings from the start of `text`.
pub(super) fn without_headings(mut text: &str) -> &str {
    while let Some(label) = leading_label(text).filter(|label| label.is_heading) {
        text = label.rest;
    }
    if is_heading_line(text) { "" } else { text }
}

/// Whether a line starts with a heading, or with a label in capitals.
pub(super) fn starts_with_label(line: &str) -> bool {
    leading_label(line).is_some()
}

/// Whether `text` is a label without text after it.
pub(super) fn is_bare_label(text: &str) -> bool {
    leading_label(text).is_some_and(|label| label.rest.is_empty())
}

/// Whether a line is a heading without a colon: "FINAL REPORT", "Findings".
pub(super) fn is_heading_line(line: &str) -> bool {
    line.starts_with(char::is_uppercase)
        && line.split_whitespace().count() <= MAX_WORDS
        && is_all_heading(line)
}

/// Whether a word in the middle of a line is a heading in capitals: "IMPRESSION:".
pub(super) fn is_heading_word(word: &str) -> bool {
    word.strip_suffix(':')
        .is_some_and(|name| is_capitals(name) && names_a_section(name))
}

/// Whether the words of a sentence so far are a heading, including its colon.
pub(super) fn is_heading(words: &[&str]) -> bool {
    words.last().is_some_and(|last| last.ends_with(':'))
        && leading_label(&words.join(" "))
            .is_some_and(|label| label.is_heading && label.rest.is_empty())
}

/// Returns where a heading begins in `words`, which precede its last word.
///
/// The heading "FINAL IMPRESSION:" begins at "FINAL". If all words are in capitals, the heading
/// begins at the first ("CHEST, TWO VIEWS:").
pub(super) fn heading_start(words: &[&str]) -> usize {
    if words.len() < MAX_WORDS && words.iter().all(|word| !word.contains(char::is_lowercase)) {
        return 0;
    }
    let is_part = |word: &str| is_capitals(word) && (is_filler_word(word) || names_a_section(word));
    words
        .iter()
        .rposition(|word| !is_part(word))
        .map_or(0, |last| last + 1)
}

fn leading_label(text: &str) -> Option<Label<'_>> {
    let (label, rest) = text.split_once(':')?;
    let is_label = label.split_whitespace().count() <= MAX_WORDS
        && label
            .chars()
            .all(|c| c.is_alphanumeric() || " ()/,&-_'".contains(c));
    let in_capitals = is_capitals(label);
    let is_heading = is_all_heading(label) || in_capitals && words(label).any(names_a_section);
    let ends_cleanly = rest.starts_with(char::is_whitespace)
        || rest.is_empty()
        || is_heading && !rest.starts_with(|c: char| c.is_ascii_digit());
    (is_label && ends_cleanly && (is_heading || in_capitals)).then(|| Label {
        is_heading,
        rest: rest.trim_start(),
    })
}

/// Whether all words occur in headings, and at least one of them names a section.
fn is_all_heading(text: &str) -> bool {
    text.split_whitespace()
        .all(|word| is_filler_word(word) || names_a_section(word))
        && words(text).any(names_a_section)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

fn is_filler_word(word: &str) -> bool {
    FILLER_WORDS.contains(&word.to_lowercase().as_str())
}
