//! Burn's metrics and its full-screen view, progress bars, and TensorBoard's event files.

mod bar;
#[cfg(feature = "train")]
mod measures;
#[cfg(feature = "train")]
mod metrics;
#[cfg(feature = "train")]
mod progress;
#[cfg(feature = "train")]
mod tensorboard;

use std::time::Duration;

pub use crate::messages::PROGRESS_TARGET;
pub(crate) use bar::Bar;
#[cfg(feature = "train")]
pub(crate) use measures::MeanMeasures;
#[cfg(feature = "train")]
pub use measures::{Measures, NotFinite, PendingMeasures};
#[cfg(feature = "train")]
pub(crate) use metrics::{MeanMetric, NoMetricLogger, PairsPerSecond};
#[cfg(feature = "train")]
pub(crate) use progress::renderer;
#[cfg(feature = "train")]
pub use tensorboard::EventWriter;
#[cfg(feature = "train")]
pub(crate) use tensorboard::{Scalars, read_scalars};

/// Time between two lines of progress.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
