//! What a training tells while it runs: on the terminal and to TensorBoard.

mod measures;
mod metrics;
mod progress;
mod tensorboard;

pub use crate::messages::PROGRESS_TARGET;
pub use measures::{Measures, PendingMeasures};
pub(crate) use metrics::{LOSS, MeanMetric, PairsPerSecond};
pub(crate) use progress::{Bar, renderer};
pub use tensorboard::EventWriter;
pub(crate) use tensorboard::{Scalars, TensorBoardLogger, read_scalars};
