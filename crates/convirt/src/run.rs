//! The folder of a run and its summary.

mod folder;
mod error;
mod lock;
mod run_split;
mod environment;
mod summary;
mod identity;
mod room;
mod comparison;

pub use comparison::{Comparison, RunFigures};
pub use environment::Environment;
pub use error::RunError;
pub use folder::RunDir;
pub(crate) use folder::{SUMMARY, numbers_of_files, remove_leftovers};
pub(crate) use identity::RunIdentity;
pub(crate) use lock::RunLock;
pub(crate) use room::check_room;
pub use run_split::{RowChoice, RunSplit, Selection};
pub use summary::{Ending, InitialWeightsFile, Summary};
