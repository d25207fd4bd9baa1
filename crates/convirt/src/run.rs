//! The folder of a run and its summary.

pub(crate) mod folder;
mod error;
mod data_identity;
mod summary;

pub(crate) use data_identity::{DataChange, DataIdentity};
pub use error::RunError;
pub use folder::RunDir;
pub(crate) use folder::RunLock;
pub use summary::{Ending, Summary};
