//! The findings that a study can show.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::side::Side;

/// The severity of cardiomegaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Mild,
    Severe,
}

/// The size of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    Small,
    Moderate,
    Large,
}

impl Extent {
    /// Draws a size; small is more likely than moderate or large.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..10) {
            0..4 => Self::Small,
            4..7 => Self::Moderate,
            _ => Self::Large,
        }
    }

    /// Returns whether an effusion of this size covers an opacity in `zone`.
    pub fn covers(self, zone: Zone) -> bool {
        match self {
            Self::Small => false,
            Self::Moderate => zone == Zone::Lower,
            Self::Large => zone != Zone::Upper,
        }
    }

    /// Returns the next smaller size; `None` for small.
    pub fn less(self) -> Option<Self> {
        match self {
            Self::Small => None,
            Self::Moderate => Some(Self::Small),
            Self::Large => Some(Self::Moderate),
        }
    }

    /// Returns the next larger size, at most large.
    pub fn more(self) -> Self {
        match self {
            Self::Small => Self::Moderate,
            Self::Moderate | Self::Large => Self::Large,
        }
    }
}

/// A third of a lung's height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    Upper,
    Mid,
    Lower,
}

impl Zone {
    fn sample(rng: &mut ChaCha8Rng) -> Self {
        [Self::Upper, Self::Mid, Self::Lower][rng.random_range(0..3)]
    }
}

/// A spot in a lung, and the seed of the shape of the opacity there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spot {
    pub side: Side,
    pub zone: Zone,
    /// From mediastinum (0) to chest wall (1).
    pub across: f32,
    /// From apex (0) to diaphragm (1).
    pub along: f32,
    pub shape: u64,
}

impl Spot {
    /// Draws a spot anywhere in either lung.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        let zone = Zone::sample(rng);
        let middle = match zone {
            Zone::Upper => 0.27,
            Zone::Mid => 0.55,
            Zone::Lower => 0.84,
        };
        Self {
            side: Side::sample(rng),
            zone,
            across: rng.random_range(0.35..0.75),
            along: middle + rng.random_range(-0.06..0.06),
            shape: rng.random(),
        }
    }

    /// Returns whether both are in the same zone of the same lung.
    pub fn shares_zone(&self, other: &Self) -> bool {
        (self.side, self.zone) == (other.side, other.zone)
    }
}

/// Where a central line enters the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Jugular,
    Arm,
}

/// Abnormal lung volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    Low,
    High,
}

/// A finding that the image shows and the report names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Finding {
    Cardiomegaly {
        severity: Severity,
    },
    Effusion {
        side: Side,
        extent: Extent,
    },
    Consolidation {
        spot: Spot,
        extent: Extent,
    },
    /// A round opacity of 9–30 mm.
    Nodule {
        spot: Spot,
        millimetres: u32,
    },
    Pneumothorax {
        side: Side,
        extent: Extent,
    },
    /// The distance of the tube's tip above the carina is in mm.
    EndotrachealTube {
        above_carina: u32,
    },
    GastricTube,
    CentralLine {
        side: Side,
        access: Access,
    },
    /// One or two leads.
    Pacemaker {
        side: Side,
        leads: u32,
    },
    SternotomyWires,
    LungVolumes(Volume),
    RaisedDiaphragm {
        side: Side,
    },
    Scoliosis {
        convex: Side,
    },
}

impl Finding {
    /// Returns whether both are the same finding, perhaps in different studies.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Effusion { side: a, .. }, Self::Effusion { side: b, .. })
            | (Self::Pneumothorax { side: a, .. }, Self::Pneumothorax { side: b, .. })
            | (Self::Pacemaker { side: a, .. }, Self::Pacemaker { side: b, .. })
            | (Self::RaisedDiaphragm { side: a }, Self::RaisedDiaphragm { side: b })
            | (Self::Scoliosis { convex: a }, Self::Scoliosis { convex: b }) => a == b,
            (Self::Consolidation { spot: a, .. }, Self::Consolidation { spot: b, .. })
            | (Self::Nodule { spot: a, .. }, Self::Nodule { spot: b, .. }) => a.shape == b.shape,
            (
                Self::CentralLine { side: a, access: x },
                Self::CentralLine { side: b, access: y },
            ) => a == b && x == y,
            (Self::LungVolumes(a), Self::LungVolumes(b)) => a == b,
            (one, two) => std::mem::discriminant(one) == std::mem::discriminant(two),
        }
    }

    /// Returns the size or severity, which is comparable between studies of the same finding.
    pub fn amount(&self) -> u32 {
        match self {
            Self::Cardiomegaly { severity } => *severity as u32,
            Self::Effusion { extent, .. }
            | Self::Consolidation { extent, .. }
            | Self::Pneumothorax { extent, .. } => *extent as u32,
            Self::Nodule { millimetres, .. } => *millimetres,
            _ => 0,
        }
    }

    /// Returns whether it is a tube, a line, a pacemaker or wires.
    pub fn is_device(&self) -> bool {
        matches!(
            self,
            Self::EndotrachealTube { .. }
                | Self::GastricTube
                | Self::CentralLine { .. }
                | Self::Pacemaker { .. }
                | Self::SternotomyWires
        )
    }
}
