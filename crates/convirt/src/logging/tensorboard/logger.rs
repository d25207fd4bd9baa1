//! A logger of Burn's metrics as TensorBoard scalars.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};

use super::EventWriter;
use crate::logging::metrics::{
    IMAGE_TO_TEXT, LEARNING_RATE, LOSS, PAIRS_PER_SECOND, TEXT_TO_IMAGE, VIEW_TO_VIEW,
};
use crate::messages::warning;

/// A logger that writes training values every few steps and validation means at each evaluation, by
/// optimizer step.
pub(crate) struct TensorBoardLogger {
    writer: EventWriter,
    names: HashMap<MetricId, String>,
    every_n_steps: usize,
    step: usize,
}

impl TensorBoardLogger {
    /// Creates an event file in `folder`. The next training step is `step + 1`.
    pub(crate) fn create(folder: &Path, every_n_steps: usize, step: usize) -> io::Result<Self> {
        let mut writer = EventWriter::create(folder)?;
        if step > 0 {
            writer.resume_after(step as u64)?;
            writer.flush()?;
        }
        Ok(Self {
            writer,
            names: HashMap::new(),
            every_n_steps: every_n_steps.max(1),
            step,
        })
    }

    fn write(&mut self, update: &MetricsUpdate, split: &Split) -> io::Result<()> {
        let is_summary = is_final(update);
        if *split == Split::Train {
            // The summary of a training epoch repeats the values of its steps.
            if is_summary {
                return Ok(());
            }
            self.step += 1;
            if !self.step.is_multiple_of(self.every_n_steps) {
                return Ok(());
            }
        } else if !is_summary {
            return Ok(());
        }
        for metric in &update.entries_numeric {
            let Some(value) = metric.numeric_entry.as_ref().map(NumericEntry::current) else {
                continue;
            };
            let name = self.names.get(&metric.entry.metric_id);
            if let Some(tag) = name.and_then(|name| tag(name, split)) {
                self.writer.scalar(&tag, self.step as u64, value as f32)?;
            }
        }
        self.writer.flush()
    }
}

/// Returns TensorBoard's tag of a metric, such as `train_loss` and `validation_loss`, the names of
/// ConVIRT-Colab; `None` for metrics that are not logged.
fn tag(name: &str, split: &Split) -> Option<String> {
    let prefix = match split {
        Split::Train => "train",
        _ => "validation",
    };
    match name {
        LOSS => Some(format!("{prefix}_loss")),
        IMAGE_TO_TEXT => Some(format!("{prefix}_image_to_text_accuracy")),
        TEXT_TO_IMAGE => Some(format!("{prefix}_text_to_image_accuracy")),
        VIEW_TO_VIEW => Some(format!("{prefix}_contrastive_accuracy")),
        LEARNING_RATE if *split == Split::Train => Some("learning_rate".to_string()),
        PAIRS_PER_SECOND if *split == Split::Train => Some("pairs_per_second".to_string()),
        _ => None,
    }
}

/// Returns whether an update contains the summary of an epoch.
fn is_final(update: &MetricsUpdate) -> bool {
    let final_entry = |entry: &Option<NumericEntry>| matches!(entry, Some(NumericEntry::Final(_)));
    update
        .entries_numeric
        .iter()
        .any(|metric| final_entry(&metric.numeric_entry))
}

impl MetricLogger for TensorBoardLogger {
    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        if let Err(error) = self.write(&update, split) {
            warning(format_args!(
                "TensorBoard events cannot be written: {error}"
            ));
        }
    }

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names
            .insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
