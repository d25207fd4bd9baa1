//! What can be told of one text.

use super::encoding::{lost, mixed_up, stray};
use super::finding::FindingKind;
use super::identifiers::identifiers;
use crate::text::{SectionName, headings};

/// Headings that a finding names.
const HEADINGS_NAMED: usize = 4;

/// Tells what is to be said of a text that is neither empty nor too short.
pub(super) fn complaints(text: &str) -> Vec<(FindingKind, String)> {
    let checks = [
        (FindingKind::Mojibake, mixed_up(text)),
        (FindingKind::LostCharacters, lost(text)),
        (FindingKind::StrayCharacters, stray(text)),
        (FindingKind::IdentifyingText, identifying(text)),
    ];
    let found = checks
        .into_iter()
        .filter_map(|(kind, detail)| Some((kind, detail?)));
    found.chain(report_headings(text)).collect()
}

/// The start of a text, for a finding about it; none of a text that may identify a patient.
pub(super) fn excerpt(text: &str) -> String {
    const LENGTH: usize = 60;
    if !identifiers(text).is_empty() {
        return "a text that may identify a patient".into();
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("“{}…”", &text[..end]),
        None => format!("“{text}”"),
    }
}

fn identifying(text: &str) -> Option<String> {
    let found = identifiers(text);
    (!found.is_empty()).then(|| found.join(", "))
}

fn report_headings(text: &str) -> Option<(FindingKind, String)> {
    let mut found = headings(text);
    if found.is_empty() {
        return None;
    }
    let is_of_image = |name: SectionName| {
        use SectionName::{Findings, Impression, Recommendations};
        matches!(name, Findings | Impression | Recommendations)
    };
    let is_whole = !found.iter().all(|(name, _)| is_of_image(*name));
    // What makes it a whole report comes first.
    found.sort_by_key(|(name, _)| is_of_image(*name));
    let kind = if is_whole {
        FindingKind::WholeReport
    } else {
        FindingKind::Headings
    };
    let labels = found.iter().take(HEADINGS_NAMED);
    let labels: Vec<_> = labels.map(|(_, label)| label.as_str()).collect();
    Some((kind, labels.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<FindingKind> {
        complaints(text).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn each_fault_of_a_text_is_told_by_its_kind() {
        for (text, kind) in [
            ("The patientâ€™s heart is normal.", FindingKind::Mojibake),
            ("Fever of 38?6?C, lungs clear.", FindingKind::LostCharacters),
            ("The heart\u{feff} is normal.", FindingKind::StrayCharacters),
            (
                "MRN 1234567. The heart is normal.",
                FindingKind::IdentifyingText,
            ),
            ("FINDINGS: The heart is normal.", FindingKind::Headings),
            ("IMPRESSION\nThe heart is normal.", FindingKind::Headings),
            (
                "INDICATION: Cough.\nFINDINGS: The heart is normal.",
                FindingKind::WholeReport,
            ),
        ] {
            assert_eq!(kinds(text), [kind], "{text}");
        }
        let (_, detail) = &complaints("FINDINGS: Clear.\nTECHNIQUE: PA.\nIMPRESSION: Normal.")[0];
        assert_eq!(detail, "TECHNIQUE, FINDINGS, IMPRESSION");
    }

    #[test]
    fn a_text_as_it_should_be_has_no_faults() {
        for text in [
            "The heart is normal. No effusion, no pneumothorax.",
            "LUNGS: Clear.\nHEART: Normal.\nCHEST: No fracture at 10:15.",
            "Impression of the left ventricle on the oesophagus. NOTE: none.",
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_never_of_an_identifying_text() {
        assert_eq!(excerpt("The  heart\nis normal."), "“The heart is normal.”");
        assert_eq!(excerpt(&"é".repeat(80)).chars().count(), 63);
        assert!(!excerpt("MRN 1234567, normal").contains("123"));
    }
}
