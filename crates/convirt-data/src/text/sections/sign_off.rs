//! What closes a report and says nothing of the image: who was told, who signed, who typed, and
//! when.

use crate::text::sentences::sentences;

/// Words in a row that tell of a sign-off wherever they stand.
const PHRASES: &[&str] = &[
    "at the time of discovery",
    "attending physician",
    "attending radiologist",
    "approved by",
    "authenticated by",
    "authorized by",
    "agree with above",
    "any questions",
    "best regards",
    "board certified",
    "by e-mail",
    "by email",
    "by fax",
    "by page",
    "by pager",
    "by phone",
    "by telephone",
    "communications system",
    "critical result message",
    "critical results dashboard",
    "department of radiology",
    "digitally signed",
    "e-signed",
    "ed dashboard",
    "electronic signature",
    "electronically approved",
    "electronically authenticated",
    "electronically signed",
    "electronically verified",
    "end of impression",
    "end of report",
    "epic chat",
    "finalized by",
    "for questions",
    "have questions",
    "interpreted by",
    "kind regards",
    "on the phone",
    "on the telephone",
    "over the phone",
    "over the telephone",
    "message sent",
    "personally interpreted",
    "personally reviewed",
    "personally viewed",
    "prepared by",
    "radiology dashboard",
    "read back",
    "read by",
    "referring physician",
    "released by",
    "reviewed by",
    "signed by",
    "signed electronically",
    "secure chat",
    "signed on",
    "speech recognition",
    "submitted by",
    "teaching physician",
    "thank you",
    "telephone notification",
    "typed by",
    "verified by",
    "veriphy",
    "via e-mail",
    "via email",
    "via pager",
    "via phone",
    "via telephone",
    "voice recognition",
    "notification of physician",
];

/// Words that no finding has.
const WORDS: [&str; 6] = [
    "attest",
    "attestation",
    "dictation",
    "sincerely",
    "telephoned",
    "transcriptionist",
];

/// What is done with reports; "the transcribed effusion" is a finding all the same.
const TYPING: [&str; 3] = ["dictated", "transcribed", "transcription"];

/// What the whole of a sentence may be.
const STATUSES: [&str; 14] = [
    "confidential",
    "cont",
    "continued",
    "critical result no",
    "critical result yes",
    "final",
    "over",
    "preliminary",
    "preliminary report",
    "report finalized",
    "report released",
    "report status final",
    "report status preliminary",
    "signed",
];

/// Words of the units in which radiologists work.
const OFFICES: [&str; 8] = [
    "attending",
    "department",
    "division",
    "fellow",
    "hospital",
    "professor",
    "resident",
    "section",
];

/// What comes before the colon of a signature, whatever follows.
const SIGNING_LABELS: [&str; 14] = [
    "accession",
    "attending",
    "cc",
    "dd",
    "dictating",
    "dt",
    "interpreting",
    "job",
    "radiologist",
    "rpid",
    "signed",
    "td",
    "typed",
    "workstation",
];

/// What comes before a colon and a name or a date; a reading may follow it too.
const LABELS: [&str; 14] = [
    "approved",
    "completed",
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
const MESSAGES: [&str; 17] = [
    "above",
    "case",
    "exam",
    "examination",
    "finding",
    "findings",
    "images",
    "impression",
    "it",
    "recommendation",
    "recommendations",
    "report",
    "result",
    "results",
    "study",
    "these",
    "this",
];

/// What may stand before a message or a person that a sentence begins with.
const BEFORE_SUBJECTS: [&str; 24] = [
    "a",
    "all",
    "also",
    "an",
    "and",
    "clinical",
    "comment",
    "covering",
    "critical",
    "final",
    "important",
    "note",
    "of",
    "on-call",
    "ordering",
    "patient's",
    "preliminary",
    "primary",
    "referring",
    "requesting",
    "the",
    "updated",
    "urgent",
    "was",
];

/// Words before which a sentence says what is seen, whoever is told behind them.
const SEEING: [&str; 14] = [
    "compatible",
    "concerning",
    "consistent",
    "indicate",
    "represent",
    "represents",
    "show",
    "shows",
    "stable",
    "suggest",
    "suggestive",
    "suggests",
    "suspicious",
    "unchanged",
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

/// What stands before the name of a doctor.
const TITLES: [&str; 6] = ["dr", "drs", "med", "pd", "priv.-doz", "prof"];

/// "Signed" in other languages, before a name.
const SIGNED: [&str; 5] = ["firmado", "gez", "gezeichnet", "signé", "vidiert"];

/// Words of places in a hospital.
const PLACES: [&str; 11] = [
    "clinic",
    "department",
    "ed",
    "emergency",
    "er",
    "floor",
    "hospital",
    "icu",
    "outpatient",
    "room",
    "ward",
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
        || is_told(&words)
        || words.first().is_some_and(|first| first == "d/w")
        || is_typed(&words)
        || is_in(&words.join(" "), &STATUSES)
        || is_office(&words)
        || is_page(&words)
        || is_read_at(&words)
        || is_signed(sentence)
        || is_conveyed(&words)
        || tells_removed(&words)
        || is_attestation(&words)
        || is_labelled(sentence)
        || is_place(sentence)
        || is_stamp(&words)
        || is_name(&words)
}

/// "Dr. Roe was told", "the case was discussed with the nurse": of a person or a message, or at an
/// hour; what else is reported or reviewed by someone is a finding.
fn is_told(words: &[String]) -> bool {
    let Some(told) = words.iter().position(|word| is_in(word, &TELLING)) else {
        return false;
    };
    let is_person = |word: &String| is_in(word, &PERSONS) || is_in(word, &REMOVED);
    let subject = words[..told].iter();
    let mut subject = subject.skip_while(|word| is_in(word, &BEFORE_SUBJECTS));
    let next = words.get(told + 1).map_or("", String::as_str);
    let is_direct = is_in(next, &["by", "directly", "in", "to", "w", "with"]);
    let is_of_message = match subject.next() {
        None => is_direct || words[..told].iter().any(|word| word == "was") || next == "dr",
        Some(first) if is_in(first, &MESSAGES) => is_direct || words.iter().any(is_person),
        Some(first) => is_person(first) || is_in(first, &["he", "she", "they", "i", "we"]),
    };
    let sees = words[..told].iter().any(|word| is_in(word, &SEEING));
    let has_person = || words.iter().any(is_person);
    let has_patient = || words.iter().any(|word| word == "patient");
    !sees && (is_of_message && (has_person() || has_patient()) || has_hour(words) && has_person())
        || told == 0 && is_in(&words[0], &CONVEYING) && is_direct && has_hour(words)
}

fn has_hour(words: &[String]) -> bool {
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

/// "Dictated but not read", and not "the transcribed effusion".
fn is_typed(words: &[String]) -> bool {
    (0..words.len()).any(|at| {
        let before = at.checked_sub(1).map_or("", |before| &words[before]);
        let next = words.get(at + 1).map_or("by", String::as_str);
        is_in(&words[at], &TYPING)
            && before != "reverse"
            && (!is_in(before, &["a", "the"]) || is_in(next, &["by", "report"]))
    })
}

/// "Fellow, Thoracic Radiology".
fn is_office(words: &[String]) -> bool {
    let has_office = words.iter().any(|word| is_in(word, &OFFICES));
    words.len() <= MAX_NAME_WORDS && has_office && words.iter().any(|word| word == "radiology")
}

/// "Page 1 of 2".
fn is_page(words: &[String]) -> bool {
    let says_number = |word: &String| word == "of" || word.parse::<u32>().is_ok();
    words.len() > 1 && words[0] == "page" && words[1..].iter().all(says_number)
}

/// "Exam read at 10:22."
fn is_read_at(words: &[String]) -> bool {
    let is_read = words
        .windows(2)
        .any(|two| two[0] == "read" && two[1] == "at");
    is_read && has_hour(words) && words.len() <= MAX_NAME_WORDS
}

/// "/s/ Jane Roe", "Dr. Jane Roe", "JR/kl", "JR 3/4/2019".
fn is_signed(sentence: &str) -> bool {
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
        || is_in(&first.to_lowercase(), &SIGNED)
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

/// "J. Roe", "Jane A. Roe".
fn is_initialled(sentence: &str) -> bool {
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

/// "Location: Emergency Department".
fn is_place(sentence: &str) -> bool {
    sentence.split_once(':').is_some_and(|(label, place)| {
        let says_place = |word: &String| is_in(word, &PLACES);
        words(label) == ["location"] && words(place).iter().any(says_place)
    })
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
