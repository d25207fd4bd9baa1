//! Inverse cosine transforms of reduced size.

use std::f32::consts::FRAC_1_SQRT_2;

/// The reduced side of a block, in pixels of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    One,
    Two,
    Four,
}

const COS_PI_8: f32 = 0.923_879_5;
const SIN_PI_8: f32 = 0.382_683_43;

/// Position of each coefficient in a square of 4×4, row by row; `None` outside it (ITU-T T.81,
/// figure A.6).
pub(super) const ZIGZAG: [Option<usize>; 64] = {
    let mut places = [None; 64];
    let (mut row, mut column, mut number) = (0_usize, 0_usize, 0);
    while number < 64 {
        if row < 4 && column < 4 {
            places[number] = Some(4 * row + column);
        }
        // Up and to the right on even diagonals, down and to the left on odd ones.
        if (row + column) % 2 == 0 {
            if column == 7 {
                row += 1;
            } else if row == 0 {
                column += 1;
            } else {
                row -= 1;
                column += 1;
            }
        } else if row == 7 {
            column += 1;
        } else if column == 0 {
            row += 1;
        } else {
            row += 1;
            column -= 1;
        }
        number += 1;
    }
    places
};

impl Side {
    /// Returns the smallest side for which an image of `longer_side` becomes at least twice
    /// `target`; `None` if only the full size is large enough.
    pub(super) fn for_image(longer_side: usize, target: usize) -> Option<Self> {
        let sides = [Self::One, Self::Two, Self::Four];
        let is_enough = |side: &Self| longer_side * side.pixels() >= 8 * 2 * target;
        sides.into_iter().find(is_enough)
    }

    pub(super) fn pixels(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Returns the next larger side, if there is one.
    pub(super) fn twice(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two | Self::Four => Self::Four,
        }
    }

    /// Returns the number of coefficients up to the last one that is needed.
    pub(super) fn coefficients(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 5,
            Self::Four => 25,
        }
    }

    /// Writes the pixels of a block into the upper left corner of `samples`.
    ///
    /// This is the inverse cosine transform of as many points as there are pixels: it keeps the
    /// frequencies that these can represent and drops the others.
    pub(super) fn write_block(self, coefficients: &[f32; 16], samples: &mut [u8], stride: usize) {
        match self {
            Self::One => samples[0] = level(coefficients[0] / 8.0),
            Self::Two => {
                let rows =
                    [0, 1].map(|row| two([coefficients[4 * row], coefficients[4 * row + 1]]));
                let columns = [0, 1].map(|column| two([rows[0][column], rows[1][column]]));
                for (y, row) in samples.chunks_mut(stride).take(2).enumerate() {
                    for (x, sample) in row.iter_mut().take(2).enumerate() {
                        *sample = level(columns[x][y] / 4.0);
                    }
                }
            }
            Self::Four => {
                let (rows, _) = coefficients.as_chunks::<4>();
                let rows = [0, 1, 2, 3].map(|row| four(rows[row]));
                let columns = [0, 1, 2, 3].map(|column| four(rows.map(|row| row[column])));
                for (y, row) in samples.chunks_mut(stride).take(4).enumerate() {
                    for (x, sample) in row.iter_mut().take(4).enumerate() {
                        *sample = level(columns[x][y] / 2.0);
                    }
                }
            }
        }
    }
}

/// Computes the orthonormal inverse cosine transform of two points.
fn two([mean, difference]: [f32; 2]) -> [f32; 2] {
    [
        (mean + difference) * FRAC_1_SQRT_2,
        (mean - difference) * FRAC_1_SQRT_2,
    ]
}

/// Computes the orthonormal inverse cosine transform of four points.
fn four([c0, c1, c2, c3]: [f32; 4]) -> [f32; 4] {
    let (cos, sin) = (COS_PI_8 * FRAC_1_SQRT_2, SIN_PI_8 * FRAC_1_SQRT_2);
    let even = [(c0 + c2) / 2.0, (c0 - c2) / 2.0];
    let odd = [c1 * cos + c3 * sin, c1 * sin - c3 * cos];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

/// Converts a value around 0 to a level of 0 to 255.
fn level(value: f32) -> u8 {
    // Casts saturate.
    (value + 128.5) as u8
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    // The first 25 positions within 4×4, as listed in T.81.
    #[test]
    fn coefficients_are_at_the_positions_of_the_standard() {
        let listed = [
            (0, 0),
            (0, 1),
            (1, 0),
            (2, 0),
            (1, 1),
            (0, 2),
            (0, 3),
            (1, 2),
            (2, 1),
            (3, 0),
        ];
        for (number, (row, column)) in listed.into_iter().enumerate() {
            assert_eq!(ZIGZAG[number], Some(4 * row + column), "{number}");
        }
        assert_eq!(ZIGZAG[10], None);
        assert_eq!(ZIGZAG[24], Some(15));
        assert_eq!(ZIGZAG.iter().flatten().count(), 16);
        assert!(ZIGZAG[25..].iter().all(Option::is_none));
    }

    // x(n) = Σ c(k) √(2/N) cos(π (2n + 1) k / 2N), with √(1/N) for k = 0; the factor N/8 in two
    // dimensions scales coefficients of eight points to N points.
    #[test]
    fn pixels_are_the_inverse_cosine_transform() {
        let coefficients: [f32; 16] = std::array::from_fn(|i| (i * i) as f32 * 3.0 - 60.0);
        for side in [Side::One, Side::Two, Side::Four] {
            let n = side.pixels();
            let mut samples = vec![0; n * n];
            side.write_block(&coefficients, &mut samples, n);
            let basis = |k: usize, at: usize| {
                let angle = PI * (2 * at + 1) as f64 * k as f64 / (2 * n) as f64;
                let scale = if k == 0 { 1.0 } else { 2.0 };
                (scale / n as f64).sqrt() * angle.cos()
            };
            for y in 0..n {
                for x in 0..n {
                    let mut value = 0.0;
                    for row in 0..n {
                        for column in 0..n {
                            let coefficient = f64::from(coefficients[4 * row + column]);
                            value += coefficient * basis(row, y) * basis(column, x);
                        }
                    }
                    let expected = value * n as f64 / 8.0 + 128.0;
                    let apart = (f64::from(samples[y * n + x]) - expected.clamp(0.0, 255.0)).abs();
                    assert!(apart <= 0.51, "{side:?} {x},{y}: {apart}");
                }
            }
        }
    }

    #[test]
    fn the_smallest_image_is_at_least_twice_the_target() {
        assert_eq!(Side::for_image(3000, 187), Some(Side::One));
        assert_eq!(Side::for_image(3000, 188), Some(Side::Two));
        assert_eq!(Side::for_image(3000, 256), Some(Side::Two));
        assert_eq!(Side::for_image(1024, 256), Some(Side::Four));
        assert_eq!(Side::for_image(1023, 256), None);
    }
}
