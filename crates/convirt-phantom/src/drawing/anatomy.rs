//! The random anatomy of a patient, and the borders of the chest in one study.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Point, inside, ramp};
use crate::chest::{Finding, Severity, Side, Volume};

/// The anatomy of a patient, the same in all studies; lengths are in mm.
#[derive(Debug, Clone)]
pub(crate) struct Anatomy {
    /// Half the inner width of the rib cage at its widest.
    pub half_width: f32,
    /// Height of the lung apices.
    pub apex: f32,
    /// Height of the right dome of the diaphragm in full breath.
    pub dome: f32,
    /// Soft tissue beside the ribs.
    pub wall: f32,
    /// Attenuation of the trunk without lungs.
    pub bulk: f32,
    /// Width of a normal heart as a share of the inner chest width (cardiothoracic ratio).
    pub heart_ratio: f32,
    /// Half the width of the upper mediastinum.
    pub mediastinum: f32,
    /// Radius of the aortic knob.
    pub aorta: f32,
    /// Distance from rib to rib.
    pub rib_spacing: f32,
    /// How far a posterior rib falls from the spine to the chest wall.
    pub rib_fall: f32,
    /// How far the clavicles rise from the breastbone to the shoulder.
    pub clavicle_rise: f32,
    /// Radius of the breast shadows, if there are any.
    pub breast: Option<f32>,
    /// Radius of the gas bubble in the stomach.
    pub gas_bubble: f32,
    /// Seed of the vascular tree.
    pub vessels: u64,
}

impl Anatomy {
    /// Draws a random anatomy.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        let female = rng.random_bool(0.5);
        let scale = if female { 0.94 } else { 1.0 };
        Self {
            half_width: scale * rng.random_range(124.0..150.0),
            apex: -scale * rng.random_range(122.0..140.0),
            dome: scale * rng.random_range(84.0..108.0),
            wall: rng.random_range(10.0..34.0),
            bulk: rng.random_range(1.35..1.65),
            heart_ratio: rng.random_range(0.40..0.47),
            mediastinum: rng.random_range(23.0..30.0),
            aorta: rng.random_range(11.0..18.0),
            rib_spacing: rng.random_range(21.0..25.0),
            rib_fall: rng.random_range(22.0..46.0),
            clavicle_rise: rng.random_range(4.0..30.0),
            breast: (female && rng.random_bool(0.8)).then(|| rng.random_range(48.0..72.0)),
            gas_bubble: rng.random_range(10.0..26.0),
            vessels: rng.random(),
        }
    }
}

/// An ellipse rotated clockwise; lengths are in mm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ellipse {
    centre: Point,
    long: f32,
    short: f32,
}

impl Ellipse {
    /// Cosine and sine of the rotation of the heart's long axis, about 35°.
    const TURN: (f32, f32) = (0.819, 0.574);

    /// Returns the squared radius of `point`: 0 at the centre, 1 on the border.
    pub fn square_radius(&self, point: Point) -> f32 {
        let (cos, sin) = Self::TURN;
        let (x, y) = (point.x - self.centre.x, point.y - self.centre.y);
        let (u, v) = (
            (cos * x + sin * y) / self.long,
            (cos * y - sin * x) / self.short,
        );
        u * u + v * v
    }
}

/// How much the air of a lung reduces the attenuation of the trunk.
pub(crate) const LUNG_AIR: f32 = 1.0;

/// One lung: between mediastinum, chest wall, apex and diaphragm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lung {
    /// The lung's side.
    pub side: Side,
    /// Height of the apex (mm).
    pub apex: f32,
    /// Height of the dome of the diaphragm (mm).
    pub dome: f32,
    medial: f32,
    lateral: f32,
    sulcus: f32,
}

impl Lung {
    /// Distance of the apex from the border of the mediastinum (mm).
    const APEX_OFFSET: f32 = 26.0;

    /// Returns the distance of `point` to the nearest border, in mm, positive inside the lung.
    pub fn depth(&self, point: Point) -> f32 {
        let x = point.x * self.side.sign();
        (x - self.inner(point.y))
            .min(self.floor(point) - point.y)
            .min(self.wall_distance(point))
    }

    /// Returns the distance of `point` to the chest wall beside or above it, in mm, positive
    /// inside.
    pub fn wall_distance(&self, point: Point) -> f32 {
        let x = point.x * self.side.sign();
        (self.outer(point.y) - x).min(point.y - self.apex)
    }

    /// Returns the height of the diaphragm at the side position of `point` (mm); it is lowest at
    /// the chest wall.
    pub fn floor(&self, point: Point) -> f32 {
        const PEAK: f32 = 0.42;
        let across = self.across(point);
        if across > PEAK {
            let t = (across - PEAK) / (1.0 - PEAK);
            self.dome + self.sulcus * t * t
        } else {
            let t = (PEAK - across) / PEAK;
            self.dome + 14.0 * t * t
        }
    }

    /// Returns the position of `point` between the mediastinum (0) and the widest chest wall (1).
    pub fn across(&self, point: Point) -> f32 {
        let x = point.x * self.side.sign();
        ((x - self.medial) / (self.lateral - self.medial)).clamp(0.0, 1.0)
    }

    /// Returns the point at the fraction `across` from mediastinum to chest wall, and at the
    /// fraction `along` from the apex down to the dome.
    pub fn at(&self, across: f32, along: f32) -> Point {
        let y = self.apex + along * (self.dome - self.apex);
        let (inner, outer) = (self.inner(y), self.outer(y));
        Point::new(self.side.sign() * (inner + across * (outer - inner)), y)
    }

    /// Returns the distance of the chest wall from the midline at height `y` (mm).
    pub fn outer(&self, y: f32) -> f32 {
        let t = ((y - self.apex) / (0.85 * (self.dome - self.apex))).clamp(0.0, 1.0);
        let top = self.medial + Self::APEX_OFFSET;
        top + (self.lateral - top) * (t * (2.0 - t)).sqrt()
    }

    /// Returns the share of the trunk's depth at `point` that is lung, 0–1.
    pub fn air(&self, point: Point) -> f32 {
        let depth = self.depth(point);
        inside(depth, 2.5) * (0.72 + 0.28 * ramp(0.0, 40.0, depth))
    }

    fn inner(&self, y: f32) -> f32 {
        let t = ((y - self.apex) / 45.0).clamp(0.0, 1.0);
        self.medial + Self::APEX_OFFSET * (1.0 - (t * (2.0 - t)).sqrt())
    }
}

/// The chest of one study: the anatomy, changed by breath and findings.
#[derive(Debug, Clone)]
pub(crate) struct Chest<'a> {
    pub anatomy: &'a Anatomy,
    pub lungs: [Lung; 2],
    pub heart: Ellipse,
    /// Largest distance of a curved spine from the midline (mm), negative to the right.
    pub bow: f32,
}

impl<'a> Chest<'a> {
    /// The point where the windpipe divides.
    pub const CARINA: Point = Point { x: -2.0, y: -62.0 };

    /// Computes the borders of `anatomy` with `findings`.
    pub fn new(anatomy: &'a Anatomy, findings: &[Finding]) -> Self {
        let (mut dome, mut sulcus) = (anatomy.dome, 46.0);
        let (mut bow, mut ratio) = (0.0, anatomy.heart_ratio);
        let mut raised = None;
        for finding in findings {
            match finding {
                Finding::LungVolumes(Volume::Low) => (dome, sulcus) = (dome - 34.0, 40.0),
                Finding::LungVolumes(Volume::High) => (dome, sulcus) = (dome + 32.0, 18.0),
                Finding::Scoliosis { convex } => bow = 24.0 * convex.sign(),
                Finding::RaisedDiaphragm { side } => raised = Some(*side),
                Finding::Cardiomegaly { severity } => {
                    ratio += match severity {
                        Severity::Mild => 0.12,
                        Severity::Severe => 0.25,
                    }
                }
                _ => {}
            }
        }
        let lungs = Side::BOTH.map(|side| Lung {
            side,
            apex: anatomy.apex,
            dome: dome + if side == Side::Left { 8.0 } else { 0.0 }
                - if raised == Some(side) { 42.0 } else { 0.0 },
            medial: anatomy.mediastinum - 5.0,
            lateral: anatomy.half_width,
            sulcus,
        });
        let heart_width = ratio * 2.0 * anatomy.half_width;
        // The rotated ellipse is 0.933 of its long axis wide and 0.86 of it high.
        let long = heart_width / 2.0 / 0.933;
        let heart = Ellipse {
            centre: Point::new(0.16 * heart_width, dome + 14.0 - 0.8 * long),
            long,
            short: 0.78 * long,
        };
        Self {
            anatomy,
            lungs,
            heart,
            bow,
        }
    }

    /// Returns the lung of a side.
    pub fn lung(&self, side: Side) -> &Lung {
        match side {
            Side::Right => &self.lungs[0],
            Side::Left => &self.lungs[1],
        }
    }

    /// Returns the distance of the spine from the midline at height `y` (mm).
    pub fn spine(&self, y: f32) -> f32 {
        let t = ((y + 110.0) / 240.0).clamp(0.0, 1.0);
        self.bow * 4.0 * t * (1.0 - t)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn builds() -> Vec<Anatomy> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        (0..50).map(|_| Anatomy::sample(&mut rng)).collect()
    }

    #[test]
    fn points_between_the_borders_lie_inside_the_lung() {
        for anatomy in builds() {
            let chest = Chest::new(&anatomy, &[]);
            for lung in &chest.lungs {
                for (across, along) in [(0.2, 0.2), (0.5, 0.5), (0.8, 0.9), (0.5, 0.1)] {
                    assert!(lung.depth(lung.at(across, along)) > 0.0, "{anatomy:?}");
                }
                assert!(lung.depth(lung.at(1.1, 0.5)) < 0.0);
                assert!(lung.depth(lung.at(0.5, 1.4)) < 0.0);
                assert!(lung.depth(Point::new(0.0, 0.0)) < 0.0);
            }
        }
    }

    #[test]
    fn the_right_lung_lies_on_the_viewers_left() {
        let anatomy = &builds()[0];
        let chest = Chest::new(anatomy, &[]);
        assert!(chest.lung(Side::Right).at(0.5, 0.5).x < 0.0);
        assert!(chest.lung(Side::Left).at(0.5, 0.5).x > 0.0);
    }

    #[test]
    fn the_heart_is_as_wide_as_its_ratio_says() {
        for (severity, extra) in [(Severity::Mild, 0.12), (Severity::Severe, 0.25)] {
            let anatomy = &builds()[0];
            let chest = Chest::new(anatomy, &[Finding::Cardiomegaly { severity }]);
            let covered = (-200..200)
                .filter(|x| {
                    (-150..200)
                        .any(|y| chest.heart.square_radius(Point::new(*x as f32, y as f32)) < 1.0)
                })
                .count() as f32;
            let ratio = covered / (2.0 * anatomy.half_width);
            // 1 mm steps over about 270 mm.
            assert!(
                (ratio - anatomy.heart_ratio - extra).abs() < 0.01,
                "{ratio}"
            );
        }
    }
}
