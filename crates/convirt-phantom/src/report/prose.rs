//! Forms sentences from words, and the lines of a report from sentences.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::phrases::{Noun, pick};

/// Longest line of a report, in characters.
pub(crate) const LINE: usize = 79;

/// Puts a phrase of comparison in front of a sentence.
pub(crate) fn compared(text: &str, rng: &mut ChaCha8Rng) -> String {
    let opening = pick(
        &["Compared to the prior study of ___,", "As compared to ___,"],
        rng,
    );
    let mut letters = text.chars();
    let first = letters.next().unwrap_or_default();
    // Abbreviations keep their capitals.
    if letters.clone().next().is_some_and(char::is_uppercase) {
        return format!("{opening} {text}");
    }
    format!("{opening} {}{}", first.to_lowercase(), letters.as_str())
}

/// Fills the slots of a template with `noun`.
pub(crate) fn put(template: &str, noun: &Noun) -> String {
    let (is, has) = if noun.plural {
        ("are", "have")
    } else {
        ("is", "has")
    };
    let text = template
        .replace("{a}", &noun.full)
        .replace("{bare}", &noun.bare)
        .replace("{is}", is)
        .replace("{has}", has);
    sentence(&text)
}

/// Returns a sentence that begins with a capital and has no comma before the full stop.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.replace(",.", ".").replace(",,", ",");
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Appends a section, with its text below the heading or on the same line.
pub(crate) fn section(report: &mut String, heading: &str, text: &str, rng: &mut ChaCha8Rng) {
    let block = if rng.random_bool(0.3) {
        wrap(&format!("{heading}:  {text}"))
    } else {
        format!(" {heading}:\n\n{}", wrap(text))
    };
    report.push_str(&block);
    report.push('\n');
}

/// Breaks `text` into lines that begin with a space, as hospital systems print them.
pub(crate) fn wrap(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > LINE {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}
