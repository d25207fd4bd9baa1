//! Right and left.

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

    /// The sign of `x` on this side.
    pub fn sign(self) -> f32 {
        match self {
            Self::Right => -1.0,
            Self::Left => 1.0,
        }
    }

    /// The side across.
    pub fn other(self) -> Self {
        match self {
            Self::Right => Self::Left,
            Self::Left => Self::Right,
        }
    }

    /// Either side with equal chance.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        if rng.random_bool(0.5) {
            Self::Right
        } else {
            Self::Left
        }
    }
}
