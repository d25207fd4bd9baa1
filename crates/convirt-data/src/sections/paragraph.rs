//! Wrapped lines made whole again.

/// Words after which a sentence goes on, however short the line is.
const JOINING_WORDS: [&str; 20] = [
    "a", "an", "and", "are", "at", "by", "dr.", "for", "from", "in", "is", "no", "of", "on", "or",
    "the", "to", "was", "with", "without",
];

/// Words that begin an item of a list.
const BULLETS: [&str; 8] = ["-", "*", "–", "—", "•", "·", "+", "●"];

/// Joins the lines of a paragraph, except where an item of a list or a label begins, or a line
/// ends although the next word would have fit in `width`, the letters of the longest line.
pub(super) fn unwrapped(lines: &[&str], width: usize) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut above = "";
    let mut last_number = 0;
    for &line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        let first = words.first().copied().unwrap_or("");
        let number = list_number(first).filter(|&number| number == 1 || number == last_number + 1);
        last_number = number.unwrap_or(last_number);
        let begins = number.is_some()
            || BULLETS.contains(&first)
            || is_label(line)
            || ends_early(above, first, width);
        let joined = words.join(" ");
        match paragraphs.last_mut() {
            Some(paragraph) if !begins => {
                paragraph.push(' ');
                paragraph.push_str(&joined);
            }
            _ => paragraphs.push(joined),
        }
        above = line;
    }
    paragraphs
}

/// Reads "2." or "2)", alone or glued to a word ("2.No").
fn list_number(word: &str) -> Option<u32> {
    let digits = word.find(|c: char| !c.is_ascii_digit())?;
    let mut behind = word[digits..].chars();
    let is_marker = matches!(behind.next(), Some('.' | ')'))
        && !behind.next().is_some_and(|c| c.is_ascii_digit());
    let number = word[..digits].parse().ok()?;
    (is_marker && digits <= 2).then_some(number)
}

/// Whether a line begins with a label in capitals: "LUNGS: clear".
fn is_label(line: &str) -> bool {
    let Some((label, rest)) = line.split_once(':') else {
        return false;
    };
    rest.starts_with(char::is_whitespace)
        && label.chars().filter(|c| c.is_uppercase()).count() >= 2
        && label
            .chars()
            .all(|c| c.is_uppercase() || " ()/,&-".contains(c))
}

fn ends_early(line: &str, next: &str, width: usize) -> bool {
    let last = line.split_whitespace().last().unwrap_or("").to_lowercase();
    let goes_on = last.ends_with(['.', ',', ';', ':', '-', '/', '(', '&', '?', '!'])
        || JOINING_WORDS.contains(&last.as_str());
    let would_fit = line.chars().count() + 1 + next.chars().count() <= width;
    !goes_on && would_fit && next.starts_with(char::is_uppercase)
}
