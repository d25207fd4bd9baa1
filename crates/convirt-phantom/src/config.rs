//! Which phantom, and what it holds.

use serde::{Deserialize, Serialize};

/// Size and seed of a chest phantom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomConfig {
    /// Number of patients, 2–100,000; each has one to four studies, 2.25 on average.
    pub patients: usize,
    /// Longer side of the images in pixels, 64–1,024.
    pub longer_side: u32,
    /// Seed of everything drawn. The same configuration gives the same bytes on every machine.
    pub seed: u64,
}

impl Default for PhantomConfig {
    /// 400 patients, 256 pixels (the paper's image size), seed 0.
    fn default() -> Self {
        Self {
            patients: 400,
            longer_side: 256,
            seed: 0,
        }
    }
}

/// What a phantom's folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhantomSummary {
    /// Number of patients.
    pub patients: usize,
    /// Number of studies, each with one report.
    pub studies: usize,
    /// Number of images, which is the number of rows in `pairs.csv`.
    pub images: usize,
    /// Bytes in images, reports and `pairs.csv`.
    pub bytes: u64,
}
