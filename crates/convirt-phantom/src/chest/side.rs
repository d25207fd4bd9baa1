//! The right and the left side of the patient.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A side of the patient, not of the image: the patient's right is on the viewer's left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Right,
    Left,
}

impl Side {
    /// Both sides, right first.
    pub const BOTH: [Self; 2] = [Self::Right, Self::Left];

    /// Returns the sign of `x` on this side.
    pub fn sign(self) -> f32 {
        match self {
            Self::Right => -1.0,
            Self::Left => 1.0,
        }
    }

    /// Returns the opposite side.
    pub fn other(self) -> Self {
        match self {
            Self::Right => Self::Left,
            Self::Left => Self::Right,
        }
    }

    /// Draws a side; both have the same probability.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        if rng.random_bool(0.5) {
            Self::Right
        } else {
            Self::Left
        }
    }
}
