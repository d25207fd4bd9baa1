//! Preparation of MIMIC-CXR and OpenI: a manifest of pairs and resized images.
//!
//! [`MimicConfig`] and [`OpenIConfig`] find images, reports and labels in the published layouts of
//! the data sets. The following steps are the same for both.

mod error;
mod table;
mod omissions;
mod summary;
mod folder;
mod images;
mod labels;
mod pairs;
mod views;
mod mimic;
mod openi;

pub use error::PrepareError;
pub use images::PreparedImages;
pub use mimic::{MimicConfig, MimicSplit};
pub use omissions::{Omission, Omissions};
pub use openi::OpenIConfig;
pub use summary::Prepared;
