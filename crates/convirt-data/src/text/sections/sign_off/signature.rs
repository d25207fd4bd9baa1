//! Signatures, stamps and attestations.

use super::vocabulary::{
    ANONYMIZED, ATTESTATION_VERBS, DEGREES, MAX_LABEL_WORDS, MAX_NAME_WORDS, NAME_OR_DATE_LABELS,
    OFFICES, PERSONS, SIGNATURE_LABELS, SIGNED_IN_OTHER_LANGUAGES, TIME_WORDS, TITLES,
};
use super::words::{is_in, words};

pub(super) fn is_attestation(words: &[String]) -> bool {
    match words {
        [i, have, next, ..] if i == "i" && have == "have" => is_in(next, &ATTESTATION_VERBS),
        [i, next, ..] if i == "i" => is_in(next, &ATTESTATION_VERBS),
        _ => false,
    }
}

/// Matches "/s/ Jane Roe", "Dr. Jane Roe", "JR/kl", "JR 3/4/2019".
pub(super) fn is_signed(sentence: &str) -> bool {
    let mut words = sentence.split_whitespace();
    let (Some(first), count) = (words.next(), words.clone().count()) else {
        return false;
    };
    let first = first.trim_end_matches(['.', ',']);
    let is_short =
        |text: &str| (2..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic());
    let is_pair = |text: &str| {
        let pair = text.split_once(['/', ':']);
        pair.is_some_and(|(author, typist)| is_short(author) && is_short(typist))
    };
    let is_number = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains(char::is_alphabetic)
    };
    let is_title = |word: &str| is_in(&word.trim_end_matches(['.', ',']).to_lowercase(), &TITLES);
    let is_name =
        |word: &str| word.starts_with(char::is_uppercase) && !word.contains(':') || is_title(word);
    let is_doctor = is_title(first) && words.clone().any(|word| !is_title(word));
    first == "/s/"
        || is_in(&first.to_lowercase(), &SIGNED_IN_OTHER_LANGUAGES)
        || is_initialled(sentence)
        || count == 0 && is_pair(first)
        || count > 0 && is_pair(first) && words.clone().all(is_number)
        || is_doctor && (1..=5).contains(&count) && words.clone().all(is_name)
        || is_short(first)
            && first.bytes().all(|b| b.is_ascii_uppercase())
            && (1..=2).contains(&count)
            && words
                .clone()
                .all(|word| is_number(word) && word.contains(['/', ':']))
}

/// Matches "J. Roe", "Jane A. Roe".
pub(super) fn is_initialled(sentence: &str) -> bool {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let is_initial = |word: &&str| {
        let letter = word.strip_suffix('.').unwrap_or("");
        letter.chars().count() == 1 && letter.chars().all(char::is_uppercase)
    };
    let is_capitalized = |word: &&str| {
        let mut letters = word.trim_end_matches(['.', ',']).chars();
        letters.next().is_some_and(char::is_uppercase)
            && letters.all(|c| c.is_alphabetic() || "-'’".contains(c))
    };
    let is_family_name = |word: &&str| is_capitalized(word) && word.contains(char::is_lowercase);
    (2..=4).contains(&words.len())
        && words.iter().any(is_initial)
        && words
            .iter()
            .all(|word| is_initial(word) || is_capitalized(word))
        && words.last().is_some_and(is_family_name)
}

/// Matches "Signed: …", "Date: 3/4/2020", "Resident: Jane Doe".
pub(super) fn is_labelled(sentence: &str) -> bool {
    let Some((label, rest)) = sentence.split_once(':') else {
        return false;
    };
    let label = words(label);
    let Some(first) = label.first().filter(|_| label.len() <= MAX_LABEL_WORDS) else {
        return false;
    };
    let is_written_as_name = || {
        let mut words = rest.split_whitespace();
        let count = words.clone().count();
        (2..=MAX_NAME_WORDS).contains(&count)
            && rest.contains(char::is_lowercase)
            && words.all(|word| !word.starts_with(char::is_lowercase))
    };
    is_in(first, &SIGNATURE_LABELS)
        || is_in(first, &NAME_OR_DATE_LABELS) && (is_stamp(&words(rest)) || is_written_as_name())
}

pub(super) fn is_name(words: &[String]) -> bool {
    let is_short = (2..=MAX_NAME_WORDS).contains(&words.len());
    is_short && words.last().is_some_and(|last| is_in(last, &DEGREES))
}

/// Matches "Fellow, Thoracic Radiology".
pub(super) fn is_office(words: &[String]) -> bool {
    let has_office = words.iter().any(|word| is_in(word, &OFFICES));
    words.len() <= MAX_NAME_WORDS && has_office && words.iter().any(|word| word == "radiology")
}

/// Whether words are only numbers, dates, times, labels and placeholders.
pub(super) fn is_stamp(words: &[String]) -> bool {
    let says_nothing = |word: &String| {
        is_in(word, &ANONYMIZED)
            || is_in(word, &TIME_WORDS)
            || is_in(word, &PERSONS)
            || is_in(word, &NAME_OR_DATE_LABELS)
            || is_in(word, &SIGNATURE_LABELS)
            || !word.contains(char::is_alphabetic)
            || word.starts_with(|c: char| c.is_ascii_digit())
                && word.len() <= 10
                && !word.ends_with("mm")
                && !word.ends_with("cm")
            || word.len() > 1
                && word
                    .chars()
                    .all(|c| c.is_ascii_digit() || "-:.tz".contains(c))
    };
    !words.is_empty() && words.iter().all(says_nothing)
}
