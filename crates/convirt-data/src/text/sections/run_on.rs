//! Findings that run on from another heading's text.

use super::sign_off::is_sign_off;
use crate::text::sentences::sentences;

/// How sentences begin that say what is seen; "the" in front of them does not count.
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

/// Returns a text from its first sentence on that begins as findings do.
pub(super) fn findings_within(text: &str) -> Option<String> {
    let sentences = sentences(text);
    let start = sentences.iter().position(|it| opens_findings(it))?;
    let end = sentences.iter().rposition(|it| !is_sign_off(it))?;
    let said = sentences.get(start..=end)?;
    Some(said.join(" "))
}

fn opens_findings(sentence: &str) -> bool {
    let sentence = sentence.to_lowercase();
    let sentence = sentence.strip_prefix("the ").unwrap_or(&sentence);
    OPENINGS.iter().any(|opening| {
        let rest = sentence.strip_prefix(opening);
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
}
