//! The evaluation between two windows, of which each peer does its share.

use burn::data::dataloader::{DataLoader, Progress};
use burn::train::{EventProcessorTraining, LearnerEvent, TrainingItem};
use convirt_data::{DataError, truncated_list};

use super::epochs::{Parts, WindowedTraining};
use super::held_out::Embeddings;
use crate::error::Error;
use crate::logging::{MeanMeasures, Measures, PendingMeasures};
use crate::records::Recorder;
use crate::retrieval::Retrieval;
use crate::training::command::Command;
use crate::training::evaluated::{EvaluatedBatch, EvaluatedShare, hash_of_parameters};
use crate::training::pretrained::Pretrained;

/// The result of an evaluation.
pub(super) struct Evaluated {
    /// Means over all pairs.
    pub measures: Measures,
    pub retrieval: Option<Retrieval>,
}

impl<N: Pretrained> WindowedTraining<N> {
    /// Evaluates the model at `step` on the held-out data. `None` if a stop is requested
    /// during the evaluation.
    pub fn evaluate(
        &self,
        parts: &mut Parts<N>,
        step: usize,
        recorder: &mut Recorder,
    ) -> Result<Option<Evaluated>, Error> {
        let (window, total) = (self.window_of(step), parts.valid.num_items());
        let interrupter = parts.interrupter.clone();
        let report = |result| interrupter.fail_on_error(result);
        report(parts.processor.process_valid(LearnerEvent::StartSplit {
            epoch_number: window,
            total_items: total,
        }));
        self.tell(Command::Evaluate)?;
        let model = parts.evaluated();
        let device = self.device.clone().inner();
        let (mut mean, mut embeddings) = (MeanMeasures::default(), Embeddings::default());
        let mut add = |mut batch: EvaluatedBatch| {
            if let Some(of_batch) = batch.take_embeddings(&device) {
                embeddings.add(&batch.studies, of_batch);
            }
            mean.add(&batch.measures);
            let progress = Progress::new(mean.pairs(), total, Some("items".into()));
            let measures = PendingMeasures::given(batch.measures, &device);
            let item = TrainingItem::new(measures, progress, Some(step), None);
            report(
                parts
                    .processor
                    .process_valid(LearnerEvent::ProcessedItem(item)),
            );
        };
        for batch in self.held_out_loader.iter() {
            match batch.map(|batch| EvaluatedBatch::compute(&model, batch)) {
                Ok(Ok(batch)) => add(batch),
                Ok(Err(cause)) => return Err(Error::Step { step, cause }),
                Err(error) => interrupter.fail(error),
            }
            if interrupter.should_stop() {
                break;
            }
        }
        // The batches of the others come after those of the leader.
        let of_others = self.peers.gather_values(&EvaluatedShare::default())?;
        let parameters = match of_others.len() {
            1 => 0,
            _ => hash_of_parameters(&parts.learner.model().network),
        };
        let mut differing = Vec::new();
        for (peer, share) in of_others.into_iter().enumerate().skip(1) {
            if share.parameters != parameters {
                differing.push(peer);
            }
            share.batches.into_iter().for_each(&mut add);
            for skip in share.skips {
                self.skips.record(skip.into()).map_err(DataError::from)?;
            }
        }
        report(
            parts
                .processor
                .process_valid(LearnerEvent::EndSplit(window)),
        );
        report(
            parts
                .processor
                .process_train(LearnerEvent::EndEpoch(window)),
        );
        report(parts.processor.flush());
        if !differing.is_empty() {
            recorder.warning(&format!(
                "at step {step} devices {} have other weights than device 0: they round differently; \
                 saved are those of device 0",
                truncated_list(&differing)
            ));
        }
        if parts.interrupter.should_stop() {
            return Ok(None);
        }
        Ok(Some(Evaluated {
            measures: mean.measures(),
            retrieval: self.held_out.retrieval(embeddings),
        }))
    }
}
