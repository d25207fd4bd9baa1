//! The configuration of a phantom, and the summary of its content.

use serde::{Deserialize, Serialize};

/// The size and seed of a chest phantom.
///
/// # Examples
///
/// ```
/// use convirt_phantom::PhantomConfig;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let folder = folder.path().join("phantom");
/// let config = PhantomConfig { patients: 4, longer_side: 64, ..PhantomConfig::default() };
/// let summary = config.write(&folder, |_, _| ())?;
/// assert!(summary.images >= summary.studies && summary.studies >= 4);
/// assert!(config.is_complete(&folder));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomConfig {
    /// Number of patients, 2–100,000; each has one to four studies, 2.25 on average.
    pub patients: usize,
    /// Longer side of the images, in pixels, 64–1,024.
    pub longer_side: u32,
    /// Seed of all random choices. The same configuration gives the same bytes on every machine.
    pub seed: u64,
}

impl Default for PhantomConfig {
    /// Returns 400 patients, 256 pixels (the paper's image size) and seed 0.
    fn default() -> Self {
        Self {
            patients: 400,
            longer_side: 256,
            seed: 0,
        }
    }
}

/// The content of a phantom's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhantomSummary {
    /// Number of patients.
    pub patients: usize,
    /// Number of studies, each with one report.
    pub studies: usize,
    /// Number of images, which is the number of rows in `pairs.csv`.
    pub images: usize,
    /// Size of all images, reports and `pairs.csv`, in bytes.
    pub bytes: u64,
}
