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
mod summary;
mod table;
mod views;

pub use images::PreparedImages;
pub use mimic::{MimicConfig, MimicSplit};
pub use omissions::{Omission, Omissions};
pub use openi::OpenIConfig;
pub use summary::Prepared;
