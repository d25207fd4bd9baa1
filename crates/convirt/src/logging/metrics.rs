//! The metrics that a run shows and logs.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::TensorReadError;
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{
    Metric, MetricAttributes, MetricDefinition, MetricMetadata, MetricName, Numeric,
    NumericAttributes, NumericEntry, SerializedEntry,
    state::{FormatOptions, NumericMetricState},
};

use super::measures::Measures;

/// Name of the loss in logs. Its validation mean decides which model is the best.
const LOSS: &str = "Loss";
/// Name of the in-batch accuracy from images to texts.
pub(crate) const IMAGE_TO_TEXT: &str = "Image-to-text accuracy";
/// Name of the in-batch accuracy from texts to images.
pub(crate) const TEXT_TO_IMAGE: &str = "Text-to-image accuracy";
/// Name of the in-batch accuracy from a view to the other view of its image.
pub(crate) const VIEW_TO_VIEW: &str = "Contrastive accuracy";
/// Name of the throughput.
pub(crate) const PAIRS_PER_SECOND: &str = "Pairs per second";

/// The mean over all pairs of one value of [`Measures`].
#[derive(Clone)]
pub(crate) struct MeanMetric {
    name: MetricName,
    higher_is_better: bool,
    value: fn(&Measures) -> f64,
    state: NumericMetricState,
}

impl MeanMetric {
    /// Returns the metric of the contrastive loss, in nats.
    pub(crate) fn loss() -> Self {
        Self::new(LOSS, false, |measures| measures.loss)
    }

    /// Returns the metric of ConVIRT's accuracy from images to texts, 0 to 1.
    pub(crate) fn image_to_text() -> Self {
        Self::new(IMAGE_TO_TEXT, true, |measures| measures.accuracies[0])
    }

    /// Returns the metric of ConVIRT's accuracy from texts to images, 0 to 1.
    pub(crate) fn text_to_image() -> Self {
        Self::new(TEXT_TO_IMAGE, true, |measures| measures.accuracies[1])
    }

    /// Returns the metric of SimCLR's accuracy from views to views, 0 to 1.
    pub(crate) fn view_to_view() -> Self {
        Self::new(VIEW_TO_VIEW, true, |measures| measures.accuracies[0])
    }

    fn new(name: &str, higher_is_better: bool, value: fn(&Measures) -> f64) -> Self {
        Self {
            name: Arc::new(name.to_string()),
            higher_is_better,
            value,
            state: NumericMetricState::new(),
        }
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name()).precision(3)
    }
}

impl Metric for MeanMetric {
    type Input = Measures;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: self.higher_is_better,
        }
        .into()
    }

    fn update(
        &mut self,
        measures: &Measures,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.state.update((self.value)(measures), measures.pairs);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for MeanMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// The throughput of training: the pairs of a step, divided by the wall-clock time since the
/// previous step.
#[derive(Clone)]
pub(crate) struct PairsPerSecond {
    name: MetricName,
    previous_step: Option<Instant>,
    /// Whether there were two steps, so that there is a value.
    measured: bool,
    state: NumericMetricState,
}

impl PairsPerSecond {
    pub(crate) fn new() -> Self {
        Self {
            name: Arc::new(PAIRS_PER_SECOND.to_string()),
            previous_step: None,
            measured: false,
            state: NumericMetricState::new(),
        }
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name()).unit("pairs/s").precision(1)
    }
}

impl Metric for PairsPerSecond {
    type Input = Measures;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: Some("pairs/s".to_string()),
            higher_is_better: true,
        }
        .into()
    }

    fn update(
        &mut self,
        measures: &Measures,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let now = Instant::now();
        let Some(previous) = self.previous_step.replace(now) else {
            return Ok(SerializedEntry::not_available(Some("pairs/s")));
        };
        self.measured = true;
        let seconds = (now - previous).as_secs_f64().max(1e-9);
        self.state
            .update(measures.pairs as f64 / seconds, measures.pairs);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.previous_step = None;
        self.measured = false;
        self.state.reset();
    }
}

impl Numeric for PairsPerSecond {
    fn value(&self) -> Option<NumericEntry> {
        self.measured.then(|| self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.measured.then(|| self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// A logger that writes nothing, since [`records`](crate::records) has all measures. Without one,
/// burn-train writes files of its own.
pub(crate) struct NoMetricLogger;

impl MetricLogger for NoMetricLogger {
    fn log(&mut self, _update: MetricsUpdate, _epoch: usize, _split: &Split) {}

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _definition: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
