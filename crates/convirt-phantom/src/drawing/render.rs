//! Draws the structures that every radiograph shows, without findings.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::anatomy::{Anatomy, Chest, LUNG_AIR, Lung};
use super::canvas::{Area, Canvas, Node, Point, inside, ramp};
use super::pathology;
use crate::chest::{Finding, Side};

/// Draws the chest of `anatomy` with `findings` onto an empty canvas.
pub(crate) fn draw(canvas: &mut Canvas, anatomy: &Anatomy, findings: &[Finding]) {
    let chest = Chest::new(anatomy, findings);
    draw_trunk(canvas, &chest);
    for lung in &chest.lungs {
        canvas.add(Area::ALL, |point| -LUNG_AIR * lung.air(point));
        draw_vessels(canvas, &chest, lung, findings);
    }
    draw_spine(canvas, &chest);
    draw_airway(canvas);
    draw_mediastinum(canvas, &chest, findings);
    for side in Side::BOTH {
        draw_ribs(canvas, &chest, side);
        draw_shoulder(canvas, anatomy, side);
        draw_breast(canvas, anatomy, side);
    }
    draw_gas_bubble(canvas, &chest);
    for finding in findings {
        pathology::draw(canvas, &chest, findings, finding);
    }
}

fn draw_trunk(canvas: &mut Canvas, chest: &Chest) {
    let anatomy = chest.anatomy;
    let side_of_trunk = anatomy.half_width + anatomy.wall;
    canvas.add(Area::ALL, |point| {
        let x = point.x.abs();
        let trunk = side_of_trunk + 40.0 * ramp(-50.0, -125.0, point.y) - x;
        let below_shoulder = point.y + 168.0 - 0.3 * (x - 55.0).max(0.0);
        let neck = (56.0 - x).min(-100.0 - point.y);
        // An arm is a bar of 70 mm that hangs from the shoulder, a little outwards.
        let arm_axis = side_of_trunk + 32.0 + 0.16 * (point.y + 110.0);
        let arm = (36.0 - (x - arm_axis).abs()).min(below_shoulder);
        let depth = trunk.min(below_shoulder).max(neck).max(arm);
        let abdomen = 0.5 * ramp(-20.0, 45.0, point.y - anatomy.dome);
        let spread = 1.0 - 0.25 * (x / side_of_trunk).min(1.0);
        ramp(-2.0, 34.0, depth) * (anatomy.bulk + abdomen) * spread
    });
}

/// Draws a tree of vessels from the hilum, thinner towards the chest wall.
fn draw_vessels(canvas: &mut Canvas, chest: &Chest, lung: &Lung, findings: &[Finding]) {
    let mut rng = ChaCha8Rng::seed_from_u64(chest.anatomy.vessels ^ lung.side as u64);
    let hilum = lung.at(0.1, 0.46);
    canvas.add(Area::around(hilum, 26.0), |point| {
        let (x, y) = ((point.x - hilum.x) / 15.0, (point.y - hilum.y) / 25.0);
        0.22 * ramp(1.0, 0.0, x * x + y * y)
    });
    const TRUNKS: usize = 11;
    for trunk in 0..TRUNKS {
        let spread = trunk as f32 / (TRUNKS - 1) as f32;
        let target = Point::new(
            lung.side.sign()
                * rng.random_range(0.75..1.0)
                * lung.outer(0.0)
                * (0.45 + 0.55 * 4.0 * spread * (1.0 - spread)),
            lung.apex + 8.0 + spread * (lung.dome + 26.0 - lung.apex),
        );
        // The main vessels begin side by side, not in one point.
        let start = Point::new(
            hilum.x + 0.14 * (target.x - hilum.x) + rng.random_range(-4.0..4.0),
            hilum.y + 0.14 * (target.y - hilum.y) + rng.random_range(-5.0..5.0),
        );
        let trunk = wander(&mut rng, start, target, 2.9);
        let fork = trunk[trunk.len() / 2];
        let aside = Point::new(
            target.x + rng.random_range(-30.0..30.0),
            target.y + rng.random_range(-38.0..38.0),
        );
        let branch = wander(&mut rng, fork.0, aside, 1.8);
        for path in [trunk, branch] {
            canvas.stroke(&path, |wall, point| {
                // Vessels are only visible against air.
                let heart = ramp(1.1, 0.7, chest.heart.square_radius(point));
                let seen = pathology::aerated(lung, findings, point) * (1.0 - 0.75 * heart);
                0.17 * inside(-wall, 1.2) * inside(lung.depth(point), 2.0) * seen
            });
        }
    }
}

/// Returns a wandering path from `start` towards `end` that becomes thinner.
fn wander(rng: &mut ChaCha8Rng, start: Point, end: Point, radius: f32) -> Vec<Node> {
    const STEPS: usize = 8;
    let mut stray = Point::new(0.0, 0.0);
    (0..=STEPS)
        .map(|step| {
            let t = step as f32 / STEPS as f32;
            let node = Point::new(
                start.x + t * (end.x - start.x) + stray.x,
                start.y + t * (end.y - start.y) + stray.y,
            );
            stray.x += rng.random_range(-4.0..4.0);
            stray.y += rng.random_range(-4.0..4.0);
            (node, radius * (1.0 - 0.85 * t))
        })
        .collect()
}

fn draw_spine(canvas: &mut Canvas, chest: &Chest) {
    const VERTEBRA: f32 = 25.0;
    const HALF_WIDTH: f32 = 16.0;
    canvas.add(Area::ALL, |point| {
        let x = (point.x - chest.spine(point.y)).abs();
        if x > HALF_WIDTH + 12.0 {
            return 0.0;
        }
        let level = (point.y + 400.0) / VERTEBRA;
        let within = (level - level.floor() - 0.5).abs();
        let body = inside(HALF_WIDTH - x, 1.5) * (0.1 + 0.14 * inside(0.4 - within, 0.06));
        let pedicle = (x - 10.0) * (x - 10.0) + (within * VERTEBRA) * (within * VERTEBRA);
        let process = 0.08 * inside(HALF_WIDTH + 10.0 - x, 2.0) * inside(0.16 - within, 0.05);
        body + process + 0.1 * ramp(18.0, 6.0, pedicle)
    });
}

fn draw_airway(canvas: &mut Canvas) {
    let carina = Chest::CARINA;
    let ways: [&[Node]; 2] = [
        &[
            (Point::new(0.0, -230.0), 8.0),
            (carina, 8.0),
            (Point::new(-30.0, -34.0), 6.0),
        ],
        &[(carina, 6.5), (Point::new(38.0, -38.0), 5.0)],
    ];
    for way in ways {
        canvas.stroke(way, |wall, _| -0.3 * inside(-wall, 2.0));
    }
}

fn draw_mediastinum(canvas: &mut Canvas, chest: &Chest, findings: &[Finding]) {
    let anatomy = chest.anatomy;
    canvas.add(Area::ALL, |point| {
        let waist = anatomy.mediastinum + 5.0 * ramp(-60.0, -130.0, point.y);
        let above_heart = 0.34 - 0.2 * ramp(-50.0, 20.0, point.y);
        above_heart * inside(waist - point.x.abs(), 3.0) * ramp(-175.0, -130.0, point.y)
    });
    let knob = Point::new(anatomy.mediastinum - 1.0, -74.0);
    canvas.add(Area::around(knob, anatomy.aorta + 2.0), |point| {
        0.3 * inside(anatomy.aorta - point.distance(knob), 1.5)
    });
    canvas.add(Area::ALL, |point| {
        let depth = 1.0 - chest.heart.square_radius(point);
        if depth <= 0.0 {
            return 0.0;
        }
        // The heart replaces air, so that it adds little over spine, liver and fluid.
        let displaced: f32 = chest
            .lungs
            .iter()
            .map(|lung| lung.air(point) * pathology::dry(lung, findings, point))
            .sum();
        depth.sqrt() * (0.2 + 0.85 * displaced)
    });
}

/// Draws posterior ribs, which descend from the spine to the side, and anterior ribs, which descend
/// from the side to the middle.
fn draw_ribs(canvas: &mut Canvas, chest: &Chest, side: Side) {
    const COUNT: usize = 11;
    let (anatomy, lung) = (chest.anatomy, chest.lung(side));
    for rib in 0..COUNT {
        let thickness = 3.6 + 0.12 * rib as f32;
        let start = anatomy.apex - 10.0 + rib as f32 * anatomy.rib_spacing;
        let fall = anatomy.rib_fall * (0.7 + 0.06 * rib as f32);
        let end = start + fall - 14.0;
        let area = Area {
            left: if side == Side::Right { -165.0 } else { 10.0 },
            right: if side == Side::Right { -10.0 } else { 165.0 },
            top: start - 30.0,
            bottom: start + fall + 90.0,
        };
        canvas.add(area, |point| {
            let x = point.x * side.sign();
            let reach = lung.outer(point.y) + 5.0 - x;
            if reach < -2.0 {
                return 0.0;
            }
            let t = x / anatomy.half_width;
            let posterior = start - 14.0 * t * (2.0 - t) + fall * t * t;
            let slope = (fall * 2.0 * t - 28.0 * (1.0 - t)) / anatomy.half_width;
            let anterior = end + 78.0 * (1.0 - t) + 6.0;
            let cartilage = inside(t - 0.42, 0.06);
            inside(reach, 2.0)
                * (bone(point.y - posterior, slope, thickness)
                    + 0.75
                        * cartilage
                        * bone(
                            point.y - anterior,
                            -78.0 / anatomy.half_width,
                            thickness + 1.2,
                        ))
        });
    }
}

/// Returns the attenuation of a bar of bone, denser at its rim, whose axis passes `offset` mm above
/// at `slope`.
fn bone(offset: f32, slope: f32, thickness: f32) -> f32 {
    let depth = thickness - offset.abs() / (1.0 + slope * slope).sqrt();
    inside(depth, 1.0) * (0.11 + 0.08 * ramp(3.5, 0.0, depth))
}

fn draw_shoulder(canvas: &mut Canvas, anatomy: &Anatomy, side: Side) {
    let at = |x: f32, y: f32| Point::new(side.sign() * x, y);
    let tip = anatomy.half_width + 22.0;
    let clavicle = [
        (at(16.0, -112.0), 7.0),
        (at(60.0, -122.0 - 0.2 * anatomy.clavicle_rise), 5.0),
        (at(tip, -122.0 - anatomy.clavicle_rise), 6.0),
    ];
    canvas.stroke(&clavicle, |wall, _| {
        inside(-wall, 1.2) * (0.22 + 0.1 * ramp(-3.0, 0.0, wall))
    });
    let humerus = [
        (at(tip + 18.0, -110.0), 23.0),
        (at(tip + 28.0, -70.0), 14.0),
        (at(tip + 58.0, 120.0), 12.0),
    ];
    canvas.stroke(&humerus, |wall, _| {
        inside(-wall, 1.5) * (0.3 + 0.15 * ramp(-5.0, 0.0, wall))
    });
    let blade = [
        (at(tip - 8.0, -108.0), 9.0),
        (at(tip - 34.0, -40.0), 4.0),
        (at(tip - 42.0, 5.0), 3.0),
    ];
    canvas.stroke(&blade, |wall, _| 0.13 * inside(-wall, 2.0));
}

fn draw_breast(canvas: &mut Canvas, anatomy: &Anatomy, side: Side) {
    if let Some(radius) = anatomy.breast {
        let centre = Point::new(
            side.sign() * (0.62 * anatomy.half_width),
            anatomy.dome - 38.0,
        );
        canvas.add(Area::around(centre, radius + 10.0), |point| {
            // The lower edge is sharp, the upper one is soft.
            let depth = radius - point.distance(centre);
            0.24 * inside(depth, 5.0) * ramp(-radius, radius, point.y - centre.y)
        });
    }
}

fn draw_gas_bubble(canvas: &mut Canvas, chest: &Chest) {
    let radius = chest.anatomy.gas_bubble;
    let dome = chest.lung(Side::Left).at(0.4, 1.0);
    let centre = Point::new(dome.x - 8.0, dome.y + 12.0 + 0.8 * radius);
    canvas.add(Area::around(centre, 2.0 * radius), |point| {
        let (x, y) = ((point.x - centre.x) / 1.4, point.y - centre.y);
        -0.38 * inside(radius - (x * x + y * y).sqrt(), 5.0)
    });
}
