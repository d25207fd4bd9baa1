//! Checks that every finding changes the image where it should and nowhere else.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::chest::{Access, Extent, Finding, Severity, Side, Spot, Volume, Zone};
use crate::drawing::anatomy::{Anatomy, Chest};
use crate::drawing::canvas::{Area, Canvas, Point, Pose};
use crate::drawing::render;

/// Returns a canvas of 110 × 120 pixels of 3.5 mm, about the input size of a small network.
fn blank() -> Canvas {
    let pose = Pose {
        centre: Point::new(0.0, -10.0),
        pixel_mm: 3.5,
        half_turn: 0.0,
    };
    Canvas::new(110, 120, pose)
}

fn build() -> Anatomy {
    Anatomy::sample(&mut ChaCha8Rng::seed_from_u64(4))
}

fn drawn(findings: &[Finding]) -> Vec<f32> {
    let mut canvas = blank();
    render::draw(&mut canvas, &build(), findings);
    canvas.attenuation
}

/// Returns the mean change of attenuation by `finding` where `region` is true.
fn change(finding: Finding, region: impl Fn(&Chest, Point) -> bool) -> f32 {
    let anatomy = build();
    let chest = Chest::new(&anatomy, &[]);
    let mut mask = blank();
    mask.add(Area::ALL, |point| f32::from(region(&chest, point)));
    let (before, after) = (drawn(&[]), drawn(&[finding]));
    let pairs = before.iter().zip(&after).zip(&mask.attenuation);
    let sum: f32 = pairs
        .map(|((before, after), share)| share * (after - before))
        .sum();
    sum / mask.attenuation.iter().sum::<f32>()
}

fn lung_base(side: Side) -> impl Fn(&Chest, Point) -> bool {
    move |chest, point| {
        let lung = chest.lung(side);
        lung.depth(point) > 3.0 && lung.across(point) > 0.8 && point.y > lung.dome
    }
}

/// The noise of a pixel is at most 0.014 · (1 + 2.5/8)^4 = 0.04, so that a mean change of 0.1 is
/// visible in any exposure.
const VISIBLE: f32 = 0.1;

#[test]
fn effusions_whiten_the_base_of_their_side_only() {
    for side in Side::BOTH {
        for extent in [Extent::Small, Extent::Moderate, Extent::Large] {
            let effusion = Finding::Effusion { side, extent };
            assert!(change(effusion, lung_base(side)) > 5.0 * VISIBLE);
            assert_eq!(change(effusion, lung_base(side.other())), 0.0);
        }
    }
}

#[test]
fn larger_effusions_reach_higher() {
    let reach = |extent| {
        let effusion = Finding::Effusion {
            side: Side::Left,
            extent,
        };
        change(effusion, |chest, point| {
            chest.lung(Side::Left).depth(point) > 3.0
        })
    };
    let [small, moderate, large] = [Extent::Small, Extent::Moderate, Extent::Large].map(reach);
    assert!(small > 0.04 && moderate > small + 0.1 && large > moderate + 0.1);
}

#[test]
fn consolidations_and_nodules_are_visible_in_their_zone_only() {
    for (zone, along) in [(Zone::Upper, 0.27), (Zone::Mid, 0.55), (Zone::Lower, 0.84)] {
        for side in Side::BOTH {
            let spot = Spot {
                side,
                zone,
                across: 0.6,
                along,
                shape: 8,
            };
            let at = |side, reach| {
                move |chest: &Chest, point: Point| {
                    point.distance(chest.lung(side).at(0.6, along)) < reach
                }
            };
            for extent in [Extent::Small, Extent::Moderate, Extent::Large] {
                let cloud = Finding::Consolidation { spot, extent };
                assert!(change(cloud, at(side, 15.0)) > VISIBLE, "{cloud:?}");
                assert_eq!(change(cloud, at(side.other(), 15.0)), 0.0);
            }
            let nodule = Finding::Nodule {
                spot,
                millimetres: 9,
            };
            assert!(change(nodule, at(side, 4.5)) > VISIBLE);
            assert_eq!(change(nodule, at(side.other(), 15.0)), 0.0);
        }
    }
}

#[test]
fn free_air_darkens_the_apex_of_its_side_and_hides_the_vessels() {
    for side in Side::BOTH {
        for extent in [Extent::Small, Extent::Moderate, Extent::Large] {
            let air = Finding::Pneumothorax { side, extent };
            let apex = |side| {
                move |chest: &Chest, point: Point| {
                    let lung = chest.lung(side);
                    lung.depth(point) > 3.0
                        && lung.wall_distance(point) < 20.0
                        && point.y < lung.apex + 60.0
                }
            };
            assert!(change(air, apex(side)) < -0.08, "{air:?}");
            assert_eq!(change(air, apex(side.other())), 0.0);
        }
    }
}

#[test]
fn an_enlarged_heart_covers_lung_on_the_left() {
    let beside = |chest: &Chest, point: Point| {
        point.x > 0.0
            && (1.0..1.3).contains(&chest.heart.square_radius(point))
            && chest.lung(Side::Left).depth(point) > 3.0
    };
    let mild = change(
        Finding::Cardiomegaly {
            severity: Severity::Mild,
        },
        beside,
    );
    let severe = change(
        Finding::Cardiomegaly {
            severity: Severity::Severe,
        },
        beside,
    );
    assert!(
        mild > 2.0 * VISIBLE && severe > mild + VISIBLE,
        "{mild} {severe}"
    );
}

#[test]
fn breath_and_diaphragm_move_the_lung_base() {
    let base = |side| {
        move |chest: &Chest, point: Point| {
            let lung = chest.lung(side);
            (0.3..0.8).contains(&lung.across(point)) && (5.0..25.0).contains(&(lung.dome - point.y))
        }
    };
    let below = |chest: &Chest, point: Point| {
        let lung = chest.lung(Side::Right);
        (0.3..0.8).contains(&lung.across(point))
            && point.x < 0.0
            && (5.0..25.0).contains(&(point.y - lung.dome))
    };
    assert!(change(Finding::LungVolumes(Volume::Low), base(Side::Right)) > VISIBLE);
    assert!(change(Finding::LungVolumes(Volume::High), below) < -VISIBLE);
    let raised = Finding::RaisedDiaphragm { side: Side::Left };
    assert!(change(raised, base(Side::Left)) > VISIBLE);
}

#[test]
fn devices_are_visible_as_white_lines() {
    let middle = |point: Point| point.x.abs() < 5.0;
    let sides = |side: Side, point: Point| point.x * side.sign() > 60.0;
    let tube = Finding::EndotrachealTube { above_carina: 30 };
    assert!(change(tube, |_, p| middle(p) && (-180.0..-100.0).contains(&p.y)) > VISIBLE);
    assert!(change(tube, |_, p| middle(p) && p.y > -80.0).abs() < 1e-6);
    let wires = Finding::SternotomyWires;
    assert!(change(wires, |_, p| middle(p) && (-80.0..40.0).contains(&p.y)) > VISIBLE);
    let gastric = change(Finding::GastricTube, |chest, point| {
        (40.0..70.0).contains(&point.x) && point.y > chest.lung(Side::Left).dome + 20.0
    });
    assert!(gastric > 0.02, "{gastric}");
    for side in Side::BOTH {
        let device = Finding::Pacemaker { side, leads: 2 };
        let region = |side| {
            move |_: &Chest, point: Point| {
                sides(side, point) && (-100.0..-60.0).contains(&point.y) && point.x.abs() < 130.0
            }
        };
        assert!(change(device, region(side)) > 3.0 * VISIBLE);
        assert!(change(device, region(side.other())).abs() < 0.01);
        let line = Finding::CentralLine {
            side,
            access: Access::Arm,
        };
        let shoulder = |side| {
            move |_: &Chest, point: Point| sides(side, point) && (-130.0..-90.0).contains(&point.y)
        };
        assert!(change(line, shoulder(side)) > 0.02);
        assert_eq!(change(line, shoulder(side.other())), 0.0);
    }
}

#[test]
fn a_second_lead_is_visible_beside_the_first() {
    let leads = |leads| {
        drawn(&[Finding::Pacemaker {
            side: Side::Left,
            leads,
        }])
    };
    let more = leads(1)
        .iter()
        .zip(leads(2))
        .filter(|(one, two)| *two - **one > 0.2)
        .count();
    assert!(more > 6, "{more}");
}
