//! From a hospital's files to a manifest of pairs.
//!
//! [`MimicConfig`] and [`OpenIConfig`] find images, reports and labels in the layouts that
//! MIMIC-CXR and OpenI are distributed in; what follows is the same for both.

mod folder;
mod images;
mod labels;
mod mimic;
mod omissions;
mod openi;
mod openi_files;
mod openi_report;
mod pairs;
mod report_archive;
mod report_files;
mod steps;
mod summary;
mod table;
mod views;

pub use images::PreparedImages;
pub use mimic::{MimicConfig, MimicSplit};
pub use omissions::{Omission, Omissions};
pub use openi::OpenIConfig;
pub use summary::Prepared;

/// How far a preparation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How many are done.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// What a preparation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading reports.
    Reports,
    /// Reading views from the headers of images.
    Views,
    /// Decoding, shrinking and writing images.
    Images,
}

impl Stage {
    /// Name of what is counted, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reports => "reports",
            Self::Views => "views",
            Self::Images => "images",
        }
    }
}
