//! How findings change from one study of a patient to the next.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::draws;
use super::findings::{Extent, Finding, Spot, Volume};

/// Draws the findings of the next study: some disappear, some shrink or grow, and one may be new.
pub(crate) fn next_study(findings: &[Finding], rng: &mut ChaCha8Rng) -> Vec<Finding> {
    let mut next: Vec<_> = findings
        .iter()
        .filter_map(|finding| evolve(finding, rng))
        .collect();
    if rng.random_bool(0.4) {
        draws::add_one(&mut next, rng);
    }
    uncover(&mut next);
    next
}

/// Returns the finding at the next study, if it is still present.
fn evolve(finding: &Finding, rng: &mut ChaCha8Rng) -> Option<Finding> {
    let course = rng.random_range(0..100);
    let next = |extent: Extent| match course {
        0..40 => Some(extent),
        40..75 => extent.less(),
        _ => Some(extent.more()),
    };
    match *finding {
        Finding::Effusion { side, extent } => {
            next(extent).map(|extent| Finding::Effusion { side, extent })
        }
        Finding::Consolidation { spot, extent } => {
            next(extent).map(|extent| Finding::Consolidation { spot, extent })
        }
        Finding::Pneumothorax { side, extent } => {
            next(extent).map(|extent| Finding::Pneumothorax { side, extent })
        }
        Finding::Nodule { spot, millimetres } => {
            let growth = if course < 70 { 0 } else { millimetres / 4 + 2 };
            Some(Finding::Nodule {
                spot,
                millimetres: (millimetres + growth).min(30),
            })
        }
        Finding::EndotrachealTube { .. } | Finding::GastricTube => {
            (course < 55).then_some(*finding)
        }
        Finding::CentralLine { .. } => (course < 70).then_some(*finding),
        Finding::LungVolumes(Volume::Low) => (course < 40).then_some(*finding),
        _ => Some(*finding),
    }
}

/// Shrinks effusions that would cover an opacity, so that every reported finding is visible.
fn uncover(findings: &mut [Finding]) {
    let spots: Vec<Spot> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Consolidation { spot, .. } | Finding::Nodule { spot, .. } => Some(*spot),
            _ => None,
        })
        .collect();
    for finding in findings {
        if let Finding::Effusion { side, extent } = finding {
            while let Some(less) = extent.less()
                && spots
                    .iter()
                    .any(|spot| spot.side == *side && extent.covers(spot.zone))
            {
                *extent = less;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn studies() -> Vec<Vec<Finding>> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        (0..2000).map(|_| draws::sample(&mut rng)).collect()
    }

    #[test]
    fn no_finding_occurs_twice_in_a_study() {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        for study in studies() {
            for findings in [next_study(&study, &mut rng), study] {
                for (index, finding) in findings.iter().enumerate() {
                    assert!(!findings[..index].iter().any(|other| other.is_same(finding)));
                }
            }
        }
    }

    #[test]
    fn a_next_study_keeps_changes_and_loses_findings() {
        let mut rng = ChaCha8Rng::seed_from_u64(13);
        let (mut same, mut changed, mut gone) = (0, 0, 0);
        for study in studies() {
            let next = next_study(&study, &mut rng);
            for finding in &study {
                match next.iter().find(|later| later.is_same(finding)) {
                    Some(later) if later.amount() == finding.amount() => same += 1,
                    Some(_) => changed += 1,
                    None => gone += 1,
                }
            }
        }
        assert!(
            same > 500 && changed > 500 && gone > 300,
            "{same} {changed} {gone}"
        );
    }
}
