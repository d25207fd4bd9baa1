//! The folder of a run and its summary.

mod folder;
mod error;
mod data_identity;
mod run_split;
mod environment;
mod summary;
mod comparison;

pub use comparison::{Comparison, RunFigures};
pub(crate) use data_identity::{DataChange, DataIdentity};
pub use environment::Environment;
pub use error::RunError;
pub use folder::RunDir;
pub(crate) use folder::{RunLock, SUMMARY};
pub use run_split::{RowChoice, RunSplit, Selection};
pub use summary::{Ending, InitialWeightsFile, Summary};
