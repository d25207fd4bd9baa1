//! What a study shows besides anatomy.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::side::Side;

/// How much larger than normal the heart is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Mild,
    Severe,
}

/// How much of its place a finding takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    Small,
    Moderate,
    Large,
}

impl Extent {
    /// Small more often than moderate or large.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..10) {
            0..4 => Self::Small,
            4..7 => Self::Moderate,
            _ => Self::Large,
        }
    }

    /// Whether so much fluid covers an opacity in `zone`.
    pub fn covers(self, zone: Zone) -> bool {
        match self {
            Self::Small => false,
            Self::Moderate => zone == Zone::Lower,
            Self::Large => zone != Zone::Upper,
        }
    }

    /// One step less, none below small.
    pub fn less(self) -> Option<Self> {
        match self {
            Self::Small => None,
            Self::Moderate => Some(Self::Small),
            Self::Large => Some(Self::Moderate),
        }
    }

    /// One step more, large at most.
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

/// A spot in a lung, and the seed of the shape that grows there.
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
    /// A spot anywhere in either lung.
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

    /// Whether both lie in the same zone of the same lung.
    pub fn shares_zone(&self, other: &Self) -> bool {
        (self.side, self.zone) == (other.side, other.zone)
    }
}

/// How a central line enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Jugular,
    Arm,
}

/// How deep the breath was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    Low,
    High,
}

/// One thing that the image shows and the report names.
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
    /// The tube's tip lies so many mm above the carina.
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
    /// Whether both are the same thing, perhaps at different times.
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

    /// How much of it there is, comparable between studies of the same finding.
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

    /// Whether it is a tube, a line, a pacemaker or wires.
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
