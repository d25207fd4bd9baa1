//! The training of a run by burn-train's `Learner`.

mod held_out;
mod left_out;
mod compiling;
mod update;
mod window_shares;
mod epochs;
mod evaluation;
mod state_file;

use std::sync::{Arc, Mutex};

use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::train::metric::LearningRateMetric;
use burn::train::{Learner, SupervisedTraining, TrainingStrategy};
use convirt_data::{FileError, Radiograph, Thumbnail};
use convirt_model::FrozenStates;
use convirt_ops::is_flex;

use super::Training;
use super::average::Average;
use super::checkpoint::{
    CheckpointFolder, CheckpointIntervals, CheckpointWriter, NoScheduler, SaveAlways, TrainingState,
};
use super::division::Division;
use super::interrupt::StopOnSignal;
use super::pretrained::Pretrained;
use super::schedule::ScheduledLearningRate;
use super::task::PretrainingTask;
use super::trained::Trained;
use crate::compute::kernel_name;
use crate::error::Error;
use crate::logging::{MeanMetric, NoMetricLogger, PairsPerSecond, renderer};
use crate::peers::Peers;
use crate::records::{Lines, MetricsFile, Recorder, TensorBoard, TrainLog, TrainingObserver};
use crate::report::evenly_spaced;
use crate::run::{check_room, remove_leftovers};
use epochs::WindowedTraining;
use held_out::HeldOutPairs;

pub(super) use epochs::{Outcome, step_seed};

/// Maximum size in memory of the frozen layers' states, in bytes: 10,000 texts of 32 tokens with
/// BERT-base.
const FROZEN_STATE_BYTES: usize = 1 << 30;

/// Number of held-out pairs shown in TensorBoard.
const SHOWN_PAIRS: usize = 8;

/// Longer side of their images, in pixels.
const SHOWN_SIDE: usize = 256;

impl Training {
    /// Trains the network and saves the best model, or the last one if there was no evaluation.
    pub(super) fn fit<N: Pretrained>(
        &self,
        network: N,
        observers: Vec<Box<dyn TrainingObserver>>,
        peers: Peers,
    ) -> Result<Outcome, Error> {
        // Before the checkpoint is restored: counting parameters reads batch norms' running
        // statistics, which the clones of a network share, and would undo their restoration.
        let description = self.to_string();
        let config = &self.config;
        let task =
            PretrainingTask::configured(self.with_frozen_states(network)?, config, &self.device);
        let autodiff = self.device.clone().autodiff();
        let state = self.initial_state();
        let learning_rate = ScheduledLearningRate::resumed(
            config.learning_rate,
            config.schedule(self.loaders.steps.total),
            state.step,
            state.plateau,
        );
        let folder = CheckpointFolder::new(self.run.checkpoints());
        folder.clean(state.step);
        remove_leftovers(self.run.path());
        remove_leftovers(&self.run.model());
        check_room(
            self.run.path(),
            self.description.network.parameter_count(),
            config.ema_decay.is_some(),
            config.keep_checkpoints,
            folder.steps().len(),
        )?;
        let mut trained = Trained::new(task, config);
        if self.resumption.is_some() {
            trained = trained.load(&folder, state.step)?;
        }
        let Trained {
            task,
            optimizer,
            average,
        } = trained;
        let scheduler = ModuleLrScheduler::new(learning_rate.clone());
        let learner = Learner::new(task, optimizer, scheduler);
        let checkpoints = CheckpointWriter::new(folder, config.keep_checkpoints)?;
        let recorder = self.recorder::<N>(&state, &description, observers)?;
        let division = Division::new(config, peers.size());
        let own = division.share(peers.rank());
        let valid = &self.loaders.valid;
        let windows = Arc::new(WindowedTraining {
            loader: self.loaders.train.with_share(own, &autodiff),
            held_out_loader: valid.with_share(peers.rank(), peers.size(), &self.device),
            division,
            peers,
            device: autodiff,
            average: Mutex::new(average),
            seed: config.seed,
            steps: self.loaders.steps,
            precision: config.precision_on(&self.device),
            early_stop_patience: config.early_stop_patience,
            learning_rate,
            checkpoints: Arc::clone(&checkpoints),
            checkpoint_intervals: CheckpointIntervals::new(config),
            max_skipped_steps: config.max_skipped_steps,
            save_best: {
                let (description, folder) = (self.description.clone(), self.run.model());
                Box::new(move |network: &N| description.save_weights(network, &folder))
            },
            skips: self.loaders.skips.clone(),
            held_out: HeldOutPairs::new(self.loaders.valid.dataset().studies()),
            gradient_norm_every: config.log_every_n_steps,
            recorder: Mutex::new(recorder),
            outcome: Mutex::new(Outcome {
                state,
                ..Outcome::default()
            }),
        });
        let path = self.run.path();
        let _stop = (self.stops_on_signals).then(|| StopOnSignal::new(&self.interrupter));
        let mut training = SupervisedTraining::new(
            path,
            Arc::new(self.loaders.train.clone()),
            Arc::new(self.loaders.valid.clone()),
        )
        .metrics((MeanMetric::loss(),));
        for accuracy in N::accuracies() {
            training = training.metrics((accuracy,));
        }
        let result = training
            .metric_train_numeric(LearningRateMetric::new())
            .metric_train_numeric(PairsPerSecond::new())
            .with_metric_logger(NoMetricLogger)
            .with_application_logger(None)
            .with_custom_checkpointers(checkpoints.part(0), checkpoints.part(1), NoScheduler)
            .with_checkpointing_strategy(SaveAlways)
            .with_interrupter(self.interrupter.clone())
            .with_training_strategy(TrainingStrategy::Custom(windows.clone()))
            .renderer(renderer(self.full_screen, &self.interrupter))
            .num_epochs(windows.window_count())
            .launch(learner);

        // The checkpointers have ended with the training.
        let mut recorder = windows.recorder.lock().expect("the training has ended");
        windows.tell_of_checkpoints(&mut recorder);
        drop(recorder);
        let outcome = std::mem::take(&mut *windows.outcome.lock().expect("the training has ended"));
        if let Some(error) = checkpoints.take_error() {
            return Err(error.into());
        }
        if let Some(error) = result.error {
            return Err(Error::Training(error));
        }
        if let Some(error) = outcome.error {
            return Err(error);
        }
        if outcome.state.evaluations.best_loss.is_none() {
            let average = windows.average.lock().expect("the training has ended");
            let average = average.as_ref().map(Average::network);
            let network = average.unwrap_or(&result.model.network);
            self.description.save_weights(network, &self.run.model())?;
        }
        Ok(outcome)
    }

    /// Returns the state at the start of the training or at its resumption.
    fn initial_state(&self) -> TrainingState {
        let earlier = self.resumption.as_ref();
        TrainingState {
            kernel: kernel_name(&self.device, self.config.precision_on(&self.device)),
            identity: self.identity.clone(),
            ..earlier.map_or_else(TrainingState::default, |it| it.state.clone())
        }
    }

    /// Opens the files of records in the run's folder.
    fn recorder<N: Pretrained>(
        &self,
        state: &TrainingState,
        description: &str,
        observers: Vec<Box<dyn TrainingObserver>>,
    ) -> Result<Recorder, Error> {
        let (folder, step) = (self.run.path(), state.step);
        let mut log = TrainLog::open(folder)?;
        log.write(description);
        let total = self.loaders.steps.total;
        let mut recorder = Recorder::new(N::ACCURACY_NAMES, state.seconds);
        recorder.add(Lines::new(log, step, total, !self.full_screen));
        let evaluated = state.evaluations.last_step.unwrap_or(0);
        let metrics = MetricsFile::open(folder, step, evaluated)?;
        let mut events = TensorBoard::create(folder, self.config.log_every_n_steps)
            .map_err(FileError::write(folder))?;
        if self.resumption.is_some() {
            events.resume(step, metrics.last_step().filter(|_| evaluated < step));
        }
        recorder.add(metrics);
        let yaml = self.config.to_yaml();
        events.text("configuration", step, &format!("```yaml\n{yaml}```"));
        if self.resumption.is_none() {
            self.write_held_out_pairs(&mut events);
        }
        recorder.add(events);
        recorder.extend(observers, &self.warnings());
        Ok(recorder)
    }

    /// Writes some held-out images with their texts. Images that cannot be read are passed over:
    /// the evaluation tells of them.
    fn write_held_out_pairs(&self, events: &mut TensorBoard) {
        let studies = self.loaders.valid.dataset().studies();
        let limits = self.config.dataset.decode_limits();
        for (number, position) in (1..).zip(evenly_spaced(studies.len(), SHOWN_PAIRS)) {
            let study = &studies[position];
            if let Ok(image) = Radiograph::read_within(&study.image, SHOWN_SIDE, &limits) {
                let image = Thumbnail::whole(&image);
                events.image(&format!("held_out/image_{number}"), 0, image);
                events.text(&format!("held_out/text_{number}"), 0, &study.report.text);
            }
        }
    }

    /// Gives the text encoder a cache of its frozen layers' states, on the CPU: other devices would
    /// have to copy the states, and their rounding differs.
    fn with_frozen_states<N: Pretrained>(&self, network: N) -> Result<N, Error> {
        let encoder = network.text_encoder();
        let is_frozen = encoder.is_some_and(|encoder| encoder.frozen_depth().is_some());
        if !is_frozen || !is_flex(&self.device) {
            return Ok(network);
        }
        let mut states = FrozenStates::new(FROZEN_STATE_BYTES);
        let model = &self.config.model;
        if let Some(folder) = &model.frozen_states_dir {
            std::fs::create_dir_all(folder).map_err(FileError::write(folder))?;
            let capacity = (model.frozen_states_gib * f64::from(1 << 30)) as u64;
            states = state_file::in_folder(states, folder, capacity);
        }
        Ok(network.with_frozen_states(&states))
    }
}
