//! The canvas on which the phantom is drawn: attenuation by position in the body, in mm.
//!
//! The drawing only uses additions, multiplications, divisions and square roots. IEEE 754 defines
//! the rounding of these operations, so that every machine draws the same image.

/// A point of the body seen from the front, in mm: `x` grows towards the patient's left, which is
/// the viewer's right, and `y` towards the feet; the origin lies on the midline at mid-chest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub x: f32,
    pub y: f32,
}

impl Point {
    /// Creates the point at `x`, `y` (mm).
    pub fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Returns the distance to `other`, in mm.
    pub fn distance(self, other: Self) -> f32 {
        let (dx, dy) = (self.x - other.x, self.y - other.y);
        (dx * dx + dy * dy).sqrt()
    }
}

/// A point of a tube's centre line with the tube's radius there, both in mm.
pub(crate) type Node = (Point, f32);

/// A box in the body, in mm, outside which a shape draws nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub left: f32,
    pub right: f32,
    pub top: f32,
    pub bottom: f32,
}

impl Area {
    /// The whole body.
    pub const ALL: Self = Self {
        left: -1e4,
        right: 1e4,
        top: -1e4,
        bottom: 1e4,
    };

    /// Returns the square with half side `reach` (mm) around `centre`.
    pub fn around(centre: Point, reach: f32) -> Self {
        Self::spanning(&[(centre, reach)], 0.0)
    }

    /// Returns the smallest box around the nodes with their radii and a margin, in mm.
    fn spanning(nodes: &[Node], margin: f32) -> Self {
        let nothing = Self {
            left: f32::INFINITY,
            right: f32::NEG_INFINITY,
            top: f32::INFINITY,
            bottom: f32::NEG_INFINITY,
        };
        nodes.iter().fold(nothing, |area, (point, radius)| {
            let reach = radius + margin;
            Self {
                left: area.left.min(point.x - reach),
                right: area.right.max(point.x + reach),
                top: area.top.min(point.y - reach),
                bottom: area.bottom.max(point.y + reach),
            }
        })
    }
}

/// The position of the body on the detector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pose {
    /// The point of the body in the middle of the image.
    pub centre: Point,
    /// Size of a pixel in the body, in mm.
    pub pixel_mm: f32,
    /// Tangent of half the angle by which the body is rotated clockwise.
    pub half_turn: f32,
}

impl Pose {
    /// Returns the cosine and the sine of the rotation, without trigonometric functions.
    fn rotation(&self) -> (f32, f32) {
        let square = self.half_turn * self.half_turn;
        (
            (1.0 - square) / (1.0 + square),
            2.0 * self.half_turn / (1.0 + square),
        )
    }
}

/// A range of pixel columns and rows, without their ends.
struct Window {
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
}

/// The attenuation that a detector behind the body would see, pixel by pixel.
///
/// Values are line integrals: shapes add up, and `e^-value` of the beam reaches the detector.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub attenuation: Vec<f32>,
    pose: Pose,
    /// Cosine and sine of the pose's rotation.
    turn: (f32, f32),
}

impl Canvas {
    /// Creates an empty canvas of `width` × `height` pixels.
    pub fn new(width: usize, height: usize, pose: Pose) -> Self {
        Self {
            width,
            height,
            attenuation: vec![0.0; width * height],
            turn: pose.rotation(),
            pose,
        }
    }

    /// Returns the size of a pixel in the body, in mm.
    pub fn pixel_mm(&self) -> f32 {
        self.pose.pixel_mm
    }

    /// Adds the `density` at the point of the body to every pixel inside `area`.
    pub fn add(&mut self, area: Area, density: impl Fn(Point) -> f32) {
        let window = self.window(area);
        for row in window.rows {
            for column in window.columns.clone() {
                let addition = density(self.body(column, row));
                self.attenuation[row * self.width + column] += addition;
            }
        }
    }

    /// Adds a tube along `nodes`.
    ///
    /// `density` takes the signed distance to the wall, in mm, negative inside, and the point of
    /// the body. Nothing is drawn more than 2 mm outside.
    pub fn stroke(&mut self, nodes: &[Node], density: impl Fn(f32, Point) -> f32) {
        const MARGIN: f32 = 2.0;
        let whole = self.window(Area::spanning(nodes, MARGIN));
        let columns = whole.columns.len();
        let mut nearest = vec![f32::INFINITY; columns * whole.rows.len()];
        for segment in nodes.windows(2) {
            let window = self.window(Area::spanning(segment, MARGIN));
            for row in window.rows {
                for column in window.columns.clone() {
                    let wall =
                        distance_wall_distance(self.body(column, row), segment[0], segment[1]);
                    let cell = (row - whole.rows.start) * columns + column - whole.columns.start;
                    nearest[cell] = nearest[cell].min(wall);
                }
            }
        }
        for row in whole.rows.clone() {
            for column in whole.columns.clone() {
                let wall =
                    nearest[(row - whole.rows.start) * columns + column - whole.columns.start];
                if wall < MARGIN {
                    let addition = density(wall, self.body(column, row));
                    self.attenuation[row * self.width + column] += addition;
                }
            }
        }
    }

    /// Returns the point of the body at the middle of a pixel.
    fn body(&self, column: usize, row: usize) -> Point {
        let (cos, sin) = self.turn;
        let x = (column as f32 + 0.5 - self.width as f32 / 2.0) * self.pose.pixel_mm;
        let y = (row as f32 + 0.5 - self.height as f32 / 2.0) * self.pose.pixel_mm;
        Point::new(
            self.pose.centre.x + cos * x + sin * y,
            self.pose.centre.y - sin * x + cos * y,
        )
    }

    /// Returns the pixels that can be inside `area`.
    fn window(&self, area: Area) -> Window {
        let (cos, sin) = self.turn;
        let corners = [
            Point::new(area.left, area.top),
            Point::new(area.right, area.top),
            Point::new(area.left, area.bottom),
            Point::new(area.right, area.bottom),
        ]
        .map(|corner| {
            let (x, y) = (corner.x - self.pose.centre.x, corner.y - self.pose.centre.y);
            Point::new(
                (cos * x - sin * y) / self.pose.pixel_mm + self.width as f32 / 2.0,
                (sin * x + cos * y) / self.pose.pixel_mm + self.height as f32 / 2.0,
            )
        });
        Window {
            columns: pixel_range(corners.map(|corner| corner.x), self.width),
            rows: pixel_range(corners.map(|corner| corner.y), self.height),
        }
    }
}

/// Returns the opacity of a soft edge at a depth: 0 at `-softness`, 1 at `softness` (mm).
pub(crate) fn inside(depth: f32, softness: f32) -> f32 {
    ramp(-softness, softness, depth)
}

/// Rises smoothly from 0 at `start` to 1 at `end`.
pub(crate) fn ramp(start: f32, end: f32, value: f32) -> f32 {
    let t = ((value - start) / (end - start)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn pixel_range(ends: [f32; 4], limit: usize) -> std::ops::Range<usize> {
    let low = ends.iter().copied().fold(f32::INFINITY, f32::min);
    let high = ends.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first = low.floor().clamp(0.0, limit as f32) as usize;
    let last = high.ceil().clamp(0.0, limit as f32) as usize;
    first..last.max(first)
}

fn distance_wall_distance(point: Point, (start, first): Node, (end, last): Node) -> f32 {
    let (dx, dy) = (end.x - start.x, end.y - start.y);
    let length = (dx * dx + dy * dy).max(1e-6);
    let along = (((point.x - start.x) * dx + (point.y - start.y) * dy) / length).clamp(0.0, 1.0);
    let on_line = Point::new(start.x + along * dx, start.y + along * dy);
    point.distance(on_line) - (first + along * (last - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(half_turn: f32) -> Canvas {
        Canvas::new(
            50,
            40,
            Pose {
                centre: Point::new(3.0, -2.0),
                pixel_mm: 2.0,
                half_turn,
            },
        )
    }

    #[test]
    fn an_area_leaves_no_pixel_of_its_shape_out() {
        let disc = |point: Point| f32::from(point.distance(Point::new(10.0, 5.0)) < 15.0);
        for half_turn in [-0.05, 0.0, 0.3] {
            let (mut bounded, mut everywhere) = (rotated(half_turn), rotated(half_turn));
            bounded.add(Area::around(Point::new(10.0, 5.0), 15.0), disc);
            everywhere.add(Area::ALL, disc);
            assert!(everywhere.attenuation.iter().sum::<f32>() > 100.0);
            assert_eq!(bounded.attenuation, everywhere.attenuation);
        }
    }

    #[test]
    fn the_joints_of_a_tube_are_drawn_once() {
        let mut canvas = rotated(0.0);
        let bent = [(-20.0, 0.0), (0.0, 0.0), (0.0, 20.0)].map(|(x, y)| (Point::new(x, y), 4.0));
        canvas.stroke(&bent, |wall, _| f32::from(wall < 0.0));
        let peak = canvas.attenuation.iter().copied().fold(0.0, f32::max);
        assert_eq!(peak, 1.0);
    }

    #[test]
    fn a_shape_outside_the_image_draws_nothing() {
        let mut canvas = rotated(0.1);
        canvas.stroke(
            &[(Point::new(900.0, 0.0), 2.0), (Point::new(990.0, 0.0), 2.0)],
            |_, _| 1.0,
        );
        assert!(canvas.attenuation.iter().all(|value| *value == 0.0));
    }
}
