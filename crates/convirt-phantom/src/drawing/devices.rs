//! Draws tubes, lines, pacemakers and wires.

use super::anatomy::Chest;
use super::canvas::{Area, Canvas, Node, Point, inside, ramp};
use crate::chest::{Access, Side};

/// Draws an endotracheal tube down to its tip: the wall and the opaque stripe in the middle.
pub(crate) fn draw_windpipe_tube(canvas: &mut Canvas, above_carina: u32) {
    let tip = Point::new(Chest::CARINA.x, Chest::CARINA.y - above_carina as f32);
    let tube = [
        (Point::new(1.0, -240.0), 4.6),
        (Point::new(0.0, -150.0), 4.6),
        (tip, 4.6),
    ];
    canvas.stroke(&tube, |wall, _| {
        // The wall and the opaque stripe.
        inside(-wall, 0.8) * (0.32 + 0.75 * ramp(-3.0, -4.2, wall))
    });
}

pub(crate) fn draw_gastric_tube(canvas: &mut Canvas, chest: &Chest) {
    let dome = chest.lung(Side::Left).dome;
    draw_wire(
        canvas,
        &[
            Point::new(9.0, -240.0),
            Point::new(9.0, -120.0),
            Point::new(7.0, -20.0),
            Point::new(11.0, dome - 10.0),
            Point::new(30.0, dome + 26.0),
            Point::new(62.0, dome + 52.0),
            Point::new(58.0, dome + 84.0),
        ],
        1.7,
        0.62,
    );
}

/// Draws a central line from the neck or the arm into the superior vena cava, right of the midline.
pub(crate) fn draw_line(canvas: &mut Canvas, chest: &Chest, side: Side, access: Access) {
    let at = |x: f32, y: f32| Point::new(side.sign() * x, y);
    let width = chest.anatomy.half_width;
    let entry = match access {
        Access::Jugular => vec![at(44.0, -240.0), at(38.0, -180.0), at(27.0, -128.0)],
        Access::Arm => vec![
            at(width + 70.0, 20.0),
            at(width + 34.0, -76.0),
            at(0.75 * width, -112.0),
            at(46.0, -116.0),
        ],
    };
    let cava = [
        Point::new(-17.0, -84.0),
        Point::new(-20.0, -40.0),
        Point::new(-19.0, -14.0),
    ];
    draw_wire(canvas, &[entry.as_slice(), &cava].concat(), 1.5, 0.6);
}

/// Draws a pacemaker below the clavicle, with a lead to the right ventricle and perhaps one to the
/// atrium.
pub(crate) fn draw_pacemaker(canvas: &mut Canvas, chest: &Chest, side: Side, leads: u32) {
    let at = |x: f32, y: f32| Point::new(side.sign() * x, y);
    let middle = at(0.68 * chest.anatomy.half_width, -84.0);
    canvas.add(Area::around(middle, 32.0), |point| {
        let (x, y) = ((point.x - middle.x).abs(), (point.y - middle.y).abs());
        let (over_x, over_y) = ((x - 13.0).max(0.0), (y - 11.0).max(0.0));
        1.3 * inside(10.0 - (over_x * over_x + over_y * over_y).sqrt(), 1.0)
    });
    let entry = [
        at(0.6 * chest.anatomy.half_width, -104.0),
        at(50.0, -122.0),
        at(26.0, -114.0),
    ];
    let cava = [Point::new(-16.0, -84.0), Point::new(-20.0, -30.0)];
    let floor = chest.lung(Side::Left).dome;
    let ends: [&[Point]; 2] = [
        &[
            Point::new(-18.0, 20.0),
            Point::new(10.0, floor - 18.0),
            Point::new(46.0, floor - 22.0),
        ],
        &[
            Point::new(-26.0, 10.0),
            Point::new(-34.0, 28.0),
            Point::new(-26.0, 2.0),
        ],
    ];
    for end in &ends[..leads as usize] {
        draw_wire(canvas, &[entry.as_slice(), &cava, end].concat(), 1.5, 0.75);
    }
}

/// Draws loops of wire down the breastbone.
pub(crate) fn draw_wires(canvas: &mut Canvas) {
    for loop_ in 0..6 {
        let y = -82.0 + 25.0 * loop_ as f32;
        let slant = if loop_ % 2 == 0 { 3.0 } else { -3.0 };
        let knot = [
            (-9.0, slant),
            (-4.0, -4.0),
            (5.0, -3.0),
            (9.0, 0.0),
            (4.0, 4.0),
            (-9.0, slant),
        ];
        let path: Vec<_> = knot
            .iter()
            .map(|(dx, dy)| Point::new(*dx, y + dy))
            .collect();
        draw_wire(canvas, &path, 1.2, 0.8);
    }
}

/// Draws a wire or an opaque tube of `radius` mm along a smooth curve through `points`.
fn draw_wire(canvas: &mut Canvas, points: &[Point], radius: f32, density: f32) {
    // A wire thinner than a pixel is drawn one pixel wide and correspondingly fainter.
    let softness = (0.5 * canvas.pixel_mm()).max(0.7);
    canvas.stroke(&smooth(points, radius), |wall, _| {
        density * inside(-wall, softness)
    });
}

/// Returns a Catmull–Rom curve through `points`.
fn smooth(points: &[Point], radius: f32) -> Vec<Node> {
    const STEPS: usize = 6;
    let last = points.len() - 1;
    let mut nodes = vec![(points[0], radius)];
    for index in 0..last {
        let [a, b, c, d] = [
            points[index.saturating_sub(1)],
            points[index],
            points[index + 1],
            points[(index + 2).min(last)],
        ];
        for step in 1..=STEPS {
            let t = step as f32 / STEPS as f32;
            let curve = |a: f32, b: f32, c: f32, d: f32| {
                b + 0.5
                    * t
                    * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
            };
            nodes.push((
                Point::new(curve(a.x, b.x, c.x, d.x), curve(a.y, b.y, c.y, d.y)),
                radius,
            ));
        }
    }
    nodes
}
