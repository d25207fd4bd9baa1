//! Checks of a single text.

mod encoding;
mod identifiers;

use super::finding::{FindingKind, Problem};
use crate::files::beginning;
use crate::text::{SectionName, headings};
use encoding::{find_lost, find_mojibake, find_stray};
use identifiers::identifiers;

pub(super) use encoding::repaired;

/// Headings named in a finding.
const HEADINGS_NAMED: usize = 4;

/// What is shown in place of a text that may identify a patient.
const NOT_SHOWN: &str = "a text that may identify a patient";

/// Returns the problems of a text; the more often one occurs in it, the worse.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let checks = [
        (FindingKind::Mojibake, find_mojibake(text)),
        (FindingKind::LostCharacters, find_lost(text)),
        (FindingKind::StrayCharacters, find_stray(text)),
        (FindingKind::IdentifyingText, identifying(text)),
    ];
    let problems = checks.into_iter().filter_map(|(kind, problem)| {
        let (detail, count) = problem?;
        Some(Problem::new(kind, detail).with_extent(count as f64))
    });
    problems.chain(report_headings(text)).collect()
}

/// Returns a text for a finding, up to a length, unless it may identify a patient.
pub(super) fn shown(text: &str) -> String {
    if identifiers(text).is_empty() {
        beginning(text, 2_000).into_owned()
    } else {
        NOT_SHOWN.into()
    }
}

/// Returns the start of a text for a finding, unless the text may identify a patient.
pub(super) fn excerpt(text: &str) -> String {
    if !identifiers(text).is_empty() {
        return NOT_SHOWN.into();
    }
    let words: Vec<_> = text.split_whitespace().collect();
    format!("“{}”", beginning(&words.join(" "), 60))
}

fn identifying(text: &str) -> Option<(String, usize)> {
    let kinds = identifiers(text);
    (!kinds.is_empty()).then(|| (kinds.join(", "), kinds.len()))
}

fn report_headings(text: &str) -> Option<Problem> {
    let mut headings = headings(text);
    if headings.is_empty() {
        return None;
    }
    let describes_image = |name: SectionName| {
        use SectionName::{Findings, Impression, Recommendations};
        matches!(name, Findings | Impression | Recommendations)
    };
    let is_whole = !headings.iter().all(|(name, _)| describes_image(*name));
    // Headings of sections that do not describe the image come first.
    headings.sort_by_key(|(name, _)| describes_image(*name));
    let kind = if is_whole {
        FindingKind::WholeReport
    } else {
        FindingKind::Headings
    };
    let labels = headings.iter().take(HEADINGS_NAMED);
    let labels: Vec<_> = labels.map(|(_, label)| label.as_str()).collect();
    Some(Problem::new(kind, labels.join(", ")).with_extent(headings.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<FindingKind> {
        let problems = problems(text).into_iter();
        problems.map(|problem| problem.kind).collect()
    }

    #[test]
    fn each_problem_of_a_text_is_found() {
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
        let problem = &problems("FINDINGS: Clear.\nTECHNIQUE: PA.\nIMPRESSION: Normal.")[0];
        assert_eq!(problem.detail, "TECHNIQUE, FINDINGS, IMPRESSION");
        assert_eq!(problem.extent, 3.0);
    }

    #[test]
    fn a_good_text_has_no_problems() {
        for text in [
            "The heart is normal. No effusion, no pneumothorax.",
            "LUNGS: Clear.\nHEART: Normal.\nCHEST: No fracture at 10:15.",
            "Impression of the left ventricle on the oesophagus. NOTE: none.",
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_never_from_an_identifying_text() {
        assert_eq!(excerpt("The  heart\nis normal."), "“The heart is normal.”");
        assert_eq!(excerpt(&"é".repeat(80)).chars().count(), 63);
        assert!(!excerpt("MRN 1234567, normal").contains("123"));
    }
}
