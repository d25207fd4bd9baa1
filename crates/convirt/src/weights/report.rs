//! Reports of a load: the status of every tensor.

use std::fmt;
use std::path::PathBuf;

use super::ElementType;

/// The status of every tensor after a load, or the reasons why the load was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// The network to load: `image encoder`, `text encoder`, `model`, `image encoder and
    /// projection`, or `classifier head`.
    pub part: &'static str,
    /// All tensors of the file and all tensors that it lacks, sorted by name.
    pub tensors: Vec<TensorReport>,
}

/// The name and status of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorReport {
    /// The name in the file, or the name that was expected there.
    pub name: String,
    /// The status.
    pub status: LoadStatus,
}

/// The status of a tensor of a file, or of a tensor that the file lacks.
///
/// Shapes are in the file's order of dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadStatus {
    /// The tensor is loaded.
    Loaded {
        /// The path of the parameter in our module, with PyTorch's name for the last part.
        parameter: String,
        /// The shape in the file.
        shape: Vec<usize>,
        /// The element type in the file; the network uses 32 bits.
        element_type: ElementType,
    },
    /// The tensor belongs to something else, for example another encoder, a classifier or an
    /// optimizer.
    Ignored,
    /// The tensor has no place in the network, which suggests that the file is of another network.
    Unexpected {
        /// Whether the caller allows this.
        allowed: bool,
    },
    /// The tensor is not in the file.
    Missing {
        /// The shape that the network needs.
        shape: Vec<usize>,
        /// Whether the caller allows this. The parameter then keeps its initial value.
        allowed: bool,
    },
    /// The tensor's shape differs from the network's, or its elements are not real numbers.
    Mismatched {
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// The element type in the file.
        element_type: ElementType,
        /// Whether the caller allows this. The parameter then keeps its initial value.
        allowed: bool,
    },
}

/// The number of tensors with each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// Loaded tensors.
    pub loaded: usize,
    /// Tensors of the file that belong to something else.
    pub ignored: usize,
    /// Tensors of the file that have no place in the network, including allowed ones.
    pub unexpected: usize,
    /// Tensors that the file lacks, including allowed ones.
    pub missing: usize,
    /// Tensors with another shape or type, including allowed ones.
    pub mismatched: usize,
}

impl LoadStatus {
    /// Returns whether this status prevents the load.
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
    /// Counts the tensors with each status.
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

    /// Returns whether no tensor prevents the load.
    pub fn fits(&self) -> bool {
        !self.tensors.iter().any(|tensor| tensor.status.is_error())
    }
}

/// Writes one line: the file, the counts, and the first tensors that prevent the load.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Maximum number of tensors in the line.
        const MAX_NAMED: usize = 4;
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
        for (index, tensor) in errors.by_ref().take(MAX_NAMED).enumerate() {
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
