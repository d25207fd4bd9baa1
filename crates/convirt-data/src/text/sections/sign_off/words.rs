//! Words of a sentence, and times of day among them.

pub(super) fn is_in(word: &str, list: &[&str]) -> bool {
    list.contains(&word)
}

/// Returns the words of a text in lower case, without punctuation around them.
pub(super) fn words(text: &str) -> Vec<String> {
    let is_sign = |c: char| !c.is_alphanumeric() && c != '_';
    text.split_whitespace()
        .map(|word| word.trim_matches(is_sign).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

pub(super) fn has_hour(words: &[String]) -> bool {
    let is_mark = |word: &String| is_in(word, &["am", "pm", "a.m", "p.m", "hrs", "hours"]);
    let is_hour = |word: &String| {
        let word = word.trim_end_matches("am").trim_end_matches("pm");
        let parts = word.split_once(':');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        parts.is_some_and(|(hour, minute)| is_number(hour) && is_number(minute))
    };
    words.iter().any(|word| is_mark(word) || is_hour(word))
        || words.windows(2).any(|two| {
            let hour = two[1].trim_end_matches("am").trim_end_matches("pm");
            two[0] == "at" && hour.len() < two[1].len() && hour.parse::<u8>().is_ok()
        })
}
