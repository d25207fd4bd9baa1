//! Writes the report of a study, with varied wording of the same facts.

mod phrases;
mod prose;
mod negatives;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::chest::Finding;
use negatives::{asides, denials, departures};
use phrases::pick;
use prose::{compared, put, section, sentence, wrap};

/// How a finding changed since the previous study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    First,
    New,
    Unchanged,
    Improved,
    Worse,
}

/// A finding to mention; equal findings on both sides are mentioned together.
struct Mention<'a> {
    finding: &'a Finding,
    bilateral: bool,
    course: Course,
}

/// Writes the report on `findings`, compared with those of the `previous` study if there is one.
///
/// Every finding is named with its side; effusion, pneumothorax and consolidation are denied when
/// absent. Lines have at most 79 characters and begin with a space; headings are in capitals.
pub(crate) fn write(
    findings: &[Finding],
    previous: Option<&[Finding]>,
    rng: &mut ChaCha8Rng,
) -> String {
    let mentions = mentions(findings, previous);
    let mut body: Vec<String> = mentions
        .iter()
        .map(|mention| describe(mention, rng))
        .collect();
    if !findings
        .iter()
        .any(|finding| matches!(finding, Finding::Cardiomegaly { .. }))
    {
        body.push(pick(NORMAL_HEART, rng).to_string());
    }
    body.extend(denials(findings, rng));
    body.extend(departures(findings, previous, rng));
    body.extend(asides(findings, previous, rng));
    if !body.is_empty() && previous.is_some() && rng.random_bool(0.3) {
        body[0] = compared(&body[0], rng);
    }
    let summary = summarize(&mentions, rng);
    let mut report = String::new();
    match rng.random_range(0..10) {
        0 => section(&mut report, "FINDINGS", &body.join(" "), rng),
        1 => section(&mut report, "IMPRESSION", &body.join(" "), rng),
        _ => {
            section(&mut report, "FINDINGS", &body.join(" "), rng);
            if summary.len() > 1 && rng.random_bool(0.5) {
                let items: Vec<_> = (1..)
                    .zip(&summary)
                    .map(|(number, sentence)| wrap(&format!("{number}. {sentence}")))
                    .collect();
                report.push_str(&format!(" IMPRESSION:\n\n{}", items.concat()));
            } else {
                section(&mut report, "IMPRESSION", &summary.join(" "), rng);
            }
        }
    }
    report.truncate(report.trim_end().len());
    report.push('\n');
    report
}

const NORMAL_HEART: &[&str] = &[
    "Heart size is normal.",
    "The heart is normal in size.",
    "The cardiac silhouette is within normal limits.",
    "The heart is not enlarged.",
    "Cardiomediastinal contours are unremarkable.",
];

const NOTHING_ACUTE: &[&str] = &[
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary abnormality.",
    "No radiographic evidence of acute disease.",
];

/// Returns the findings to mention, in reading order: lungs, pleura, heart, chest, devices.
fn mentions<'a>(findings: &'a [Finding], previous: Option<&[Finding]>) -> Vec<Mention<'a>> {
    let mut mentions: Vec<Mention> = Vec::new();
    for finding in findings {
        let course = course(finding, previous);
        if let Finding::Effusion { extent, .. } = finding
            && let Some(twin) = mentions.iter_mut().find(|mention| {
                matches!(mention.finding, Finding::Effusion { extent: e, .. } if e == extent)
                    && mention.course == course
            })
        {
            twin.bilateral = true;
            continue;
        }
        mentions.push(Mention {
            finding,
            bilateral: false,
            course,
        });
    }
    mentions.sort_by_key(|mention| match mention.finding {
        Finding::Consolidation { .. } | Finding::Nodule { .. } => 0,
        Finding::Effusion { .. } | Finding::Pneumothorax { .. } => 1,
        Finding::Cardiomegaly { .. } => 2,
        finding if finding.is_device() => 4,
        _ => 3,
    });
    mentions
}

fn course(finding: &Finding, previous: Option<&[Finding]>) -> Course {
    let Some(previous) = previous else {
        return Course::First;
    };
    match previous.iter().find(|before| before.is_same(finding)) {
        None => Course::New,
        Some(before) if before.amount() > finding.amount() => Course::Improved,
        Some(before) if before.amount() < finding.amount() => Course::Worse,
        Some(_) => Course::Unchanged,
    }
}

/// Returns a sentence on one finding.
fn describe(mention: &Mention, rng: &mut ChaCha8Rng) -> String {
    let statement = sentence(&phrases::statement(mention.finding, mention.bilateral, rng));
    let plain = mention.course == Course::First || rng.random_bool(0.25);
    match phrases::noun(mention.finding, mention.bilateral, rng) {
        Some(noun) if !plain => put(pick(course_templates(mention.course), rng), &noun),
        Some(noun) if rng.random_bool(0.6) => {
            put(pick(course_templates(Course::First), rng), &noun)
        }
        None if !plain && mention.course == Course::Unchanged => {
            format!("{}, unchanged.", statement.trim_end_matches('.'))
        }
        _ => statement,
    }
}

fn course_templates(course: Course) -> &'static [&'static str] {
    match course {
        Course::First => &[
            "There {is} {a}.",
            "{a} {is} present.",
            "{a} {is} seen.",
            "{a} {is} noted.",
            "{bare}.",
        ],
        Course::New => &[
            "New {bare}.",
            "There {is} new {bare}.",
            "Interval development of {a}.",
            "{a} {is} new since ___.",
        ],
        Course::Unchanged => &[
            "Unchanged {bare}.",
            "Persistent {bare}.",
            "Stable {bare} compared to the study of ___.",
            "{a} {is} again seen, similar to prior.",
        ],
        Course::Improved => &[
            "{a} {has} decreased since ___.",
            "Interval improvement, with {bare} remaining.",
            "Improving {bare}.",
        ],
        Course::Worse => &[
            "{a} {has} increased since ___.",
            "Interval worsening, with {a} now seen.",
            "Worsening {bare}.",
        ],
    }
}

/// Returns the sentences of the impression, with one or two findings each; devices are mostly left
/// out.
fn summarize(mentions: &[Mention], rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut nouns: Vec<String> = Vec::new();
    let mut devices = Vec::new();
    for mention in mentions {
        match phrases::noun(mention.finding, mention.bilateral, rng) {
            Some(noun) => nouns.push(noun.bare.trim_end_matches(',').to_string()),
            None if rng.random_bool(0.4) => devices.push(describe(mention, rng)),
            None => {}
        }
    }
    if nouns.is_empty() && devices.is_empty() {
        return vec![pick(NOTHING_ACUTE, rng).to_string()];
    }
    let per_sentence = if rng.random_bool(0.5) { 2 } else { 1 };
    let mut sentences: Vec<String> = nouns
        .chunks(per_sentence)
        .map(|group| sentence(&format!("{}.", group.join(" and "))))
        .collect();
    sentences.extend(devices);
    sentences
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::chest::{Extent, Side, Spot, Zone, course, draws};
    use crate::report::phrases::side_word;
    use crate::report::prose::LINE;

    /// Returns findings with their reports, of first and of next studies.
    fn reports() -> Vec<(Vec<Finding>, String)> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut reports = Vec::new();
        for _ in 0..600 {
            let first = draws::sample(&mut rng);
            let next = course::next_study(&first, &mut rng);
            let text = write(&first, None, &mut rng);
            let later = write(&next, Some(&first), &mut rng);
            reports.push((first, text));
            reports.push((next, later));
        }
        reports
    }

    /// Returns the sentences of a report in lower case, without line breaks.
    fn clauses(report: &str) -> Vec<String> {
        let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
        let flat = flat
            .to_lowercase()
            .replace("approx. ", "approx ")
            .replace("vs. ", "vs ");
        flat.split(". ").map(str::to_string).collect()
    }

    fn denies(clause: &str) -> bool {
        [
            "no ",
            "no evidence",
            "negative for",
            "resolved",
            "no longer",
        ]
        .iter()
        .any(|word| clause.contains(word))
    }

    /// Returns groups of words: a sentence that names the finding contains one word of each group.
    fn words(finding: &Finding) -> Vec<Vec<&'static str>> {
        let side = |side: Side| match side {
            Side::Right => vec!["right", "rul", "rll", "bilateral", "both"],
            Side::Left => vec!["left", "lul", "lll", "bilateral", "both"],
        };
        match finding {
            Finding::Cardiomegaly { .. } => {
                vec![vec!["cardiomegaly", "enlarge", "mildly increased"]]
            }
            Finding::Effusion { side: s, .. } => vec![vec!["effusion"], side(*s)],
            Finding::Consolidation { spot, .. } => {
                vec![vec!["consolidation", "opacity"], side(spot.side)]
            }
            Finding::Nodule { spot, .. } => {
                vec![
                    vec!["nodule", "nodular"],
                    side(spot.side),
                    vec![" cm", " mm"],
                ]
            }
            Finding::Pneumothorax { side: s, .. } => vec![vec!["pneumothorax"], side(*s)],
            Finding::EndotrachealTube { .. } => vec![vec!["endotracheal", "ett"], vec!["carina"]],
            Finding::GastricTube => vec![vec!["enteric", "ng tube", "nasogastric"]],
            Finding::CentralLine { side: s, .. } => {
                vec![vec!["line", "catheter", "picc"], side(*s)]
            }
            Finding::Pacemaker { side: s, .. } => vec![vec!["pacemaker", "pacing"], side(*s)],
            Finding::SternotomyWires => vec![vec!["sternotomy"]],
            Finding::LungVolumes(_) => vec![vec!["volumes", "hyperinflat"]],
            Finding::RaisedDiaphragm { side: s } => vec![vec!["hemidiaphragm"], side(*s)],
            Finding::Scoliosis { convex } => vec![vec!["scoliosis", "curvature"], side(*convex)],
        }
    }

    #[test]
    fn every_finding_is_named_with_its_side() {
        for (findings, report) in reports() {
            let clauses = clauses(&report);
            for finding in &findings {
                let named = clauses.iter().any(|clause| {
                    !denies(clause)
                        && words(finding)
                            .iter()
                            .all(|group| group.iter().any(|word| clause.contains(word)))
                });
                assert!(named, "{finding:?}\n{report}");
            }
        }
    }

    #[test]
    fn absent_findings_are_denied_and_never_claimed() {
        let spot = Spot {
            side: Side::Left,
            zone: Zone::Mid,
            across: 0.5,
            along: 0.5,
            shape: 0,
        };
        let (side, extent) = (Side::Left, Extent::Small);
        let kinds = [
            ("effusion", Finding::Effusion { side, extent }),
            ("pneumothorax", Finding::Pneumothorax { side, extent }),
            ("consolidation", Finding::Consolidation { spot, extent }),
        ];
        for (findings, report) in reports() {
            let clauses = clauses(&report);
            for (word, kind) in &kinds {
                let mut about = clauses.iter().filter(|clause| clause.contains(word));
                let kind = std::mem::discriminant(kind);
                if !findings.iter().any(|f| std::mem::discriminant(f) == kind) {
                    assert!(
                        about.clone().any(|clause| denies(clause)),
                        "{word}\n{report}"
                    );
                    assert!(about.all(|clause| denies(clause)), "{word}\n{report}");
                }
            }
        }
    }

    #[test]
    fn an_effusion_is_never_claimed_on_a_side_without_one() {
        for (findings, report) in reports() {
            for side in Side::BOTH {
                let effusion = Finding::Effusion {
                    side,
                    extent: Extent::Small,
                };
                if findings.iter().any(|finding| finding.is_same(&effusion)) {
                    continue;
                }
                for clause in clauses(&report) {
                    // Two facts may share a sentence of the impression; each half stands alone.
                    for half in clause.split(" and ") {
                        let claims = half.contains("effusion") && !denies(half);
                        let wrong = half.contains(side_word(side)) || half.contains("bilateral");
                        assert!(!(claims && wrong), "{side:?}\n{report}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_findings_have_many_wordings() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let findings = [Finding::Effusion {
            side: Side::Left,
            extent: Extent::Small,
        }];
        let texts: std::collections::BTreeSet<_> =
            (0..100).map(|_| write(&findings, None, &mut rng)).collect();
        assert!(texts.len() > 90, "{}", texts.len());
    }

    #[test]
    fn lines_are_short_and_every_template_slot_is_filled() {
        for (_, report) in reports() {
            assert!(
                report.lines().all(|line| line.chars().count() <= LINE),
                "{report}"
            );
            assert!(!report.contains(['{', '}']), "{report}");
            assert!(
                !report.contains(",.") && !report.contains(" a a"),
                "{report}"
            );
            assert!(report.contains("FINDINGS:") || report.contains("IMPRESSION:"));
        }
    }

    #[test]
    fn a_next_study_reports_the_change() {
        let effusion = |extent| {
            [Finding::Effusion {
                side: Side::Right,
                extent,
            }]
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut count = |extent, words: &[&str]| {
            let texts: Vec<_> = (0..50)
                .map(|_| {
                    write(
                        &effusion(extent),
                        Some(&effusion(Extent::Moderate)),
                        &mut rng,
                    )
                })
                .collect();
            texts
                .iter()
                .filter(|text| words.iter().any(|word| text.to_lowercase().contains(word)))
                .count()
        };
        // A quarter of the sentences do not mention the change.
        assert!(count(Extent::Small, &["improv", "decreased"]) > 25);
        assert!(count(Extent::Large, &["worsening", "increased"]) > 25);
        assert!(
            count(
                Extent::Moderate,
                &["unchanged", "persistent", "stable", "again seen"]
            ) > 25
        );
    }
}
