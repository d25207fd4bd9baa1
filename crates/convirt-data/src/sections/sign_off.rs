//! What closes a report and says nothing of the image: who was told, who signed, who typed, and when.

use crate::sentences;

/// Words in a row that tell of a sign-off wherever they stand.
const PHRASES: [&str; 50] = [
    "at the time of discovery",
    "attending physician",
    "attending radiologist",
    "approved by",
    "authenticated by",
    "authorized by",
    "best regards",
    "by e-mail",
    "by email",
    "by fax",
    "by page",
    "by pager",
    "by phone",
    "by telephone",
    "digitally signed",
    "ed dashboard",
    "electronically approved",
    "electronically signed",
    "electronically verified",
    "end of impression",
    "end of report",
    "finalized by",
    "interpreted by",
    "kind regards",
    "on the phone",
    "on the telephone",
    "over the phone",
    "over the telephone",
    "personally interpreted",
    "personally reviewed",
    "personally viewed",
    "radiology dashboard",
    "read back",
    "read by",
    "released by",
    "reviewed by",
    "signed by",
    "signed electronically",
    "signed on",
    "teaching physician",
    "thank you",
    "typed by",
    "verified by",
    "veriphy",
    "via e-mail",
    "via email",
    "via pager",
    "via phone",
    "via telephone",
    "voice recognition",
];

/// Words that no finding has.
const WORDS: [&str; 9] = [
    "attest",
    "attestation",
    "dictated",
    "dictation",
    "sincerely",
    "telephoned",
    "transcribed",
    "transcription",
    "transcriptionist",
];

/// What comes before the colon of a signature, whatever follows.
const SIGNING_LABELS: [&str; 11] = [
    "attending",
    "cc",
    "dd",
    "dt",
    "interpreting",
    "job",
    "radiologist",
    "signed",
    "td",
    "typed",
    "workstation",
];

/// What comes before a colon and a name or a date; a reading may follow it too.
const LABELS: [&str; 12] = [
    "d",
    "date",
    "interpreted",
    "read",
    "reading",
    "released",
    "resident",
    "reviewed",
    "staff",
    "t",
    "time",
    "verified",
];

/// Who is told.
const PERSONS: [&str; 19] = [
    "attending",
    "clinician",
    "clinicians",
    "doctor",
    "dr",
    "drs",
    "m.d",
    "md",
    "np",
    "nurse",
    "pa-c",
    "physician",
    "physicians",
    "provider",
    "radiologist",
    "resident",
    "rn",
    "surgeon",
    "team",
];

/// How they are told.
const TELLING: [&str; 23] = [
    "acknowledged",
    "alerted",
    "aware",
    "called",
    "communicated",
    "contacted",
    "conveyed",
    "discussed",
    "e-mailed",
    "emailed",
    "faxed",
    "informed",
    "notification",
    "notified",
    "paged",
    "phoned",
    "relayed",
    "reported",
    "reviewed",
    "spoke",
    "spoken",
    "told",
    "transmitted",
];

/// Of these the ones that are said of findings and not of a disease.
const CONVEYING: [&str; 9] = [
    "communicated",
    "conveyed",
    "discussed",
    "e-mailed",
    "emailed",
    "faxed",
    "paged",
    "phoned",
    "relayed",
];

/// What is conveyed.
const MESSAGES: [&str; 10] = [
    "above",
    "finding",
    "findings",
    "impression",
    "recommendation",
    "recommendations",
    "report",
    "result",
    "results",
    "these",
];

/// How an attestation goes on after "I" and "I have".
const ATTESTING: [&str; 16] = [
    "agree",
    "attest",
    "called",
    "certify",
    "concur",
    "discussed",
    "edited",
    "examined",
    "informed",
    "interpreted",
    "notified",
    "personally",
    "reviewed",
    "supervised",
    "viewed",
    "was",
];

/// Letters behind the name of a doctor.
const DEGREES: [&str; 8] = ["d.o", "do", "frcr", "m.d", "mbbs", "md", "ph.d", "phd"];

/// Words of the longest label.
const MAX_LABEL_WORDS: usize = 3;

/// Words of the longest name with a degree.
const MAX_NAME_WORDS: usize = 7;

/// Words of dates and times.
const OF_TIME: [&str; 33] = [
    "a.m",
    "am",
    "p.m",
    "pm",
    "hrs",
    "hours",
    "at",
    "on",
    "est",
    "edt",
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "december",
];

/// Marks of removed names and dates, of MIMIC-CXR and of OpenI.
const REMOVED: [&str; 2] = ["___", "xxxx"];

/// Takes the sign-off from the end of a text of blocks, each a paragraph or an item.
pub(super) fn without_sign_off(mut blocks: Vec<String>) -> Vec<String> {
    while let Some(block) = blocks.last_mut() {
        let sentences = sentences(block);
        let closing = sentences.iter().rev().take_while(|it| is_sign_off(it));
        let closing = closing.count();
        if closing < sentences.len() || sentences.is_empty() && !is_stamp(&words(block)) {
            for sentence in sentences.iter().rev().take(closing) {
                let Some(rest) = block.strip_suffix(sentence.as_str()) else {
                    break;
                };
                *block = rest.trim_end().to_owned();
            }
            break;
        }
        blocks.pop();
    }
    blocks
}

/// Whether a sentence tells of calls, reviews, signatures or stamps alone.
pub(super) fn is_sign_off(sentence: &str) -> bool {
    let words = words(sentence);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let spaced = format!(" {} ", words.join(" "));
    let has_phrase = |phrase: &&str| spaced.contains(&format!(" {phrase} "));
    PHRASES.iter().any(has_phrase)
        || has(&WORDS)
        || has(&PERSONS) && has(&TELLING)
        || is_conveyed(&words)
        || tells_removed(&words)
        || is_attestation(&words)
        || is_labelled(sentence)
        || is_stamp(&words)
        || is_name(&words)
}

/// "These findings were conveyed …", "Results were called to …".
fn is_conveyed(words: &[String]) -> bool {
    let message = words.iter().position(|word| is_in(word, &MESSAGES));
    let conveyed = (0..words.len().saturating_sub(1)).position(|at| {
        let after = |offset| words.get(at + offset).map_or("", String::as_str);
        let is_to_someone = after(2) == "to" && !is_in(after(3), &["be", "have", "represent"]);
        is_in(&words[at], &["was", "were", "been", "is", "are"])
            && (is_in(after(1), &CONVEYING)
                || is_to_someone && (is_in(after(1), &TELLING) || after(1) == "given"))
    });
    matches!((message, conveyed), (Some(message), Some(conveyed)) if message <= conveyed)
}

/// "___ was paged", "discussed with ___".
fn tells_removed(words: &[String]) -> bool {
    words.windows(3).any(|three| {
        let [first, second, third] = three else {
            return false;
        };
        // A film of a removed date is reviewed or reported too.
        let is_told = is_in(third, &TELLING) && !is_in(third, &["reported", "reviewed"]);
        is_in(first, &REMOVED) && is_in(second, &["was", "were", "is"]) && is_told
            || is_in(first, &TELLING)
                && is_in(second, &["with", "to", "by"])
                && is_in(third, &REMOVED)
    })
}

fn is_attestation(words: &[String]) -> bool {
    match words {
        [i, have, next, ..] if i == "i" && have == "have" => is_in(next, &ATTESTING),
        [i, next, ..] if i == "i" => is_in(next, &ATTESTING),
        _ => false,
    }
}

/// "Signed: …", "Date: 3/4/2020", "Resident: Jane Doe".
fn is_labelled(sentence: &str) -> bool {
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
    is_in(first, &SIGNING_LABELS)
        || is_in(first, &LABELS) && (is_stamp(&words(rest)) || is_written_as_name())
}

/// Numbers, dates, times, initials and marks alone.
fn is_stamp(words: &[String]) -> bool {
    let says_nothing = |word: &String| {
        is_in(word, &REMOVED)
            || is_in(word, &OF_TIME)
            || is_in(word, &PERSONS)
            || is_in(word, &LABELS)
            || is_in(word, &SIGNING_LABELS)
            || !word.contains(char::is_alphabetic)
            || word.starts_with(|c: char| c.is_ascii_digit()) && word.len() <= 10
    };
    !words.is_empty() && words.iter().all(says_nothing)
}

fn is_name(words: &[String]) -> bool {
    let is_short = (2..=MAX_NAME_WORDS).contains(&words.len());
    is_short && words.last().is_some_and(|last| is_in(last, &DEGREES))
}

fn is_in(word: &str, list: &[&str]) -> bool {
    list.contains(&word)
}

/// In lower case, without the signs around them.
fn words(text: &str) -> Vec<String> {
    let is_sign = |c: char| !c.is_alphanumeric() && c != '_';
    text.split_whitespace()
        .map(|word| word.trim_matches(is_sign).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_reviews_signatures_and_stamps_are_sign_offs() {
        for sentence in [
            "Dr. ___ was told by phone at 10:15.",
            "Findings were discussed with Dr. Smith at 9 a.m.",
            "___ was paged at 3 p.m.",
            "These findings were communicated to the emergency department.",
            "The ordering physician was notified.",
            "Results telephoned to the ward.",
            "Dr. Smith is aware of these results.",
            "Results were called to the floor.",
            "XXXX was notified.",
            "Thank you for this referral.",
            "Reviewed by Jane Doe, MD.",
            "I have personally reviewed the images and agree with the interpretation.",
            "I agree with the above.",
            "As the attending radiologist, I have edited the report as necessary.",
            "Electronically signed by: Jane Doe, M.D.",
            "This report was dictated and not read.",
            "Dictated by J. Smith.",
            "D: 03/04/2020 10:15 T: 03/04/2020 11:20",
            "DATE: 3/4/2020",
            "Resident: Jane Doe",
            "Signed: the attending on call",
            "___ 10:15 AM",
            "03/04/2020 10:15",
            "Jane A. Doe, M.D.",
            "END OF REPORT",
        ] {
            assert!(is_sign_off(sentence), "{sentence}");
        }
    }

    #[test]
    fn what_is_seen_is_no_sign_off() {
        for sentence in [
            "The lungs are clear and there is no effusion.",
            "In comparison with the study of ___, there is little change.",
            "As compared to ___, the nodule called on the prior CT is gone.",
            "A previously reported nodule is not seen.",
            "Images reviewed show no pneumothorax.",
            "No pneumonia on 3/4.",
            "I see no effusion.",
            "Reading: no acute process.",
            "READ: NO ACUTE PROCESS.",
            "Resident read: Clear lungs.",
            "Findings are consistent with edema.",
            "The catheter was placed by the surgical service.",
            "Chest CT is recommended.",
            "No change since 10:15 a.m.",
            "These findings were present on ___.",
            "These are reported to be chronic.",
            "The old film of ___ was reviewed and the nodule was not seen.",
        ] {
            assert!(!is_sign_off(sentence), "{sentence}");
        }
    }

    #[test]
    fn a_sign_off_is_taken_from_the_end_alone() {
        let blocks = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        for (text, rest) in [
            (
                &["Seen by Dr. ___ on call, who was told. Clear lungs. Dr. ___ was called."][..],
                &["Seen by Dr. ___ on call, who was told. Clear lungs."][..],
            ),
            (
                &["1. Clear lungs.", "Dictated by J. Doe.", "___ 10:15 AM"],
                &["1. Clear lungs."],
            ),
            (&["Dr. ___ was told.", "3/4/2020"], &[]),
            (&["Clear lungs."], &["Clear lungs."]),
        ] {
            assert_eq!(without_sign_off(blocks(text)), rest, "{text:?}");
        }
    }
}
