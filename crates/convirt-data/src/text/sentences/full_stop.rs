//! Decides whether a full stop ends a sentence or belongs to an abbreviation, number or initial.

use crate::text::heading_names::{is_capitals, names_a_section};

/// Characters that are bullets anywhere in a line.
pub(super) const BULLETS: [char; 8] = ['•', '●', '▪', '■', '◦', '‣', '►', '○'];

/// Abbreviations that never end a sentence.
const NEVER_LAST: [&str; 27] = [
    "approx", "ca", "capt", "cf", "dr", "drs", "e.g", "eg", "esp", "fig", "figs", "gen", "i.e",
    "ie", "incl", "lt", "messrs", "mr", "mrs", "ms", "mx", "prof", "rev", "st", "viz", "vs", "v.s",
];

/// Abbreviations that end a sentence only before a capital.
const SELDOM_LAST: [&str; 56] = [
    "abd", "al", "ant", "appt", "assoc", "avg", "bilat", "cc", "cm", "corp", "dept", "diam",
    "diff", "est", "etc", "ext", "ft", "hosp", "hr", "hrs", "ht", "hx", "in", "inc", "inf", "jr",
    "kg", "lat", "lb", "lbs", "ltd", "max", "mg", "min", "mins", "ml", "mm", "mo", "mos", "neg",
    "oz", "poss", "post", "prob", "pt", "pts", "resp", "sec", "sr", "sup", "susp", "temp", "wk",
    "wt", "yr", "yrs",
];

/// Abbreviations if a number follows.
const BEFORE_NUMBER: [&str; 25] = [
    "apr", "art", "aug", "ch", "dec", "ed", "eq", "feb", "im", "img", "jan", "jul", "jun", "mar",
    "no", "nos", "nov", "nr", "oct", "p", "pp", "ref", "sep", "sept", "vol",
];

/// Words that are followed by a letter or number, which is then no initial or list number.
const NUMBERED_WORDS: [&str; 30] = [
    "cases",
    "category",
    "class",
    "factor",
    "figure",
    "grade",
    "group",
    "hepatitis",
    "image",
    "influenza",
    "level",
    "lobe",
    "nodule",
    "panel",
    "part",
    "phase",
    "rib",
    "ribs",
    "scale",
    "score",
    "segment",
    "segments",
    "series",
    "stage",
    "step",
    "type",
    "vertebra",
    "vitamin",
    "zone",
    "zones",
];

/// Words that begin a sentence and are not surnames.
const OPENING_WORDS: [&str; 24] = [
    "a",
    "an",
    "both",
    "cardiac",
    "clear",
    "findings",
    "heart",
    "if",
    "in",
    "it",
    "lung",
    "lungs",
    "mild",
    "no",
    "normal",
    "otherwise",
    "patient",
    "small",
    "stable",
    "the",
    "there",
    "these",
    "this",
    "unchanged",
];

const CLOSERS: [char; 14] = [
    ')', ']', '}', '"', '\'', '”', '’', '»', '）', '］', '」', '』', '】', '》',
];
const OPENERS: [char; 8] = ['(', '[', '{', '"', '\'', '“', '‘', '«'];

/// Punctuation that always ends a sentence: Chinese and Japanese, Arabic and Urdu, Indic, Armenian,
/// Ethiopic, Tibetan, Burmese and Khmer.
const UNAMBIGUOUS_STOPS: [char; 19] = [
    '。', '！', '？', '｡', '︒', '؟', '۔', '।', '॥', '։', '።', '፧', '།', '༎', '။', '។', '៕', '‼',
    '⁉',
];

/// The full-width full stop, which also occurs in numbers.
const WIDE_STOP: char = '．';

/// Whether a sentence ends after `word`, between `previous` and `next`.
pub(super) fn ends_sentence(previous: Option<&str>, word: &str, next: &str) -> bool {
    let core = word.trim_end_matches(CLOSERS);
    let is_closed = core.len() < word.len();
    if is_closed && starts_lower(next) {
        return false;
    }
    match core.chars().next_back() {
        Some(last) if last == WIDE_STOP || UNAMBIGUOUS_STOPS.contains(&last) => true,
        Some('!') => !starts_lower(next),
        // A question mark before a word or by itself marks a doubtful finding.
        Some('?') => {
            core.trim_end_matches(['?', '!'])
                .ends_with(char::is_alphanumeric)
                && !starts_lower(next)
        }
        Some('…') => starts_upper(next),
        Some('.') if core.ends_with("..") => starts_upper(next),
        Some('.') => full_stop_ends(previous, core, next),
        _ => false,
    }
}

/// Whether a line ends in punctuation that can end a sentence.
pub(super) fn ends_in_full_stop(line: &str) -> bool {
    let line = line.trim_end_matches(CLOSERS);
    line.ends_with(['.', '!', '?', '…', WIDE_STOP]) || line.ends_with(UNAMBIGUOUS_STOPS)
}

/// Whether a letter or number after `word` belongs to it: "segment 4", "hepatitis B".
pub(super) fn takes_label(word: &str) -> bool {
    NUMBERED_WORDS.contains(&word.to_lowercase().as_str())
}

/// Splits words that lack a space between sentences: "normal.No", "1.No", "•No", and scripts
/// without spaces.
pub(super) fn separate_glued(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (i, c) in word.char_indices() {
        if i < start {
            continue;
        }
        let end = i + c.len_utf8();
        let (before, after) = (&word[start..i], &word[end..]);
        if BULLETS.contains(&c) {
            parts.extend([before, &word[i..end]]);
            start = end;
        } else if UNAMBIGUOUS_STOPS.contains(&c) {
            let closes = |c| CLOSERS.contains(&c) || UNAMBIGUOUS_STOPS.contains(&c);
            let closed = word.len() - after.trim_start_matches(closes).len();
            parts.push(&word[start..closed]);
            start = closed;
        } else if c == '.' && is_glued_stop(before, after)
            || c == WIDE_STOP && !after.starts_with(char::is_numeric)
            || is_glued_number(before, c, after)
        {
            parts.push(&word[start..end]);
            start = end;
        }
    }
    parts.push(&word[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

fn full_stop_ends(previous: Option<&str>, word: &str, next: &str) -> bool {
    let stem = stem(word);
    let lower = stem.to_lowercase();
    let lower = lower.as_str();
    if NEVER_LAST.contains(&lower) || BEFORE_NUMBER.contains(&lower) && starts_digit(next) {
        return false;
    }
    if stem.chars().count() == 1 && stem.starts_with(char::is_alphabetic) {
        return letter_ends(previous, stem, next);
    }
    let is_number = !stem.contains(char::is_alphabetic);
    let has_inner_stop = stem.contains('.') && !is_number;
    if has_inner_stop || SELDOM_LAST.contains(&lower) {
        let before_title = NEVER_LAST.contains(&stem_of_next(next).as_str());
        return starts_upper(next) && !(has_inner_stop && before_title);
    }
    !(is_number && starts_lower(next))
}

/// Whether the full stop after a single letter ends a sentence, and is not that of an initial ("J.
/// Smith") or a genus ("S. aureus").
fn letter_ends(previous: Option<&str>, letter: &str, next: &str) -> bool {
    let is_label = previous.is_some_and(takes_label);
    let opens = OPENING_WORDS.contains(&stem_of_next(next).as_str());
    let is_lower = letter.starts_with(char::is_lowercase);
    !starts_lower(next) && (is_label || starts_upper(next) && (opens || is_lower))
}

fn is_glued_stop(before: &str, after: &str) -> bool {
    // "view.FINDINGS:".
    let is_before_heading = after
        .split_once(':')
        .is_some_and(|(label, _)| is_capitals(label) && names_a_section(label));
    let mut after = after.chars();
    let opens =
        after.next().is_some_and(char::is_uppercase) && after.next().is_none_or(char::is_lowercase);
    let stem = before.trim_start_matches(OPENERS);
    let is_word = stem.chars().count() > 1
        && stem
            .chars()
            .all(|c| c.is_alphanumeric() || c == ')' || c == '-')
        && !NEVER_LAST.contains(&stem.to_lowercase().as_str());
    let is_list_number = stem.len() == 1 && stem.starts_with(|c: char| c.is_ascii_digit());
    opens && (is_word || is_list_number) || is_word && is_before_heading
}

/// Whether a list number ends here, in a script without capitals: "1、心影", "（2）无".
fn is_glued_number(before: &str, c: char, after: &str) -> bool {
    let digits = before.trim_start_matches(['(', '（']);
    matches!(digits.len(), 1 | 2)
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(c, '.' | '、' | WIDE_STOP | ')' | '）')
        && after.starts_with(|c: char| c.is_alphabetic() && !c.is_lowercase() && !c.is_uppercase())
}

fn stem(word: &str) -> &str {
    word.trim_end_matches('.')
        .trim_start_matches(OPENERS)
        .trim_end_matches(CLOSERS)
}

fn stem_of_next(next: &str) -> String {
    let is_sign = |c: char| !c.is_alphanumeric();
    next.trim_matches(is_sign).to_lowercase()
}

fn starts_lower(word: &str) -> bool {
    word.trim_start_matches(OPENERS)
        .starts_with(char::is_lowercase)
}

fn starts_upper(word: &str) -> bool {
    word.trim_start_matches(OPENERS)
        .starts_with(char::is_uppercase)
}

fn starts_digit(word: &str) -> bool {
    word.trim_start_matches(['#', '('])
        .starts_with(|c: char| c.is_ascii_digit())
}
