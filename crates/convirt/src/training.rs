//! A training run, from its configuration to its summary.

mod interrupt;
mod checkpoint;
mod prepare;
mod display;
mod adam;
mod schedule;
mod pretrained;
mod division;
mod loss_scale;
mod gradient_sum;
mod gradient_cache;
mod task;
mod average;
mod trained;
mod command;
mod evaluated;
mod assistant;
mod announcement;
mod fit;
mod chance;

pub use adam::Adam;
pub(crate) use announcement::assist_in_training;
pub(crate) use interrupt::StopOnSignal;
pub(crate) use loss_scale::{LossScale, gradients_of};
pub(crate) use prepare::{InitialWeights, TextTower};
pub use schedule::ScheduledLearningRate;
pub use task::{ContrastiveTask, PretrainingTask, SimClrTask};

use std::mem;
use std::thread;
use std::time::Instant;

use burn::tensor::Device;
use burn::train::Interrupter;
use convirt_data::PairColumns;

use crate::compute::{device_name, kernel_name};
use crate::config::Config;
use crate::error::Error;
use crate::inference::Description;
use crate::messages::warning;
use crate::network::Network;
use crate::peers::{Peers, Work};
use crate::records::{TrainLog, TrainingObserver};
use crate::report::Data;
use crate::run::{Ending, Environment, RunDir, RunError, RunIdentity, RunLock, RunSplit, Summary};
use crate::weights::LoadReport;
use assistant::Assistant;
use chance::chance_loss;
use checkpoint::{CheckpointFolder, TrainingState};
use fit::Outcome;
use prepare::Loaders;
use pretrained::{Evaluation, Pretrained};

/// A run that is ready to train: its data are read, its networks are built, its folder exists.
///
/// `Display` describes the run: device, precision, seed, parameters, data, steps.
///
/// # Examples
///
/// ```no_run
/// use std::path::Path;
///
/// use convirt::run::Ending;
/// use convirt::{Config, Error, Training};
///
/// # fn main() -> Result<(), Error> {
/// let config = Config::from_file("config.yaml", &["max_steps=100".to_string()])?;
/// let training = Training::prepare(config)?.stopping_on_signals();
/// println!("{training}");
/// let summary = training.run()?;
/// assert_eq!(summary.ending, Ending::Completed);
///
/// // The same run, from its last checkpoint to step 200.
/// let training = Training::resume(&summary.run, &["max_steps=200".to_string()])?;
/// println!("{}", training.run()?);
/// # Ok(())
/// # }
/// ```
pub struct Training {
    config: Config,
    run: RunDir,
    device: Device,
    /// The processes that train together, until the training begins.
    processes: Peers,
    /// The devices of the assistants in this process.
    other_devices: Vec<Device>,
    network: Network,
    description: Description,
    /// The columns of the manifest; `None` if the studies were built in code.
    columns: Option<PairColumns>,
    loaders: Loaders,
    /// Reports of the initial weights, none if the networks start from scratch.
    loads: Vec<LoadReport>,
    /// What the run is computed from.
    identity: RunIdentity,
    /// `None` for a new run.
    resumption: Option<Resumption>,
    allows_changed_data: bool,
    _lock: RunLock,
    interrupter: Interrupter,
    /// The summary, if the resumed checkpoint is the end of the run.
    finished: Option<Summary>,
    observers: Vec<Box<dyn TrainingObserver>>,
    program: Option<String>,
    /// Whether Burn's full-screen view has the terminal.
    full_screen: bool,
    stops_on_signals: bool,
}

/// What a run is resumed from, and what has changed since then.
struct Resumption {
    /// State of the checkpoint.
    state: TrainingState,
    /// What is wrong with newer checkpoints.
    passed_over: Vec<String>,
    /// Settings that change.
    settings: Vec<String>,
    /// Changes that nobody has asked for: of data, vocabulary, initial weights, and of `config.yaml`
    /// by hand.
    unexpected: Vec<String>,
    /// The sides of the rows, as [`RunSplit::table`], if there are such changes.
    split: Option<Vec<u8>>,
    /// Steps of the run as it was configured before.
    earlier_total: usize,
}

impl Training {
    /// Adds an observer, which is told of every step, evaluation, checkpoint and warning.
    pub fn with_observer(mut self, observer: impl TrainingObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Shows Burn's full-screen view on the terminal instead of logging lines. `train.log` has the
    /// lines in any case.
    #[cfg(feature = "tui")]
    pub fn with_full_screen_view(mut self) -> Self {
        self.full_screen = true;
        self
    }

    /// Installs a handler for Ctrl-C and SIGTERM: the first stops the training after the current
    /// step, with a checkpoint, and the second ends the process at once.
    pub fn stopping_on_signals(mut self) -> Self {
        self.stops_on_signals = true;
        self
    }

    /// Resumes a run even if its data, vocabulary, initial weights or `config.yaml` have changed
    /// since its last checkpoint; a warning lists the changes.
    pub fn allowing_changed_data(mut self) -> Self {
        self.allows_changed_data = true;
        self
    }

    /// Sets the program's name, version and commit, for [`Summary::environment`].
    pub fn with_program(mut self, program: impl Into<String>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Returns the step of a run's last checkpoint, from which [`resume`](Self::resume) continues;
    /// `None` if it has none.
    pub fn last_checkpoint(run: &RunDir) -> Option<usize> {
        CheckpointFolder::new(run.checkpoints()).steps().pop()
    }

    /// Returns the folder of the run.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Returns a handle that stops the training after the current step, like Ctrl-C.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Trains, evaluates the best model on the held-out data, and writes `summary.json`.
    ///
    /// The same configuration gives the same numbers on the CPU, with the same kernel, whatever the
    /// number of threads, if nothing else draws from the device's random generator while
    /// [`prepare`](Self::prepare) draws the initial weights. On other devices the initial weights and
    /// the dropout are those of the CPU, and the numbers differ by rounding.
    ///
    /// # Errors
    ///
    /// If the data cannot be read, the device fails, the loss is not finite, or the run's folder
    /// cannot be written; [`RunError::Changed`] if the run is resumed and something that it is
    /// computed from has changed. Files that were saved before remain:
    /// [`last_checkpoint`](Self::last_checkpoint) tells where the run can be resumed.
    pub fn run(mut self) -> Result<Summary, Error> {
        let processes = mem::replace(&mut self.processes, Peers::alone());
        if let Some(summary) = self.finished {
            processes.lead(Some(Work::End))?;
            processes.end();
            return Ok(summary);
        }
        if let Some(resumption) = &self.resumption {
            let Resumption {
                state,
                settings,
                unexpected,
                split,
                ..
            } = resumption;
            if !unexpected.is_empty() && !self.allows_changed_data {
                return Err(RunError::Changed {
                    run: self.run.path().to_path_buf(),
                    step: state.step,
                    changes: unexpected.clone(),
                }
                .into());
            }
            if let Some(split) = split {
                RunSplit::add(split, &self.run)?;
            }
            if !settings.is_empty() {
                self.run.replace_configuration(state.step, &self.config)?;
            }
        }
        let started = Instant::now();
        let observers = mem::take(&mut self.observers);
        let (outcome, evaluation) = match self.network.clone() {
            Network::ConVirt(network) => self.fit_and_evaluate(*network, observers, processes),
            Network::SimClr(network) => self.fit_and_evaluate(*network, observers, processes),
        }?;
        let earlier = self.resumption.as_ref();
        let earlier = earlier.map_or(0.0, |resumption| resumption.state.seconds);
        let held_out = &self.loaders.valid;
        let evaluations = &outcome.state.evaluations;
        let summary = Summary {
            run: self.run.path().to_path_buf(),
            objective: self.config.objective,
            ending: match (
                outcome.state.step >= self.loaders.steps.total && outcome.state.is_evaluated(),
                outcome.stopped_early,
            ) {
                (true, _) => Ending::Completed,
                (_, true) => Ending::StoppedEarly,
                _ => Ending::Interrupted,
            },
            device: device_name(&self.device),
            precision: self.config.precision_on(&self.device),
            kernel: kernel_name(&self.device, self.config.precision_on(&self.device)),
            seed: self.config.seed,
            steps: outcome.state.step,
            skipped_steps: outcome.state.skipped.total,
            best_step: evaluations.best_step,
            validation_loss: evaluations.best_loss,
            chance_loss: chance_loss(held_out.dataset().len(), held_out.batches(), |batch| {
                self.config.objective.chance(self.config.loss.kind, batch)
            }),
            loss: self.config.loss.kind,
            retrieval: evaluation.retrieval(),
            contrastive_accuracy: evaluation.contrastive_accuracy(),
            train_pairs: self.loaders.train.dataset().len(),
            valid_pairs: held_out.dataset().len(),
            parameters: self.network.parameter_counts(),
            skipped: self
                .loaders
                .skips
                .counts()
                .into_iter()
                .map(|(reason, count)| (reason.to_string(), count))
                .collect(),
            seconds: earlier + started.elapsed().as_secs_f64(),
            initial_weights: self.identity.initial_weights.clone(),
            environment: Environment {
                program: self.program.clone(),
                ..Environment::current()
            },
        };
        TrainLog::open(self.run.path())?.write(&summary);
        summary.save(&self.run)?;
        let data = Data {
            train: self.loaders.train.dataset().studies(),
            valid: held_out.dataset().studies(),
            skips: &self.loaders.skips,
        };
        let report = (self.run).write_report_of(&self.config, &data, evaluation.pairs());
        if let Err(error) = report {
            warning(format_args!("the report page cannot be written: {error}"));
        }
        Ok(summary)
    }

    fn fit_and_evaluate<N: Pretrained>(
        &self,
        network: N,
        observers: Vec<Box<dyn TrainingObserver>>,
        processes: Peers,
    ) -> Result<(Outcome, Evaluation<'_>), Error> {
        let (peers, assistants) = self.peers(processes)?;
        let outcome = thread::scope(|scope| {
            for (assistant, peers) in assistants {
                scope.spawn(move || match assistant.assist(&peers) {
                    Ok(()) => peers.end(),
                    // It is the leader's error too.
                    Err(error) => peers.leave(&error.to_string()),
                });
            }
            self.fit(network, observers, peers)
        })?;
        let evaluation = N::evaluate(&self.run, &self.device, &self.loaders.valid)?;
        Ok((outcome, evaluation))
    }

    /// Returns the number of devices that train together.
    fn peer_count(&self) -> usize {
        self.processes.size() + self.other_devices.len()
    }

    /// Connects this process to the others of its training, or the devices of this process to each
    /// other: returns the leader, and an assistant for each other device.
    fn peers(&self, processes: Peers) -> Result<(Peers, Vec<(Assistant, Peers)>), Error> {
        if processes.size() > 1 {
            processes.lead(Some(Work::Train))?;
            processes.lead(Some(self.announcement()))?;
            return Ok((processes, Vec::new()));
        }
        let mut peers = Peers::threads(1 + self.other_devices.len()).into_iter();
        let leader = peers.next().expect("there is at least one peer");
        let assistant = |device: &Device| Assistant {
            config: self.config.clone(),
            description: self.description.clone(),
            checkpoints: CheckpointFolder::new(self.run.checkpoints()),
            loaders: self.loaders.clone(),
            device: device.clone(),
        };
        let assistants = self.other_devices.iter().map(assistant).zip(peers);
        Ok((leader, assistants.collect()))
    }
}
