//! The training loop, in windows of steps between evaluations.
//!
//! burn-train's own loop evaluates after each epoch and loses an interrupted epoch. This strategy
//! for its `SupervisedTraining` treats the steps between two evaluations as an epoch, saves a
//! checkpoint wherever it stops, and resumes with the next batch.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use burn::train::{
    EventProcessorTraining, Interrupter, ItemLazy, Learner, LearnerEvent, LearnerModel,
    LearningCheckpointer, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};
use convirt_data::{LoaderPosition, Skip, Skips, TrainingSteps};

use crate::error::Error;
use crate::logging::{LOSS, MeanMeasures, Measures, PendingMeasures};
use crate::records::{Recorder, StepFacts};
use crate::retrieval::Retrieval;
use crate::training::checkpoint::TrainingState;
use crate::training::fit::held_out::{Embeddings, HeldOutPairs};
use crate::training::pretrained::Pretrained;
use crate::training::schedule::ScheduledLearningRate;
use crate::training::task::{PretrainingTask, global_norm};

/// Rows named in a warning about those that were left out.
const SKIPS_NAMED: usize = 5;

/// A function that saves the model, called after each new lowest validation loss.
pub(crate) type SaveBest<N> = Box<dyn Fn(&N) -> Result<(), Error> + Send + Sync>;

/// A training strategy for burn-train on one device.
pub(crate) struct WindowedTraining<N> {
    pub device: Device,
    pub seed: u64,
    pub steps: TrainingSteps,
    /// Evaluations without a lower loss after which training stops.
    pub early_stop_patience: Option<usize>,
    pub position: LoaderPosition,
    pub learning_rate: ScheduledLearningRate,
    pub checkpoints: std::path::PathBuf,
    pub save_best: SaveBest<N>,
    /// The rows that cannot be used; the loaders add to it.
    pub skips: Arc<Skips>,
    pub held_out: HeldOutPairs,
    /// Steps between those whose gradient norm is computed.
    pub gradient_norm_every: usize,
    pub recorder: Mutex<Recorder>,
    pub outcome: Mutex<Outcome>,
}

/// The result of the loop, and an error that is not burn-train's.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub state: TrainingState,
    pub stopped_early: bool,
    pub error: Option<Error>,
}

/// The result of an evaluation.
struct Evaluated {
    /// Means over all pairs.
    measures: Measures,
    retrieval: Option<Retrieval>,
}

/// The parts of burn-train that the loop uses.
struct Parts<T: LearnerModel> {
    learner: Learner<T>,
    train: TrainLoader<T>,
    valid: ValidLoader<T>,
    processor: SupervisedTrainingEventProcessor<T>,
    interrupter: Interrupter,
    checkpointer: Option<LearningCheckpointer<T>>,
    store: Arc<EventStoreClient>,
}

impl<N: Pretrained> SupervisedLearningStrategy<PretrainingTask<N>> for WindowedTraining<N> {
    fn fit(
        &self,
        components: TrainingComponents<PretrainingTask<N>>,
        mut learner: Learner<PretrainingTask<N>>,
        train: TrainLoader<PretrainingTask<N>>,
        valid: ValidLoader<PretrainingTask<N>>,
        _starting_epoch: usize,
    ) -> (
        PretrainingTask<N>,
        SupervisedTrainingEventProcessor<PretrainingTask<N>>,
    ) {
        learner.fork(&self.device);
        let mut parts = Parts {
            learner,
            train: train.to_device(&self.device),
            valid: valid.to_device(&self.device.clone().inner()),
            processor: components.event_processor,
            interrupter: components.interrupter,
            checkpointer: components.checkpointer,
            store: components.event_store,
        };
        let mut outcome = self.outcome.lock().expect("one thread runs the loop");
        let mut recorder = self.recorder.lock().expect("one thread runs the loop");
        if let Err(error) = self.run(&mut parts, &mut outcome, &mut recorder) {
            parts.interrupter.stop(Some(&error.to_string()));
            outcome.error = Some(error);
        }
        (parts.learner.model(), parts.processor)
    }
}

impl<N: Pretrained> WindowedTraining<N> {
    /// Returns the number of windows.
    pub fn window_count(&self) -> usize {
        self.steps.total.div_ceil(self.steps.window)
    }

    /// Returns the number of the window, from 1, that contains the `step`-th step.
    fn window_of(&self, step: usize) -> usize {
        step.div_ceil(self.steps.window).max(1)
    }

    /// Returns whether a window ends after `step` steps.
    fn is_boundary(&self, step: usize) -> bool {
        let TrainingSteps { window, total } = self.steps;
        step > 0 && (step.is_multiple_of(window) || step >= total)
    }

    /// Trains and evaluates until the last step, an early stop or an interruption.
    fn run(
        &self,
        parts: &mut Parts<PretrainingTask<N>>,
        outcome: &mut Outcome,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        let mut known = self.skipped_rows();
        loop {
            let state = &mut outcome.state;
            let is_evaluated = state.evaluations.last_step == Some(state.step);
            if self.is_boundary(state.step) && !is_evaluated {
                let Some(evaluated) = self.evaluate(parts, state.step) else {
                    return self.checkpoint(parts, state, recorder);
                };
                let Evaluated {
                    measures,
                    retrieval,
                } = evaluated;
                self.learning_rate.observe(measures.loss);
                let is_best = state.evaluations.observe(state.step, measures.loss);
                if is_best {
                    (self.save_best)(&parts.learner.model().network)?;
                }
                recorder.evaluation(state.step, &measures, retrieval, is_best);
                self.warn_of_new_skips(&mut known, recorder);
                self.checkpoint(parts, state, recorder)?;
            }
            let patience = self.early_stop_patience.unwrap_or(usize::MAX);
            outcome.stopped_early = state.evaluations.since_best >= patience;
            if state.step >= self.steps.total || outcome.stopped_early {
                return Ok(());
            }
            let first_step = state.step;
            self.train_window(parts, state, recorder);
            if parts.interrupter.should_stop() {
                self.warn_of_new_skips(&mut known, recorder);
                return self.checkpoint(parts, state, recorder);
            }
            if state.step == first_step {
                // The loader gave no batch and no error, and would do so again.
                return Err(Error::NoBatches { step: state.step });
            }
        }
    }

    fn skipped_rows(&self) -> BTreeSet<usize> {
        self.skips.list().iter().map(|skip| skip.row).collect()
    }

    /// Warns of the rows that were left out after those in `known`, and adds them to it.
    fn warn_of_new_skips(&self, known: &mut BTreeSet<usize>, recorder: &mut Recorder) {
        let skips = self.skips.list();
        let (_, new): (Vec<&Skip>, Vec<&Skip>) =
            skips.iter().partition(|skip| known.contains(&skip.row));
        if new.is_empty() {
            return;
        }
        known.extend(new.iter().map(|skip| skip.row));
        let examples: Vec<String> = new
            .iter()
            .take(SKIPS_NAMED)
            .map(|it| it.to_string())
            .collect();
        recorder.warning(&format!(
            "rows left out since the last evaluation: {}; in all {} of {}: {}{}",
            new.len(),
            skips.len(),
            self.skips.rows(),
            examples.join("; "),
            if new.len() > examples.len() {
                "; …"
            } else {
                ""
            }
        ));
    }

    /// Trains to the end of the window, or to the end of the current step if a stop is requested.
    fn train_window(
        &self,
        parts: &mut Parts<PretrainingTask<N>>,
        state: &mut TrainingState,
        recorder: &mut Recorder,
    ) {
        let window = self.window_of(state.step + 1);
        let report = |result| parts.interrupter.fail_on_error(result);
        report(parts.processor.process_train(LearnerEvent::StartSplit {
            epoch_number: window,
            total_items: parts.train.num_items(),
        }));
        let mut batches = parts.train.iter();
        loop {
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            let waiting = asked.elapsed();
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    parts.interrupter.fail(error);
                    break;
                }
            };
            // Dropout draws from the device's generator, which gets a new seed for each step: a
            // resumed run draws the same numbers as an uninterrupted one.
            self.device.seed(mix(self.seed, state.step as u64));
            let output = parts.learner.train_step(batch);
            parts.learner.lr_step();
            let has_norm = (state.step + 1).is_multiple_of(self.gradient_norm_every);
            let norm = has_norm.then(|| global_norm(&output.grads, &parts.learner.model()));
            parts.learner.optimizer_step(output.grads);
            state.step = self.position.get();
            let measures = synced(output.item);
            if let Some(read) = measures.measures() {
                let facts = StepFacts {
                    step: state.step,
                    learning_rate: parts.learner.lr_current().base(),
                    gradient_norm: norm.flatten().map(Tensor::into_scalar::<f64>),
                    temperature: parts.learner.model().network.temperature(),
                    waiting,
                };
                recorder.step(read, facts);
            }
            let item = TrainingItem::new(
                measures,
                batches.progress(),
                Some(state.step),
                Some(parts.learner.lr_current()),
            );
            report(
                parts
                    .processor
                    .process_train(LearnerEvent::ProcessedItem(item)),
            );
            if parts.interrupter.should_stop() {
                break;
            }
        }
        drop(batches);
        // The loader may have skipped steps that have no batch.
        state.step = self.position.get();
        report(
            parts
                .processor
                .process_train(LearnerEvent::EndSplit(window)),
        );
        report(parts.processor.flush());
    }

    /// Evaluates the model at `step` on the held-out data. `None` if a stop is requested
    /// during the evaluation.
    fn evaluate(&self, parts: &mut Parts<PretrainingTask<N>>, step: usize) -> Option<Evaluated> {
        let window = self.window_of(step);
        let report = |result| parts.interrupter.fail_on_error(result);
        report(parts.processor.process_valid(LearnerEvent::StartSplit {
            epoch_number: window,
            total_items: parts.valid.num_items(),
        }));
        let model = burn::module::Module::valid(&parts.learner.model());
        let mut mean = MeanMeasures::default();
        let mut embeddings = Embeddings::default();
        let mut batches = parts.valid.iter();
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    parts.interrupter.fail(error);
                    break;
                }
            };
            let studies = batch.indices.clone();
            let mut measures = burn::train::InferenceStep::step(&model, batch);
            if let Some(of_batch) = measures.take_embeddings() {
                embeddings.add(&studies, of_batch);
            }
            let measures = synced(measures);
            if let Some(read) = measures.measures() {
                mean.add(read);
            }
            let item = TrainingItem::new(measures, batches.progress(), Some(step), None);
            report(
                parts
                    .processor
                    .process_valid(LearnerEvent::ProcessedItem(item)),
            );
            if parts.interrupter.should_stop() {
                return None;
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
        if parts.interrupter.should_stop() {
            return None;
        }
        let loss = parts
            .store
            .find_metric(LOSS, window, Aggregate::Mean, &Split::Valid)?;
        Some(Evaluated {
            measures: Measures {
                loss,
                ..mean.measures()
            },
            retrieval: self.held_out.retrieval(embeddings),
        })
    }

    /// Saves a checkpoint, except after an error of burn-train: the parameters may be damaged then.
    fn checkpoint(
        &self,
        parts: &mut Parts<PretrainingTask<N>>,
        state: &mut TrainingState,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        if parts.interrupter.error().is_some() {
            return Ok(());
        }
        state.seconds = recorder.seconds();
        state.save(&self.checkpoints)?;
        if let Some(checkpointer) = &mut parts.checkpointer {
            checkpointer.checkpoint(&parts.learner, state.step, &parts.store);
        }
        recorder.checkpoint(state.step);
        Ok(())
    }
}

/// Reads measures from the device. Those that cannot be read, or are not finite, are left as they
/// are: burn-train meets the same error and stops.
fn synced(measures: PendingMeasures) -> PendingMeasures {
    measures.clone().sync().unwrap_or(measures)
}

/// Mixes two numbers into a seed by splitmix64's finalizer, so that the seeds of neighbouring steps
/// are unrelated.
fn mix(seed: u64, step: u64) -> u64 {
    let mut z = seed
        .wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
