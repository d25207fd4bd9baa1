//! Draws the findings of a study at random.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::findings::{Access, Extent, Finding, Severity, Spot, Volume};
use super::side::Side;

/// Adds a kind of finding where it fits.
type Draw = fn(&mut ChaCha8Rng, &mut Vec<Finding>);

/// Every kind of finding with its probability in a study that is not normal. A draw adds nothing
/// that would hide or contradict another finding.
const DRAWS: [(f64, Draw); 10] = [
    (0.32, draw_cardiomegaly),
    (0.38, draw_effusion),
    (0.34, draw_consolidation),
    (0.24, draw_nodules),
    (0.15, draw_pneumothorax),
    (0.17, draw_intensive_care),
    (0.10, draw_line),
    (0.14, draw_pacemaker),
    (0.12, draw_wires),
    (0.24, draw_breath),
];

/// Draws the findings of a first study; about a quarter of the studies have none.
pub(crate) fn sample(rng: &mut ChaCha8Rng) -> Vec<Finding> {
    let mut findings = Vec::new();
    if rng.random_bool(0.06) {
        let convex = Side::sample(rng);
        findings.push(Finding::Scoliosis { convex });
    }
    if rng.random_bool(0.2) {
        return findings;
    }
    for (chance, draw) in DRAWS {
        if rng.random_bool(chance) {
            draw(rng, &mut findings);
        }
    }
    findings
}

/// Adds a finding of a random kind, if it fits with the others.
pub(crate) fn add_one(findings: &mut Vec<Finding>, rng: &mut ChaCha8Rng) {
    let (_, draw) = DRAWS[rng.random_range(0..DRAWS.len())];
    draw(rng, findings);
}

fn draw_cardiomegaly(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let severity = if rng.random_bool(0.5) {
        Severity::Mild
    } else {
        Severity::Severe
    };
    push_new(findings, Finding::Cardiomegaly { severity });
}

fn draw_effusion(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let (side, extent) = (Side::sample(rng), Extent::sample(rng));
    push_new(findings, Finding::Effusion { side, extent });
    if rng.random_bool(0.35) {
        let (side, extent) = (side.other(), Extent::sample(rng));
        push_new(findings, Finding::Effusion { side, extent });
    }
}

fn draw_consolidation(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let count = if rng.random_bool(0.3) { 2 } else { 1 };
    for _ in 0..count {
        let (spot, extent) = (Spot::sample(rng), Extent::sample(rng));
        if opacity_may_grow(findings, spot) {
            findings.push(Finding::Consolidation { spot, extent });
        }
    }
}

fn draw_nodules(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let count = [1, 1, 1, 2, 2, 3][rng.random_range(0..6)];
    for _ in 0..count {
        let spot = Spot::sample(rng);
        let millimetres = rng.random_range(9..=28);
        if opacity_may_grow(findings, spot) {
            findings.push(Finding::Nodule { spot, millimetres });
        }
    }
}

fn draw_pneumothorax(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let (side, extent) = (Side::sample(rng), Extent::sample(rng));
    let present = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Pneumothorax { .. }));
    if !present {
        findings.push(Finding::Pneumothorax { side, extent });
    }
}

/// Adds an endotracheal tube, mostly with a gastric tube and a central line.
fn draw_intensive_care(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let above_carina = rng.random_range(22..=65);
    push_new(findings, Finding::EndotrachealTube { above_carina });
    if rng.random_bool(0.7) {
        push_new(findings, Finding::GastricTube);
    }
    if rng.random_bool(0.6) {
        draw_line(rng, findings);
    }
}

fn draw_line(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let access = if rng.random_bool(0.5) {
        Access::Jugular
    } else {
        Access::Arm
    };
    let side = Side::sample(rng);
    let present = findings
        .iter()
        .any(|finding| matches!(finding, Finding::CentralLine { .. }));
    if !present {
        findings.push(Finding::CentralLine { side, access });
    }
}

fn draw_pacemaker(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let side = if rng.random_bool(0.65) {
        Side::Left
    } else {
        Side::Right
    };
    let leads = rng.random_range(1..=2);
    let present = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Pacemaker { .. }));
    if !present {
        findings.push(Finding::Pacemaker { side, leads });
    }
}

fn draw_wires(_: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    push_new(findings, Finding::SternotomyWires);
}

/// Adds low lung volumes, hyperinflation, or a raised hemidiaphragm.
fn draw_breath(rng: &mut ChaCha8Rng, findings: &mut Vec<Finding>) {
    let side = Side::sample(rng);
    let present = findings.iter().any(|finding| {
        matches!(
            finding,
            Finding::LungVolumes(_) | Finding::RaisedDiaphragm { .. }
        )
    });
    let has_effusion = findings.iter().any(|finding| {
        finding.is_same(&Finding::Effusion {
            side,
            extent: Extent::Small,
        })
    });
    match rng.random_range(0..5) {
        _ if present => {}
        0..2 => findings.push(Finding::LungVolumes(Volume::Low)),
        2..4 => findings.push(Finding::LungVolumes(Volume::High)),
        _ if has_effusion => {}
        _ => findings.push(Finding::RaisedDiaphragm { side }),
    }
}

fn push_new(findings: &mut Vec<Finding>, finding: Finding) {
    if !findings.iter().any(|present| present.is_same(&finding)) {
        findings.push(finding);
    }
}

/// Returns whether an opacity fits at `spot`: there is at most one in a zone, and none under the
/// fluid of an effusion.
fn opacity_may_grow(findings: &[Finding], spot: Spot) -> bool {
    !findings.iter().any(|finding| match finding {
        Finding::Consolidation { spot: other, .. } | Finding::Nodule { spot: other, .. } => {
            spot.shares_zone(other)
        }
        Finding::Effusion { side, extent } => *side == spot.side && extent.covers(spot.zone),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn studies() -> Vec<Vec<Finding>> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        (0..2000).map(|_| sample(&mut rng)).collect()
    }

    #[test]
    fn every_kind_and_the_normal_chest_occur_in_a_useful_share() {
        let studies = studies();
        let share = |is_kind: &dyn Fn(&Finding) -> bool| {
            let matching = studies.iter().filter(|study| study.iter().any(is_kind));
            matching.count() as f64 / studies.len() as f64
        };
        let normal = studies.iter().filter(|study| study.is_empty()).count() as f64;
        assert!((0.15..0.35).contains(&(normal / studies.len() as f64)));
        for side in Side::BOTH {
            let effusion = share(&|f| matches!(f, Finding::Effusion { side: s, .. } if *s == side));
            assert!((0.1..0.3).contains(&effusion), "{side:?} {effusion}");
            let air = share(&|f| matches!(f, Finding::Pneumothorax { side: s, .. } if *s == side));
            assert!((0.03..0.12).contains(&air), "{side:?} {air}");
        }
        for (min_share, kind) in [
            (
                0.2,
                Finding::Cardiomegaly {
                    severity: Severity::Mild,
                },
            ),
            (0.08, Finding::EndotrachealTube { above_carina: 30 }),
            (0.06, Finding::GastricTube),
            (0.06, Finding::SternotomyWires),
            (0.06, Finding::LungVolumes(Volume::Low)),
            (0.02, Finding::Scoliosis { convex: Side::Left }),
        ] {
            let share = share(&|finding| finding.is_same(&kind));
            assert!(share > min_share, "{kind:?}: {share}");
        }
    }
}
