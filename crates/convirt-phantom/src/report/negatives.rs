//! Sentences on findings that are absent or have resolved, and sentences unrelated to the image.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::phrases::{self, pick, side_word};
use super::prose::put;
use crate::chest::{Extent, Finding, Side};

/// Returns sentences that deny absent findings: always pneumothorax, effusion and consolidation,
/// sometimes edema.
pub(crate) fn denials(findings: &[Finding], rng: &mut ChaCha8Rng) -> Vec<String> {
    let any = |is_kind: fn(&Finding) -> bool| findings.iter().any(is_kind);
    let effusion_on = |side: Side| {
        let effusion = Finding::Effusion {
            side,
            extent: Extent::Small,
        };
        findings.iter().any(|finding| finding.is_same(&effusion))
    };
    let mut sentences = Vec::new();
    let mut absent = Vec::new();
    let without_effusion = Side::BOTH.map(|side| !effusion_on(side));
    match without_effusion {
        [true, true] => absent.push("pleural effusion"),
        [false, false] => {}
        _ => {
            let side = if without_effusion[0] {
                Side::Right
            } else {
                Side::Left
            };
            if rng.random_bool(0.4) {
                sentences.push(format!("No {} pleural effusion.", side_word(side)));
            }
        }
    }
    if !any(|finding| matches!(finding, Finding::Pneumothorax { .. })) {
        absent.push("pneumothorax");
    }
    if !any(|finding| matches!(finding, Finding::Consolidation { .. })) {
        absent.push("focal consolidation");
    }
    let clear = absent.len() == 3 && !any(|finding| matches!(finding, Finding::Nodule { .. }));
    if clear && rng.random_bool(0.5) {
        sentences.push(pick(&["The lungs are clear.", "Both lungs are clear."], rng).to_string());
    }
    if rng.random_bool(0.2) {
        absent.push("pulmonary edema");
    }
    let rotation = rng.random_range(0..absent.len().max(1));
    absent.rotate_left(rotation);
    let per_sentence = rng.random_range(1..=3);
    for group in absent.chunks(per_sentence) {
        let list = match group {
            [one] => (*one).to_string(),
            [one, two] => format!("{one} or {two}"),
            many => format!(
                "{}, or {}",
                many[..many.len() - 1].join(", "),
                many[many.len() - 1]
            ),
        };
        let opening = pick(
            &[
                "No",
                "There is no",
                "No evidence of",
                "There is no evidence of",
                "Negative for",
            ],
            rng,
        );
        sentences.push(format!("{opening} {list}."));
    }
    sentences
}

/// Returns sentences on findings that have resolved since the previous study.
pub(crate) fn departures(
    findings: &[Finding],
    previous: Option<&[Finding]>,
    rng: &mut ChaCha8Rng,
) -> Vec<String> {
    let mut sentences = Vec::new();
    for gone in previous.unwrap_or_default() {
        let stays = findings.iter().any(|finding| finding.is_same(gone));
        if stays || rng.random_bool(0.5) {
            continue;
        }
        sentences.push(match phrases::noun(gone, false, rng) {
            Some(noun) => put(
                pick(
                    &[
                        "The previously seen {bare} {has} resolved.",
                        "Previously noted {bare} {is} no longer seen.",
                    ],
                    rng,
                ),
                &noun,
            ),
            None => phrases::removal(gone, rng),
        });
    }
    sentences
}

/// Returns sentences without information on the image's findings, which real reports contain as
/// well.
pub(crate) fn asides(
    findings: &[Finding],
    previous: Option<&[Finding]>,
    rng: &mut ChaCha8Rng,
) -> Vec<String> {
    let mut sentences = Vec::new();
    let bent = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Scoliosis { .. }));
    if !bent && rng.random_bool(0.12) {
        sentences.push("No acute osseous abnormality.".to_string());
    }
    if previous.is_some_and(<[_]>::is_empty) && findings.is_empty() && rng.random_bool(0.3) {
        sentences.push("No significant interval change since ___.".to_string());
    }
    let urgent = findings.iter().any(|finding| {
        matches!(
            finding,
            Finding::Pneumothorax { .. } | Finding::EndotrachealTube { .. }
        )
    });
    if urgent && rng.random_bool(0.15) {
        let (hour, minute) = (rng.random_range(7..12), rng.random_range(10..60));
        sentences.push(format!(
            "Findings were discussed with Dr. ___ by telephone at {hour}:{minute} a.m. on ___."
        ));
    }
    sentences
}
