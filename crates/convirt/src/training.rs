//! A training run, from its configuration to its summary.

mod interrupt;
mod text_encoder;
mod initial_weights;
mod describe;
mod loaders;
mod prepare;
mod display;
mod adam;
mod schedule;
mod pretrained;
mod task;
mod checkpoint;
mod epochs;
mod state_file;
mod fit;
mod chance;

pub use adam::Adam;
pub(crate) use initial_weights::InitialWeights;
pub(crate) use interrupt::StopOnSignal;
pub use schedule::ScheduledLearningRate;
pub use task::{ContrastiveTask, PretrainingTask, SimClrTask};
pub(crate) use text_encoder::TextTower;

use std::time::Instant;

use burn::tensor::Device;
use burn::train::Interrupter;

use crate::compute::{device_name, kernel_name};
use crate::config::Config;
use crate::error::Error;
use crate::inference::Description;
use crate::messages::warning;
use crate::network::Network;
use crate::report::Data;
use crate::run::{DataChange, Ending, RunDir, RunLock, Summary};
use crate::weights::LoadReport;
use chance::chance_loss;
use checkpoint::TrainingState;
use epochs::Outcome;
use loaders::Loaders;
use pretrained::{Evaluation, Pretrained};

/// A run that is ready to train: data read, networks built, folder made.
///
/// Its `Display` tells what is trained on what.
pub struct Training {
    config: Config,
    run: RunDir,
    device: Device,
    network: Network,
    description: Description,
    loaders: Loaders,
    /// What the networks start from, where not from scratch.
    loads: Vec<LoadReport>,
    /// Where an earlier part of the run stopped.
    resumed: Option<TrainingState>,
    /// What it was begun on, where that is not what it goes on with.
    data_change: Option<DataChange>,
    _lock: RunLock,
    interrupter: Interrupter,
    /// Whether progress is told in lines even on a terminal.
    plain: bool,
}

impl Training {
    /// Tells the progress in lines of the log even where standard output is a terminal, which
    /// Burn's interface takes otherwise.
    pub fn with_plain_progress(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Folder of the run.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// A handle that stops the training after its current step, as Ctrl-C does.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Trains, evaluates the best model on what was held out, and writes `summary.json`.
    ///
    /// The same configuration gives the same numbers as long as a process trains one run at a time:
    /// Burn's devices have one random generator each, which dropout draws from.
    ///
    /// # Errors
    ///
    /// When data or device fail, the loss is no longer finite, or the run's folder cannot be
    /// written. What was saved before stays.
    pub fn run(self) -> Result<Summary, Error> {
        let started = Instant::now();
        let (outcome, evaluation) = match self.network.clone() {
            Network::ConVirt(network) => self.fit_and_evaluate(*network),
            Network::SimClr(network) => self.fit_and_evaluate(*network),
        }?;
        let held_out = &self.loaders.valid;
        let evaluations = &outcome.state.evaluations;
        let summary = Summary {
            run: self.run.path().to_path_buf(),
            objective: self.config.objective,
            ending: match (
                outcome.state.step >= self.loaders.steps.total,
                outcome.stopped_early,
            ) {
                (true, _) => Ending::Completed,
                (_, true) => Ending::StoppedEarly,
                _ => Ending::Interrupted,
            },
            device: device_name(&self.device),
            precision: self.config.precision,
            kernel: kernel_name(&self.device, self.config.precision),
            seed: self.config.seed,
            steps: outcome.state.step,
            best_step: evaluations.best_step,
            validation_loss: evaluations.best_loss,
            chance_loss: chance_loss(
                held_out.dataset().len(),
                held_out.batches(),
                self.config.objective,
            ),
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
            seconds: started.elapsed().as_secs_f64(),
        };
        summary.save(&self.run.summary())?;
        let data = Data {
            train: self.loaders.train.dataset().studies(),
            valid: held_out.dataset().studies(),
            skips: &self.loaders.skips,
        };
        let report = (self.run).write_report_of(&self.config, &data, evaluation.pairs());
        if let Err(error) = report {
            warning(format_args!("the run's page is not written: {error}"));
        }
        Ok(summary)
    }

    fn fit_and_evaluate<N: Pretrained>(
        &self,
        network: N,
    ) -> Result<(Outcome, Evaluation<'_>), Error> {
        let outcome = self.fit(network)?;
        let evaluation = N::evaluate(&self.run, &self.device, &self.loaders.valid)?;
        Ok((outcome, evaluation))
    }
}
