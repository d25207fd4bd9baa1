//! Recognition of the sign-off of a report: notifications, signatures and stamps at its end.

mod vocabulary;
mod words;
mod notification;
mod signature;

use crate::text::sentences::sentences;
use notification::{is_anonymized_notification, is_conveyed, is_notified};
use signature::{is_attestation, is_labelled, is_name, is_office, is_signed, is_stamp};
use vocabulary::{
    MAX_NAME_WORDS, PLACES, SIGN_OFF_PHRASES, SIGN_OFF_WORDS, STATUSES, TRANSCRIPTION_WORDS,
};
use words::{has_hour, is_in, words};

/// Removes the sign-off from the end of a text, given as blocks (paragraphs and items).
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

/// Whether a sentence consists only of notifications, reviews, signatures or stamps.
pub(super) fn is_sign_off(sentence: &str) -> bool {
    let words = words(sentence);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let spaced = format!(" {} ", words.join(" "));
    let has_phrase = |phrase: &&str| spaced.contains(&format!(" {phrase} "));
    SIGN_OFF_PHRASES.iter().any(has_phrase)
        || has(&SIGN_OFF_WORDS)
        || is_notified(&words)
        || words.first().is_some_and(|first| first == "d/w")
        || is_typed(&words)
        || is_in(&words.join(" "), &STATUSES)
        || is_office(&words)
        || is_page(&words)
        || is_read_at(&words)
        || is_signed(sentence)
        || is_conveyed(&words)
        || is_anonymized_notification(&words)
        || is_attestation(&words)
        || is_labelled(sentence)
        || is_place(sentence)
        || is_stamp(&words)
        || is_name(&words)
}

/// Matches "Dictated but not read", but not "the transcribed effusion".
fn is_typed(words: &[String]) -> bool {
    (0..words.len()).any(|at| {
        let before = at.checked_sub(1).map_or("", |before| &words[before]);
        let next = words.get(at + 1).map_or("by", String::as_str);
        is_in(&words[at], &TRANSCRIPTION_WORDS)
            && before != "reverse"
            && (!is_in(before, &["a", "the"]) || is_in(next, &["by", "report"]))
    })
}

/// Matches "Page 1 of 2".
fn is_page(words: &[String]) -> bool {
    let says_number = |word: &String| word == "of" || word.parse::<u32>().is_ok();
    words.len() > 1 && words[0] == "page" && words[1..].iter().all(says_number)
}

/// Matches "Exam read at 10:22."
fn is_read_at(words: &[String]) -> bool {
    let is_read = words
        .windows(2)
        .any(|two| two[0] == "read" && two[1] == "at");
    is_read && has_hour(words) && words.len() <= MAX_NAME_WORDS
}

/// Matches "Location: Emergency Department".
fn is_place(sentence: &str) -> bool {
    sentence.split_once(':').is_some_and(|(label, place)| {
        let says_place = |word: &String| is_in(word, &PLACES);
        words(label) == ["location"] && words(place).iter().any(says_place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_reviews_signatures_and_stamps_are_sign_offs() {
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
            "Dr. Jane Roe",
            "JR/kl",
            "jr:kl",
            "JR 3/4/2019 10:22",
            "2019-03-04T10:22:33",
            "/s/ Jane Roe",
            "E-signed by Jane Roe",
            "Electronic signature: Jane Roe",
            "Submitted by:",
            "Dictating workstation: RAD12",
            "Report status: Final",
            "Preliminary report.",
            "(Over)",
            "Page 1 of 1",
            "Exam read at 10:22.",
            "Accession number: 123456",
            "RPID: 12345",
            "Department of Radiology, General Hospital",
            "Fellow, Thoracic Radiology",
            "Referring Physician: Jane Roe",
            "Communicated to the ED via EPIC chat at 10:12.",
            "Message sent to Dr. ___ via Epic secure chat.",
            "d/w Dr. ___ at 10am",
            "A critical result message was left at 5:15 pm.",
            "Findings entered into the critical results dashboard at 3:12 pm.",
            "Impression discussed with patient.",
            "CRITICAL RESULT: Yes.",
            "COMMENT: Dr. Roe was told.",
            "Notification of physician: yes.",
            "Please call with any questions.",
            "For questions, page 12345.",
            "The study and the report were reviewed by the staff radiologist.",
            "Gez. Dr. Müller",
            "Prof. Dr. med. Anna Müller",
            "PD Dr. Jane Roe",
            "J. Roe",
            "Jane A. Roe.",
            "Location: Emergency Department",
        ] {
            assert!(is_sign_off(sentence), "{sentence}");
        }
    }

    #[test]
    fn findings_are_not_sign_offs() {
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
            "Right nodule; follow-up should be discussed with the surgeon.",
            "The chest tube has been reported to the resident service as kinked and is straight now.",
            "PICC placed by nurse ends in SVC, communicated with the azygos.",
            "The transcribed effusion is small.",
            "In the left apex a nodule reported by Dr. Roe is unchanged.",
            "A nodule was reviewed with the radiologist and is calcified.",
            "Findings suggest a nodule that was reported by the surgeon.",
            "Dr. Roe's catheter ends in the SVC.",
            "Dr. Roe: no effusion",
            "10mm",
            "Reverse transcription PCR was positive.",
            "Location: right upper lobe.",
            "Mild Cardiomegaly",
            "S. pneumoniae was found.",
            "Vitamin D.",
        ] {
            assert!(!is_sign_off(sentence), "{sentence}");
        }
    }

    #[test]
    fn a_sign_off_is_only_removed_from_the_end() {
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
