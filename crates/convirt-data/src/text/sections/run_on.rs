//! Findings that follow in the paragraph of another heading.

use super::sign_off::is_sign_off;
use crate::text::sentences::sentences;

/// Beginnings of sentences that describe findings, without a leading "the".
const OPENINGS: [&str; 33] = [
    "as compared to",
    "as compared with",
    "cardiac silhouette",
    "cardiac size",
    "cardiomediastinal contours",
    "cardiomediastinal silhouette",
    "compared to",
    "compared with",
    "heart is",
    "heart size",
    "in comparison to",
    "in comparison with",
    "lung volumes",
    "lungs are",
    "lungs remain",
    "mediastinal contours",
    "no acute",
    "no change",
    "no consolidation",
    "no definite",
    "no effusion",
    "no evidence",
    "no focal",
    "no pleural",
    "no pneumonia",
    "no pneumothorax",
    "no radiographic",
    "no relevant",
    "no significant",
    "pulmonary vasculature",
    "there are",
    "there has been",
    "there is",
];

/// Returns the text from the first sentence that begins like findings.
pub(super) fn findings_within(text: &str) -> Option<String> {
    let sentences = sentences(text);
    let start = sentences.iter().position(|it| opens_findings(it))?;
    let end = sentences.iter().rposition(|it| !is_sign_off(it))?;
    let findings = sentences.get(start..=end)?;
    Some(findings.join(" "))
}

fn opens_findings(sentence: &str) -> bool {
    let sentence = sentence.to_lowercase();
    let sentence = sentence.strip_prefix("the ").unwrap_or(&sentence);
    OPENINGS.iter().any(|opening| {
        let rest = sentence.strip_prefix(opening);
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
}
