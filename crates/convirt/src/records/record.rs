//! The measures of steps and evaluations, and the interface of those who receive them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::retrieval::Retrieval;

/// The measures of one optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: usize,
    /// Contrastive loss of the batch, in nats.
    pub loss: f64,
    /// Accuracies within the batch, 0 to 1: ConVIRT's `image_to_text` and `text_to_image`, SimCLR's
    /// `view_to_view`; see [`Measures`](crate::logging::Measures).
    pub accuracies: BTreeMap<String, f64>,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// L2 norm of the gradient before clipping. `None` at steps between those of
    /// `log_every_n_steps`.
    pub gradient_norm: Option<f64>,
    /// Temperature of the loss after the step.
    pub temperature: f64,
    /// Pairs of the batch divided by the time since the previous step. `None` for the first step
    /// after a start or an evaluation.
    pub pairs_per_second: Option<f64>,
    /// Time that the host waited for the step's batch, in seconds. A GPU may have computed the step
    /// before meanwhile.
    pub waiting_seconds: f64,
    /// What the leader of several devices has sent to the others in the step, in MiB; the others send
    /// as much. `None` if the run has one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanged_mib: Option<f64>,
    /// Resident memory of the process, in MiB. `None` where the system does not tell.
    pub memory_mib: Option<f64>,
    /// Time of training so far, in seconds, over all parts of the run.
    pub seconds: f64,
}

/// The measures of one evaluation on the held-out data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Optimizer steps done before it.
    pub step: usize,
    /// Mean validation loss, in nats.
    pub loss: f64,
    /// Whether the loss is the lowest so far; the model is saved then.
    pub is_best: bool,
    /// Mean accuracies within the batches, as in [`StepRecord`].
    pub accuracies: BTreeMap<String, f64>,
    /// Retrieval among the held-out pairs, of the first 5,000 if there are more; `None` for SimCLR.
    pub retrieval: Option<Retrieval>,
    /// Time of training so far, in seconds, over all parts of the run.
    pub seconds: f64,
}

/// A checkpoint that is whole on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Optimizer steps done.
    pub step: usize,
    /// Size of its files, in bytes.
    pub bytes: u64,
    /// Time that writing it took, in seconds; the training went on meanwhile.
    pub seconds: f64,
}

/// An observer of a training: it is told of every step, evaluation, checkpoint and warning, in the
/// thread of the training.
///
/// # Examples
///
/// ```
/// use convirt::records::{EvaluationRecord, TrainingObserver};
///
/// /// Prints the validation losses.
/// struct Losses;
///
/// impl TrainingObserver for Losses {
///     fn on_evaluation(&mut self, record: &EvaluationRecord) {
///         println!("{}: {:.3} nats", record.step, record.loss);
///     }
/// }
///
/// # fn train(training: convirt::Training) -> Result<(), convirt::Error> {
/// training.with_observer(Losses).run()?;
/// # Ok(())
/// # }
/// ```
pub trait TrainingObserver: Send {
    /// Is called after each optimizer step.
    fn on_step(&mut self, _record: &StepRecord) {}

    /// Is called after each evaluation.
    fn on_evaluation(&mut self, _record: &EvaluationRecord) {}

    /// Is called when a checkpoint is whole, some steps after the one that it holds.
    fn on_checkpoint(&mut self, _record: &CheckpointRecord) {}

    /// Is called with whatever may affect the result: before the first step with each of
    /// [`Training::warnings`](crate::Training::warnings), and later when images turn out to be
    /// unreadable.
    fn on_warning(&mut self, _text: &str) {}
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn step(step: usize) -> StepRecord {
        StepRecord {
            step,
            loss: 3.0 - 0.1 * step as f64,
            accuracies: BTreeMap::from([("image_to_text".to_string(), 0.25)]),
            learning_rate: 1e-4,
            gradient_norm: Some(2.5),
            temperature: 0.1,
            pairs_per_second: (step > 1).then_some(80.0),
            waiting_seconds: 0.01,
            exchanged_mib: None,
            memory_mib: Some(512.0),
            seconds: step as f64,
        }
    }

    pub fn evaluation(step: usize) -> EvaluationRecord {
        let (images, texts) = (
            vec![vec![1.0, 0.0], vec![0.0, 1.0]],
            vec![vec![1.0, 0.0]; 2],
        );
        EvaluationRecord {
            step,
            loss: 2.5,
            is_best: true,
            accuracies: BTreeMap::from([("image_to_text".to_string(), 0.5)]),
            retrieval: Some(Retrieval::evaluate(&images, &texts, &[(0, 0), (1, 1)])),
            seconds: step as f64,
        }
    }
}
