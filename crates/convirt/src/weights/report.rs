//! What became of every tensor of a file.

use std::fmt;
use std::path::PathBuf;

use super::ElementType;

/// What a load did, tensor by tensor, or why it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// What was to be loaded: `image encoder`, `text encoder`, `model`, or `image encoder and
    /// projection`.
    pub part: &'static str,
    /// Every tensor of the file, and every one that should be in it; by name.
    pub tensors: Vec<TensorReport>,
}

/// What became of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorReport {
    /// Its name in the file, or the one it should have there.
    pub name: String,
    /// What became of it.
    pub status: LoadStatus,
}

/// What becomes of a tensor of a file, or of one that should be in it. Shapes are the file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadStatus {
    /// It is loaded.
    Loaded {
        /// Where to: path in our module, with PyTorch's name of the layer's parameter.
        parameter: String,
        /// Shape in the file.
        shape: Vec<usize>,
        /// Type in the file; in the network it is 32-bit.
        element_type: ElementType,
    },
    /// It belongs to something else, such as another encoder, a classifier or an optimizer.
    Ignored,
    /// It has no place in the network, which may thus be another one than the file's.
    Unexpected {
        /// Whether this is allowed.
        allowed: bool,
    },
    /// It is not in the file.
    Missing {
        /// Shape that the network needs.
        shape: Vec<usize>,
        /// Whether this is allowed; the parameter keeps its initial value.
        allowed: bool,
    },
    /// It has another shape than the network, or holds no real numbers.
    Mismatched {
        /// Shape that the network needs.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
        /// Type in the file.
        element_type: ElementType,
        /// Whether this is allowed; the parameter keeps its initial value.
        allowed: bool,
    },
}

/// A count of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// Tensors loaded.
    pub loaded: usize,
    /// Tensors of the file that belong to something else.
    pub ignored: usize,
    /// Tensors of the file that have no place, allowed ones included.
    pub unexpected: usize,
    /// Tensors that the file lacks, allowed ones included.
    pub missing: usize,
    /// Tensors of another shape or type, allowed ones included.
    pub mismatched: usize,
}

impl LoadStatus {
    /// Whether it stands against a load.
    pub fn is_error(&self) -> bool {
        match self {
            Self::Loaded { .. } | Self::Ignored => false,
            Self::Unexpected { allowed }
            | Self::Missing { allowed, .. }
            | Self::Mismatched { allowed, .. } => !allowed,
        }
    }
}

impl LoadReport {
    /// Counts the statuses.
    pub fn counts(&self) -> LoadCounts {
        let mut counts = LoadCounts::default();
        for tensor in &self.tensors {
            *match tensor.status {
                LoadStatus::Loaded { .. } => &mut counts.loaded,
                LoadStatus::Ignored => &mut counts.ignored,
                LoadStatus::Unexpected { .. } => &mut counts.unexpected,
                LoadStatus::Missing { .. } => &mut counts.missing,
                LoadStatus::Mismatched { .. } => &mut counts.mismatched,
            } += 1;
        }
        counts
    }

    /// Whether nothing stands against the load.
    pub fn fits(&self) -> bool {
        !self.tensors.iter().any(|tensor| tensor.status.is_error())
    }
}

/// A line: the file, counts, and the first tensors that stand against the load.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Tensors that are named.
        const NAMED: usize = 4;
        let counts = self.counts();
        write!(
            f,
            "{}: {}: {} tensors loaded",
            self.path.display(),
            self.part,
            counts.loaded
        )?;
        for (count, status) in [
            (counts.ignored, "ignored"),
            (counts.missing, "missing"),
            (counts.mismatched, "of another shape or type"),
            (counts.unexpected, "with no place in it"),
        ] {
            if count > 0 {
                write!(f, ", {count} {status}")?;
            }
        }
        let mut errors = self
            .tensors
            .iter()
            .filter(|tensor| tensor.status.is_error());
        for (index, tensor) in errors.by_ref().take(NAMED).enumerate() {
            let start = if index == 0 { ": " } else { "; " };
            write!(f, "{start}{}", tensor.name)?;
            match &tensor.status {
                LoadStatus::Missing { .. } => write!(f, " is missing")?,
                LoadStatus::Mismatched {
                    expected,
                    found,
                    element_type,
                    ..
                } => write!(f, " is {element_type} {found:?} instead of {expected:?}")?,
                _ => write!(f, " has no place")?,
            }
        }
        match errors.count() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
