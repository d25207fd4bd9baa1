//! Draws the findings of a chest.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::anatomy::{Chest, LUNG_AIR, Lung};
use super::canvas::{Area, Canvas, Node, Point, inside, ramp};
use super::devices;
use crate::chest::{Extent, Finding, Spot};

/// Draws `finding`, one of `findings`. Findings that move borders are already part of the chest.
pub(crate) fn draw(canvas: &mut Canvas, chest: &Chest, findings: &[Finding], finding: &Finding) {
    match *finding {
        Finding::Effusion { side, extent } => draw_effusion(canvas, chest.lung(side), extent),
        Finding::Consolidation { spot, extent } => {
            draw_consolidation(canvas, chest.lung(spot.side), spot, extent);
        }
        Finding::Nodule { spot, millimetres } => {
            draw_nodule(canvas, chest.lung(spot.side), spot, millimetres);
        }
        Finding::Pneumothorax { side, extent } => {
            draw_pneumothorax(canvas, chest.lung(side), findings, extent);
        }
        Finding::EndotrachealTube { above_carina } => {
            devices::draw_windpipe_tube(canvas, above_carina)
        }
        Finding::GastricTube => devices::draw_gastric_tube(canvas, chest),
        Finding::CentralLine { side, access } => devices::draw_line(canvas, chest, side, access),
        Finding::Pacemaker { side, leads } => devices::draw_pacemaker(canvas, chest, side, leads),
        Finding::SternotomyWires => devices::draw_wires(canvas),
        Finding::Cardiomegaly { .. }
        | Finding::LungVolumes(_)
        | Finding::RaisedDiaphragm { .. }
        | Finding::Scoliosis { .. } => {}
    }
}

/// Returns the distance of `point` to the edge of a collapsed lung, in mm: positive inside the
/// lung, negative in the free air.
pub(crate) fn behind_air(lung: &Lung, extent: Extent, point: Point) -> f32 {
    let (top, bottom) = match extent {
        Extent::Small => (32.0, 8.0),
        Extent::Moderate => (52.0, 22.0),
        Extent::Large => (74.0, 44.0),
    };
    let along = ramp(lung.apex, lung.dome, point.y);
    lung.wall_distance(point) - (top + along * (bottom - top))
}

/// Returns the share of lung at `point` that is neither in fluid nor collapsed, 0–1.
pub(crate) fn aerated(lung: &Lung, findings: &[Finding], point: Point) -> f32 {
    let attached = findings.iter().map(|finding| match *finding {
        Finding::Pneumothorax { side, extent } if side == lung.side => {
            inside(behind_air(lung, extent, point), 2.0)
        }
        _ => 1.0,
    });
    attached.product::<f32>() * dry(lung, findings, point)
}

/// Returns the share of lung at `point` that is not in fluid, 0–1.
pub(crate) fn dry(lung: &Lung, findings: &[Finding], point: Point) -> f32 {
    let shares = findings.iter().map(|finding| match *finding {
        Finding::Effusion { side, extent } if side == lung.side => 1.0 - fluid(lung, extent, point),
        _ => 1.0,
    });
    shares.product()
}

/// Returns the share of fluid at `point`, 0–1. The fluid rises from below, with a meniscus at the
/// chest wall.
fn fluid(lung: &Lung, extent: Extent, point: Point) -> f32 {
    // Heights above the dome at the mediastinum and at the chest wall.
    let (medial, lateral) = match extent {
        Extent::Small => (-26.0, 34.0),
        Extent::Moderate => (24.0, 78.0),
        Extent::Large => (92.0, 140.0),
    };
    let across = lung.across(point);
    let surface = lung.dome - medial - (lateral - medial) * across * across;
    ramp(-9.0, 9.0, point.y - surface)
}

fn draw_effusion(canvas: &mut Canvas, lung: &Lung, extent: Extent) {
    canvas.add(Area::ALL, |point| {
        0.94 * LUNG_AIR * lung.air(point) * fluid(lung, extent, point)
    });
}

/// Draws overlapping soft clouds, cut off at the lung's border.
fn draw_consolidation(canvas: &mut Canvas, lung: &Lung, spot: Spot, extent: Extent) {
    let (clouds, reach, density) = match extent {
        Extent::Small => (5, 21.0, 0.7),
        Extent::Moderate => (8, 28.0, 0.9),
        Extent::Large => (12, 37.0, 1.05),
    };
    let centre = lung.at(spot.across, spot.along);
    let mut rng = ChaCha8Rng::seed_from_u64(spot.shape);
    let clouds: Vec<Node> = (0..clouds)
        .map(|_| {
            let (x, y) = (rng.random_range(-1.0..1.0), rng.random_range(-0.8..0.8));
            let radius = rng.random_range(0.4..0.75) * reach;
            (
                Point::new(centre.x + reach * x, centre.y + reach * y),
                radius,
            )
        })
        .collect();
    canvas.add(Area::around(centre, 2.0 * reach), |point| {
        let fog: f32 = clouds
            .iter()
            .map(|(middle, radius)| ramp(1.3 * radius, 0.1 * radius, point.distance(*middle)))
            .sum();
        density * LUNG_AIR * lung.air(point) * fog / (0.8 + fog)
    });
}

/// Draws a ball.
fn draw_nodule(canvas: &mut Canvas, lung: &Lung, spot: Spot, millimetres: u32) {
    let centre = lung.at(spot.across, spot.along);
    let radius = millimetres as f32 / 2.0;
    canvas.add(Area::around(centre, radius + 2.0), |point| {
        let distance = point.distance(centre);
        let chord = (1.0 - distance * distance / (radius * radius))
            .max(0.0)
            .sqrt();
        (0.5 + 0.014 * radius) * chord.max(0.5 * inside(radius - distance, 1.0))
    });
}

/// Draws free air at the wall and the apex, a fine pleural line, and a denser lung.
fn draw_pneumothorax(canvas: &mut Canvas, lung: &Lung, findings: &[Finding], extent: Extent) {
    let loss = match extent {
        Extent::Small => 0.1,
        Extent::Moderate => 0.2,
        Extent::Large => 0.38,
    };
    let softness = canvas.pixel_mm().max(1.2);
    canvas.add(Area::ALL, |point| {
        let share = lung.air(point) * dry(lung, findings, point);
        if share <= 0.0 {
            return 0.0;
        }
        let behind = behind_air(lung, extent, point);
        let line = 0.3 * ramp(2.0 * softness, 0.0, behind.abs());
        share * (loss * inside(behind, 2.0) - 0.25 * inside(-behind, 2.0) + line)
    });
}
