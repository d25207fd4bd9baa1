//! The training loop, in windows of steps between evaluations.
//!
//! burn-train's own loop evaluates after each epoch and loses an interrupted epoch. This strategy
//! for its `SupervisedTraining` treats the steps between two evaluations as an epoch, saves
//! checkpoints in the middle of it and wherever it stops, and resumes with the next batch.

use std::sync::{Arc, Mutex};

use burn::data::dataloader::DataLoader;
use burn::data::dataset::DatasetError;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn::train::metric::store::EventStoreClient;
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerEvent, LearningCheckpointer,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainOutput,
    TrainStep, TrainingComponents, TrainingItem, ValidLoader,
};
use convirt_data::{
    BatchShare, EvaluationLoader, Skips, TrainingLoader, TrainingSteps, truncated_list,
};
use convirt_ops::{Precision, is_flex, mixed_seed, with_dropout_seed};

use crate::error::Error;
use crate::logging::{NotFinite, PendingMeasures};
use crate::peers::Peers;
use crate::records::{Recorder, StepFacts};
use crate::training::average::{Average, evaluated};
use crate::training::checkpoint::{
    CheckpointIntervals, CheckpointWriter, LastCheckpoint, NotFiniteStep, TrainingState,
};
use crate::training::command::Command;
use crate::training::division::Division;
use crate::training::fit::compiling::CompilingNote;
use crate::training::fit::evaluation::Evaluated;
use crate::training::fit::held_out::HeldOutPairs;
use crate::training::fit::left_out::LeftOut;
use crate::training::fit::update::Update;
use crate::training::fit::window_shares::{FetchedShare, WindowShares};
use crate::training::gradient_cache::PartedStep;
use crate::training::pretrained::Pretrained;
use crate::training::schedule::ScheduledLearningRate;
use crate::training::task::{PretrainingTask, global_norm};

/// A function that saves the model, called after each new lowest validation loss.
pub(crate) type SaveBest<N> = Box<dyn Fn(&N) -> Result<(), Error> + Send + Sync>;

/// A training strategy for burn-train, of the leader of all peers.
pub(crate) struct WindowedTraining<N> {
    pub device: Device,
    pub seed: u64,
    pub steps: TrainingSteps,
    /// Evaluations without a lower loss after which training stops.
    pub early_stop_patience: Option<usize>,
    /// This peer's share of the training pairs.
    pub loader: TrainingLoader,
    /// This peer's share of the held-out pairs.
    pub held_out_loader: EvaluationLoader,
    /// How a step's batch is divided.
    pub division: Division,
    pub peers: Peers,
    /// The averages of the weights, if the run has them; the loop takes them and gives them back.
    pub average: Mutex<Option<Average<N>>>,
    pub precision: Precision,
    pub learning_rate: ScheduledLearningRate,
    pub checkpoints: Arc<CheckpointWriter>,
    pub checkpoint_intervals: CheckpointIntervals,
    /// Steps in a row that are skipped if they are not finite.
    pub max_skipped_steps: usize,
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

/// The parts of burn-train that the loop uses.
pub(super) struct Parts<N: Pretrained> {
    pub learner: Learner<PretrainingTask<N>>,
    pub average: Option<Average<N>>,
    pub valid: ValidLoader<PretrainingTask<N>>,
    pub processor: SupervisedTrainingEventProcessor<PretrainingTask<N>>,
    pub interrupter: Interrupter,
    pub checkpointer: Option<LearningCheckpointer<PretrainingTask<N>>>,
    pub store: Arc<EventStoreClient>,
    pub last_checkpoint: LastCheckpoint,
    /// Whether this process has made no step yet.
    pub is_first_step: bool,
}

impl<N: Pretrained> Parts<N> {
    /// Returns the task that is evaluated and saved.
    pub fn evaluated(&self) -> PretrainingTask<N> {
        evaluated(&self.learner.model(), self.average.as_ref())
    }

    /// Counts all steps up to the `step`-th as done, those without a batch among them.
    fn advance(&mut self, state: &mut TrainingState, step: usize) {
        for _ in state.step..step {
            self.learner.lr_step();
        }
        state.step = step;
    }
}

impl<N: Pretrained> SupervisedLearningStrategy<PretrainingTask<N>> for WindowedTraining<N> {
    fn fit(
        &self,
        components: TrainingComponents<PretrainingTask<N>>,
        mut learner: Learner<PretrainingTask<N>>,
        _train: TrainLoader<PretrainingTask<N>>,
        valid: ValidLoader<PretrainingTask<N>>,
        _starting_epoch: usize,
    ) -> (
        PretrainingTask<N>,
        SupervisedTrainingEventProcessor<PretrainingTask<N>>,
    ) {
        learner.fork(&self.device);
        let mut outcome = self.outcome.lock().expect("one thread runs the loop");
        let mut parts = Parts {
            learner,
            average: self
                .average
                .lock()
                .expect("one thread runs the loop")
                .take(),
            valid,
            processor: components.event_processor,
            interrupter: components.interrupter,
            checkpointer: components.checkpointer,
            store: components.event_store,
            last_checkpoint: LastCheckpoint::now(outcome.state.step),
            is_first_step: true,
        };
        let mut recorder = self.recorder.lock().expect("one thread runs the loop");
        let result = self.run(&mut parts, &mut outcome, &mut recorder);
        let result = result.and_then(|()| self.tell(Command::End));
        match &result {
            Ok(()) => self.peers.end(),
            Err(error) => self.peers.leave(&error.to_string()),
        }
        if let Err(error) = result {
            parts.interrupter.stop(Some(&error.to_string()));
            outcome.error = Some(error);
        }
        *self.average.lock().expect("one thread runs the loop") = parts.average;
        (parts.learner.model(), parts.processor)
    }
}

impl<N: Pretrained> WindowedTraining<N> {
    /// Returns the number of windows.
    pub fn window_count(&self) -> usize {
        self.steps.total.div_ceil(self.steps.window)
    }

    /// Returns the number of the window, from 1, that contains the `step`-th step.
    pub fn window_of(&self, step: usize) -> usize {
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
        parts: &mut Parts<N>,
        outcome: &mut Outcome,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        let mut left_out = LeftOut::new(Arc::clone(&self.skips));
        if outcome.state.step == 0 {
            // Whatever happens from now on, the run can be resumed.
            self.checkpoint(parts, &mut outcome.state, recorder);
        }
        if self.peers.size() > 1 {
            self.checkpoints.wait();
            self.peers.lead(Some(outcome.state.step))?;
        }
        loop {
            let state = &mut outcome.state;
            if self.is_boundary(state.step) && !state.is_evaluated() {
                let Some(evaluated) = self.evaluate(parts, state.step, recorder)? else {
                    self.checkpoint(parts, state, recorder);
                    return Ok(());
                };
                let Evaluated {
                    measures,
                    retrieval,
                } = evaluated;
                if measures.pairs == 0 {
                    return Err(Error::NoBatches { step: state.step });
                }
                self.learning_rate.observe(measures.loss);
                let is_best = state.evaluations.observe(state.step, measures.loss);
                if is_best {
                    (self.save_best)(&parts.evaluated().network)?;
                }
                recorder.evaluation(state.step, &measures, retrieval, is_best);
                left_out.tell_of_new(recorder);
                self.checkpoint(parts, state, recorder);
            }
            let patience = self.early_stop_patience.unwrap_or(usize::MAX);
            outcome.stopped_early = state.evaluations.since_best >= patience;
            if state.step >= self.steps.total || outcome.stopped_early {
                return Ok(());
            }
            let first_step = state.step;
            self.train_window(parts, state, recorder)?;
            if parts.interrupter.should_stop() {
                left_out.tell_of_new(recorder);
                self.checkpoint(parts, state, recorder);
                return Ok(());
            }
            if state.step == first_step {
                // The loader gave no batch and no error, and would do so again.
                return Err(Error::NoBatches { step: state.step });
            }
        }
    }

    /// Trains to the end of the window, or to the end of the current step if a stop is requested.
    fn train_window(
        &self,
        parts: &mut Parts<N>,
        state: &mut TrainingState,
        recorder: &mut Recorder,
    ) -> Result<(), Error> {
        let window = self.window_of(state.step + 1);
        let interrupter = parts.interrupter.clone();
        let report = |result| interrupter.fail_on_error(result);
        report(parts.processor.process_train(LearnerEvent::StartSplit {
            epoch_number: window,
            total_items: self.loader.num_items(),
        }));
        let mut shares = WindowShares::new(&self.loader);
        while let Some(FetchedShare {
            share,
            step,
            progress,
            waiting,
        }) = shares.take()
        {
            let share = match share {
                Ok(share) => share,
                Err(error) => {
                    interrupter.fail(DatasetError::new(error));
                    break;
                }
            };
            let pairs = share.batch.as_ref().map(|batch| batch.indices.clone());
            let sent = self.peers.sent();
            let seed = step_seed(self.seed, state.step);
            let compiling = parts
                .is_first_step
                .then(|| CompilingNote::begin(&self.device));
            let loss_scale = state.loss_scale.factor(self.precision);
            let output = with_dropout_seed(seed, 0, || self.train_step(parts, share, loss_scale))?;
            parts.advance(state, step);
            let Some(output) = output else {
                // Too few of its images can be read.
                if interrupter.should_stop() {
                    break;
                }
                continue;
            };
            let failed = |cause| Error::Step { step, cause };
            let norm = norm(&output.grads, &parts.learner.model(), &self.device);
            let has_queue = !is_flex(&self.device);
            // Peers are told to update after the loss is known.
            let begins = has_queue && self.peers.size() == 1;
            let update = Update::begin(&mut parts.learner, output.grads, begins);
            let queued = output.item.queue_with(norm).map_err(failed)?;
            shares.fetch();
            let (item, measures, norm) = queued.read().map_err(failed)?;
            drop(compiling);
            parts.is_first_step = false;
            let is_finite = NotFinite::check_loss(measures.loss)
                .and_then(|()| NotFinite::check_gradient_norm(norm));
            if let Err(cause) = is_finite {
                update.take_back(&mut parts.learner);
                let may_be_overflow = loss_scale > 1.0 && measures.loss.is_finite();
                let text = match state.observe_not_finite(may_be_overflow, self.max_skipped_steps) {
                    NotFiniteStep::Overflow => self.told_of_overflow(state),
                    NotFiniteStep::Skipped => {
                        self.told_of_skip(state, cause, &pairs.unwrap_or_default())
                    }
                    NotFiniteStep::TooMany => return Err(Error::NotFinite { step, cause }),
                };
                recorder.warning(&text);
                if interrupter.should_stop() {
                    break;
                }
                continue;
            }
            state.observe_finite(self.precision);
            let rate = parts.learner.lr_current().base();
            self.tell(Command::Optimize { rate })?;
            update.finish(&mut parts.learner);
            if let Some(average) = &mut parts.average {
                average.update(&parts.learner.model().network, state.step);
            }
            let has_norm = state.step.is_multiple_of(self.gradient_norm_every);
            let facts = StepFacts {
                step: state.step,
                learning_rate: rate,
                gradient_norm: has_norm.then_some(norm),
                temperature: parts.learner.model().network.temperature(),
                waiting,
                exchanged: (self.peers.size() > 1).then(|| self.peers.sent() - sent),
            };
            recorder.step(&measures, facts);
            let item = TrainingItem::new(
                item,
                progress,
                Some(state.step),
                Some(parts.learner.lr_current()),
            );
            report(
                parts
                    .processor
                    .process_train(LearnerEvent::ProcessedItem(item)),
            );
            if interrupter.should_stop() {
                break;
            }
            let last = parts.last_checkpoint;
            let is_due = self.checkpoint_intervals.is_due(state.step, last);
            // At the end of the window, the checkpoint comes after the evaluation.
            if is_due && !self.is_boundary(state.step) && !self.checkpoints.is_busy() {
                self.checkpoint(parts, state, recorder);
            }
            self.tell_of_checkpoints(recorder);
        }
        parts.advance(state, shares.end(state.step));
        report(
            parts
                .processor
                .process_train(LearnerEvent::EndSplit(window)),
        );
        report(parts.processor.flush());
        Ok(())
    }

    /// Computes the loss of a batch and its gradients; `None` if it has fewer than two pairs.
    fn train_step(
        &self,
        parts: &Parts<N>,
        share: BatchShare,
        loss_scale: f32,
    ) -> Result<Option<TrainOutput<PendingMeasures>>, Error> {
        let mut task = parts.learner.model();
        task.loss_scale = loss_scale;
        if !self.division.is_divided() {
            let batch = share
                .batch
                .filter(|batch| batch.len() >= TrainingLoader::MIN_PAIRS);
            return Ok(batch.map(|batch| TrainStep::step(&task, batch)));
        }
        self.tell(Command::Step { loss_scale })?;
        let step = PartedStep {
            part_size: self.division.part_size,
            peers: &self.peers,
            device: &self.device,
        };
        Ok(step.run(&task, &share)?)
    }

    /// Tells the other peers what to do.
    pub fn tell(&self, command: Command) -> Result<(), Error> {
        if self.peers.size() > 1 {
            self.peers.lead(Some(command))?;
        }
        Ok(())
    }

    /// Describes a step that is skipped since a gradient overflowed in float16.
    fn told_of_overflow(&self, state: &TrainingState) -> String {
        format!(
            "step {} changes nothing: a gradient overflowed in float16; from now on the loss is \
             multiplied by {} for its gradients",
            state.step,
            state.loss_scale.factor(self.precision)
        )
    }

    /// Describes a step that is skipped, with the rows of its pairs.
    fn told_of_skip(&self, state: &TrainingState, cause: NotFinite, pairs: &[usize]) -> String {
        let studies = self.loader.dataset().studies();
        let rows: Vec<usize> = pairs.iter().map(|pair| studies[*pair].row).collect();
        format!(
            "step {} changes nothing ({} of at most {} in a row): {cause}; rows {}{}",
            state.step,
            state.skipped.in_a_row,
            self.max_skipped_steps,
            truncated_list(&rows),
            match self.peers.size() {
                1 => "",
                _ => " and those of the other peers",
            }
        )
    }

    /// Begins to save a checkpoint, except after an error of burn-train: the parameters may be
    /// damaged then. Waits for the previous one.
    fn checkpoint(&self, parts: &mut Parts<N>, state: &mut TrainingState, recorder: &mut Recorder) {
        if parts.interrupter.error().is_some() {
            return;
        }
        state.seconds = recorder.seconds();
        state.plateau = self.learning_rate.plateau();
        let average = parts.average.as_ref();
        let average = average.map(|average| average.network().clone().into_record());
        self.checkpoints.begin(state.clone(), average);
        if let Some(checkpointer) = &mut parts.checkpointer {
            checkpointer.checkpoint(&parts.learner, state.step, &parts.store);
        }
        parts.last_checkpoint = LastCheckpoint::now(state.step);
        self.tell_of_checkpoints(recorder);
    }

    /// Tells the observers of the checkpoints that have become whole.
    pub fn tell_of_checkpoints(&self, recorder: &mut Recorder) {
        for written in self.checkpoints.take_written() {
            recorder.checkpoint(&written);
        }
    }
}

/// Returns the seed of a step's dropout.
///
/// It depends on the step alone, so that a resumed run draws the same masks as an uninterrupted one.
pub(in crate::training) fn step_seed(seed: u64, step: usize) -> u64 {
    mixed_seed(seed, step as u64)
}

/// The L2 norm of all gradients of a module, `[1]`; 0 if there are none.
fn norm<M: Module>(gradients: &GradientsParams, module: &M, device: &Device) -> Tensor<1> {
    let norm = global_norm(gradients, module);
    norm.unwrap_or_else(|| Tensor::zeros([1], &device.clone().inner()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use burn::tensor::{Device, Int};
    use convirt_data::{EvaluationLoader, ImageTextBatch};
    use convirt_model::{ConVirt, ResNet};
    use convirt_phantom::PhantomConfig;

    use super::*;
    use crate::config::Config;
    use crate::logging::{MeanMetric, PendingMeasures};
    use crate::network::Network;
    use crate::run::RunDir;
    use crate::training::Training;
    use crate::training::pretrained::{Evaluation, Measured};

    /// What is not a number in training's batches with one of the first four pairs.
    #[derive(Clone, Copy, Debug)]
    enum Spoiled {
        Loss,
        Gradient,
    }

    #[derive(Module, Debug)]
    struct SpoiledConVirt {
        network: ConVirt,
        #[module(skip)]
        spoiled: Spoiled,
    }

    impl Pretrained for SpoiledConVirt {
        fn accuracies() -> Vec<MeanMetric> {
            ConVirt::accuracies()
        }

        const ACCURACY_NAMES: &'static [&'static str] = ConVirt::ACCURACY_NAMES;

        fn embed(&self, batch: ImageTextBatch) -> [Tensor<2>; 2] {
            self.network.embed(batch)
        }

        fn score(&self, embeddings: [Tensor<2>; 2], text_ids: Option<Tensor<1, Int>>) -> Measured {
            self.network.score(embeddings, text_ids)
        }

        fn measure(&self, batch: ImageTextBatch) -> Measured {
            let is_spoiled = batch.indices.iter().any(|pair| *pair < 4);
            let mut measured = self.network.measure(batch);
            if is_spoiled && measured.loss.is_autodiff() {
                let loss = measured.loss.clone();
                measured.loss = match self.spoiled {
                    Spoiled::Loss => loss.mul_scalar(f32::NAN),
                    // The square root of 0 has an infinite gradient.
                    Spoiled::Gradient => loss.clone() + loss.mul_scalar(0.0).sqrt(),
                };
                let (accuracies, pairs) = (vec![], 4);
                measured.measures = PendingMeasures::new(measured.loss.clone(), accuracies, pairs);
            }
            measured
        }

        fn image_encoder(&self) -> &ResNet {
            self.network.image_encoder()
        }

        fn temperature(&self) -> f64 {
            self.network.temperature()
        }

        fn evaluate<'a>(
            run: &RunDir,
            device: &Device,
            held_out: &'a EvaluationLoader,
        ) -> Result<Evaluation<'a>, Error> {
            ConVirt::evaluate(run, device, held_out)
        }
    }

    fn train(folder: &Path, spoiled: Spoiled, limit: usize) -> Result<(Outcome, String), Error> {
        let data = folder.join("data");
        let phantom = PhantomConfig {
            patients: 16,
            longer_side: 64,
            seed: 7,
        };
        phantom.write(&data, |_, _| ()).unwrap();
        let text = format!(
            "{{batch_size: 4, max_steps: 8, eval_every_n_steps: 4, device: flex, \
             runs_dir: '{}', max_skipped_steps: {limit}, learning_rate: 1e-3, \
             model: {{out_dim: 8, res_base_model: resnet18, bert_base_model: scratch, \
             freeze_embeddings: False, freeze_layers: null, text_from_scratch: {{layers: 1, \
             hidden_size: 16, heads: 1, intermediate_size: 32, vocab_size: 300, max_tokens: 16}}}}, \
             dataset: {{input_shape: [32, 32, 3], num_workers: 0, csv_file: '{}', \
             text_from_files: True}}}}",
            folder.join("runs").display(),
            data.join("pairs.csv").display(),
        );
        let config = Config::from_yaml("test.yaml", &text, &[]).unwrap();
        let training = Training::prepare(config).unwrap();
        let Network::ConVirt(network) = training.network.clone() else {
            panic!("ConVIRT is trained");
        };
        let network = SpoiledConVirt {
            network: *network,
            spoiled,
        };
        let run = training.run_dir().path().to_path_buf();
        let outcome = training.fit(network, Vec::new(), Peers::alone())?;
        Ok((outcome, fs::read_to_string(run.join("train.log")).unwrap()))
    }

    #[test]
    fn steps_that_are_not_finite_change_nothing_and_are_told_with_their_rows() {
        for (spoiled, name) in [
            (Spoiled::Loss, "the loss became NaN"),
            (Spoiled::Gradient, "the norm of the gradient became NaN"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (outcome, log) = train(folder.path(), spoiled, 8).unwrap();
            let (total, in_a_row) = (outcome.state.skipped.total, outcome.state.skipped.in_a_row);
            assert!((1..8).contains(&total) && in_a_row <= total, "{total}");
            assert_eq!(outcome.state.step, 8);
            assert!(outcome.state.evaluations.best_loss.unwrap().is_finite());
            let told: Vec<&str> = log.lines().filter(|it| it.contains(name)).collect();
            assert_eq!(told.len(), total, "{log}");
            assert!(told[0].contains("changes nothing (1 of at most 8 in a row)"));
            assert!(told[0].contains("; rows "), "{}", told[0]);
        }
    }

    #[test]
    fn more_of_them_than_the_limit_are_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = train(folder.path(), Spoiled::Loss, 0).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(error.to_string().contains("learning_rate"), "{error}");
    }
}
