//! Sentences that tell who was notified of the findings.

use super::vocabulary::{
    ANONYMIZED, CONVEYING_VERBS, FINDING_WORDS, MESSAGES, NOTIFICATION_VERBS, PERSONS,
    SUBJECT_MODIFIERS,
};
use super::words::{has_hour, is_in};

/// Whether a person is notified: "Dr. Roe was told", "the case was discussed with the nurse".
///
/// The subject must be a person or a message, or a time must be given. Otherwise, what is
/// "reported" or "reviewed" is a finding.
pub(super) fn is_notified(words: &[String]) -> bool {
    let Some(verb) = words
        .iter()
        .position(|word| is_in(word, &NOTIFICATION_VERBS))
    else {
        return false;
    };
    let is_person = |word: &String| is_in(word, &PERSONS) || is_in(word, &ANONYMIZED);
    let subject = words[..verb].iter();
    let mut subject = subject.skip_while(|word| is_in(word, &SUBJECT_MODIFIERS));
    let next = words.get(verb + 1).map_or("", String::as_str);
    let is_direct = is_in(next, &["by", "directly", "in", "to", "w", "with"]);
    let is_of_message = match subject.next() {
        None => is_direct || words[..verb].iter().any(|word| word == "was") || next == "dr",
        Some(first) if is_in(first, &MESSAGES) => is_direct || words.iter().any(is_person),
        Some(first) => is_person(first) || is_in(first, &["he", "she", "they", "i", "we"]),
    };
    let sees = words[..verb].iter().any(|word| is_in(word, &FINDING_WORDS));
    let has_person = || words.iter().any(is_person);
    let has_patient = || words.iter().any(|word| word == "patient");
    !sees && (is_of_message && (has_person() || has_patient()) || has_hour(words) && has_person())
        || verb == 0 && is_in(&words[0], &CONVEYING_VERBS) && is_direct && has_hour(words)
}

/// Matches "These findings were conveyed …", "Results were called to …".
pub(super) fn is_conveyed(words: &[String]) -> bool {
    let message = words.iter().position(|word| is_in(word, &MESSAGES));
    let conveyed = (0..words.len().saturating_sub(1)).position(|at| {
        let after = |offset| words.get(at + offset).map_or("", String::as_str);
        let is_to_someone = after(2) == "to" && !is_in(after(3), &["be", "have", "represent"]);
        is_in(&words[at], &["was", "were", "been", "is", "are"])
            && (is_in(after(1), &CONVEYING_VERBS)
                || is_to_someone && (is_in(after(1), &NOTIFICATION_VERBS) || after(1) == "given"))
    });
    matches!((message, conveyed), (Some(message), Some(conveyed)) if message <= conveyed)
}

/// Matches "___ was paged", "discussed with ___".
pub(super) fn is_anonymized_notification(words: &[String]) -> bool {
    words.windows(3).any(|three| {
        let [first, second, third] = three else {
            return false;
        };
        // A film with an anonymized date may be "reviewed" or "reported" too.
        let is_verb = is_in(third, &NOTIFICATION_VERBS) && !is_in(third, &["reported", "reviewed"]);
        is_in(first, &ANONYMIZED) && is_in(second, &["was", "were", "is"]) && is_verb
            || is_in(first, &NOTIFICATION_VERBS)
                && is_in(second, &["with", "to", "by"])
                && is_in(third, &ANONYMIZED)
    })
}
