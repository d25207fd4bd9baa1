//! A training run, from its configuration to its summary.

mod interrupt;
mod adam;
mod schedule;
mod task;
mod checkpoint;
mod epochs;
mod evaluation;
mod text_encoder;
mod initial_weights;

pub use adam::Adam;
pub(crate) use initial_weights::Earlier;
pub(crate) use interrupt::StopOnSignal;
pub use schedule::ScheduledLearningRate;
pub use task::{ContrastiveTask, PretrainingTask, SimClrTask};
pub(crate) use text_encoder::TextTower;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn::train::logger::FileMetricLogger;
use burn::train::metric::LearningRateMetric;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use convirt_data::{
    EvaluationLoader, FileError, ReportTokenizer, Skips, Study, TrainingLoader, TrainingSteps,
    held_out_but_trained_on, too_few_to_validate,
};
use convirt_model::{ConVirtConfig, FrozenStates, NtXentLossConfig, ResNetConfig, SimClrConfig};
use convirt_ops::{KERNEL_VARIABLE, Precision, is_flex};

use crate::compute::{check_precision, describe_device, device, device_name, kernel_name};
use crate::config::{Config, Objective};
use crate::datasets::{Datasets, Studies, loader_config};
use crate::error::Error;
use crate::inference::{Description, ImageModel, Model};
use crate::logging::{MeanMetric, PairsPerSecond, TensorBoardLogger, renderer};
use crate::messages::warning;
use crate::network::{MemoryNeed, Network, NetworkConfig};
use crate::readable::thousands;
use crate::report::Data;
use crate::run::{DataChange, DataIdentity, Ending, RunDir, RunError, RunLock, Summary};
use crate::weights::{
    ChosenEncoder, LoadReport, Part, Wanted, WeightsError, check_loaded, located,
};
use checkpoint::{KeepLastTwo, TrainingState};
use epochs::{Outcome, WindowedTraining};
use evaluation::{contrastive_accuracy, embed_pairs};
use task::Pretrained;

/// Keys whose change would make a resumed run another one.
const FIXED_ON_RESUME: &[&str] = &[
    "objective",
    "model",
    "seed",
    "batch_size",
    "loss",
    "fine_tune_from",
];

/// Bytes in memory of what frozen layers made of texts: 10,000 of 32 tokens by BERT-base.
const FROZEN_STATES: usize = 1 << 30;

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
    /// Prepares a new run.
    ///
    /// # Errors
    ///
    /// When configuration, data, weights or device cannot be used. Nothing is written before all
    /// of them have been read.
    pub fn prepare(config: Config) -> Result<Self, Error> {
        let device = device(config.device.as_deref())?;
        check_precision(config.precision, &device)?;
        let studies = Studies::read(&config)?;
        let earlier = config.fine_tune_from.as_deref().map(Path::new);
        let earlier = earlier.map(|name| Earlier::open(&config.runs_dir, name, config.objective));
        let earlier = earlier.transpose()?;
        let vocabulary = earlier
            .as_ref()
            .and_then(|earlier| earlier.tokenizer.clone());
        let tower = match config.objective {
            Objective::ConVirt => {
                let texts = studies.training_texts();
                Some(TextTower::new(&config, texts, vocabulary)?)
            }
            Objective::SimClr => None,
        };
        let description = describe(&config, tower.as_ref());
        check_memory(&description, &config, &studies, &device)?;

        device.seed(config.seed);
        let mut network = description.network.init(&device.clone().autodiff())?;
        let mut loads = Vec::new();
        let allow = &config.model.allow_unmatched;
        let mut chosen = ChosenEncoder::new(config.model.weights_prefix.as_deref());
        if let Some(earlier) = earlier {
            let (loaded, report) = network.load(&earlier.weights, allow)?;
            network = loaded;
            loads.push(report);
        } else {
            if let Some(path) = tower.as_ref().and_then(|tower| tower.weights.as_ref()) {
                let file = chosen.open(path, Part::TextEncoder)?;
                let (loaded, report) = network.load_text_encoder(&file, allow)?;
                network = loaded;
                loads.extend(report);
            }
            if let Some(name) = config.model.image_weights_name() {
                let path = located("model.image_weights", &name, Wanted::ImageEncoder)?;
                let file = chosen.open(&path, Part::ImageEncoder)?;
                let (loaded, report) = network.load_image_encoder(&file, allow)?;
                network = loaded;
                loads.push(report);
            }
        }
        chosen.check_used()?;
        network.draw();

        let data = DataIdentity::new(&studies.split);
        let tokenizer = tower.map(|tower| tower.tokenizer);
        let loaders = Loaders::new(&config, studies, tokenizer, &description, &device)?;
        let run = RunDir::create(&config.runs_dir, &config.name)?;
        let lock = run.lock()?;
        let path = run.config();
        std::fs::write(&path, config.to_yaml()).map_err(FileError::write(&path))?;
        data.save(run.path())?;
        description.save(loaders.train.dataset().tokenizer(), &run.model())?;
        Ok(Self {
            config,
            run,
            device,
            network,
            description,
            loaders,
            loads,
            resumed: None,
            data_change: None,
            _lock: lock,
            interrupter: Interrupter::new(),
            plain: false,
        })
    }

    /// Prepares to go on with a run where its last checkpoint is, with its own configuration and
    /// vocabulary. `overrides` are as those of [`Config::from_file`].
    ///
    /// # Errors
    ///
    /// When there is no such run or nothing to resume from, or an override concerns what cannot
    /// change within a run.
    pub fn resume(run: &Path, overrides: &[String]) -> Result<Self, Error> {
        for change in overrides {
            let key = change.split('=').next().unwrap_or_default();
            let section = key.split('.').next().unwrap_or_default();
            if FIXED_ON_RESUME.contains(&section) {
                let key = key.to_string();
                return Err(RunError::FixedOnResume { key }.into());
            }
        }
        let run = RunDir::open(Path::new(crate::config::DEFAULT_RUNS_DIR), run)?;
        let lock = run.lock()?;
        let config = Config::from_file(run.config(), overrides)?;
        let state = TrainingState::load_latest(&run.checkpoints())?;
        let device = device(config.device.as_deref())?;
        check_precision(config.precision, &device)?;
        let studies = Studies::read(&config)?;
        let data_change = DataIdentity::new(&studies.split).change(run.path())?;
        let description = Description::load(&run.model())?;
        let tokenizer = match description.objective {
            Objective::ConVirt => Some(ReportTokenizer::from_folder(&run.model(), None)?),
            Objective::SimClr => None,
        };
        check_memory(&description, &config, &studies, &device)?;
        let network = description.network.init(&device.clone().autodiff())?;
        let loaders = Loaders::new(&config, studies, tokenizer, &description, &device)?;
        loaders.train.position().set(state.step);
        Ok(Self {
            config,
            run,
            device,
            network,
            description,
            loaders,
            loads: Vec::new(),
            resumed: Some(state),
            data_change,
            _lock: lock,
            interrupter: Interrupter::new(),
            plain: false,
        })
    }

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
        let outcome = match self.network.clone() {
            Network::ConVirt(network) => self.fit(*network),
            Network::SimClr(network) => self.fit(*network),
        }?;
        let held_out = &self.loaders.valid;
        let (mut retrieval, mut accuracy, mut model_and_pairs) = (None, None, None);
        match self.config.objective {
            Objective::ConVirt => {
                let model = Model::load_on(self.run.path(), &self.device)?;
                let pairs = embed_pairs(model.network(), held_out)?;
                retrieval = Some(pairs.retrieval());
                model_and_pairs = Some((model, pairs));
            }
            Objective::SimClr => {
                let tower = ImageModel::load_on(self.run.path(), &self.device)?;
                accuracy = Some(contrastive_accuracy(&tower.network, held_out)?);
            }
        }

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
            retrieval,
            contrastive_accuracy: accuracy,
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
        let report = self
            .run
            .write_report_of(&self.config, &data, model_and_pairs.as_ref());
        if let Err(error) = report {
            warning(format_args!("the run's page is not written: {error}"));
        }
        Ok(summary)
    }

    /// Runs burn-train's `Learner`; afterwards the run's model folder holds a model.
    fn fit<N: Pretrained>(&self, network: N) -> Result<Outcome, Error> {
        let config = &self.config;
        let task = PretrainingTask {
            network: self.with_frozen_states(network)?,
            gradient_clip_norm: config.gradient_clip_norm,
            precision: config.precision,
        };
        let autodiff = self.device.clone().autodiff();
        let learning_rate = ScheduledLearningRate::new(
            config.learning_rate,
            config.schedule(self.loaders.steps.total),
        );
        let optimizer = Adam {
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
        };
        let mut learner = Learner::new(
            task,
            optimizer.init(),
            ModuleLrScheduler::new(learning_rate.clone()),
        );
        if let Some(state) = &self.resumed {
            self.restore(&mut learner, state.step)?;
        }

        let state = TrainingState {
            kernel: kernel_name(&self.device, config.precision),
            ..self.resumed.clone().unwrap_or_default()
        };
        let step = state.step;
        let windows = Arc::new(WindowedTraining {
            device: autodiff,
            seed: config.seed,
            steps: self.loaders.steps,
            early_stop_patience: config.early_stop_patience,
            position: self.loaders.train.position(),
            learning_rate,
            checkpoints: self.run.checkpoints(),
            save_best: {
                let (description, folder) = (self.description.clone(), self.run.model());
                Box::new(move |task: &PretrainingTask<N>| {
                    description.save_weights(&task.network, &folder)
                })
            },
            outcome: Mutex::new(Outcome {
                state,
                ..Outcome::default()
            }),
        });
        let path = self.run.path();
        let events = TensorBoardLogger::create(path, config.log_every_n_steps, step)
            .map_err(FileError::write(path))?;
        let _stop = StopOnSignal::new(&self.interrupter);
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
            .with_metric_logger(FileMetricLogger::new(path))
            .with_metric_logger(events)
            .with_application_logger(None)
            .with_default_checkpointers()
            .with_checkpointing_strategy(KeepLastTwo::new(self.run.checkpoints()))
            .with_interrupter(self.interrupter.clone())
            .with_training_strategy(TrainingStrategy::Custom(windows.clone()))
            .renderer(renderer(
                self.loaders.steps,
                step,
                &self.interrupter,
                self.plain,
            ))
            .num_epochs(windows.count())
            .launch(learner);

        let outcome = std::mem::take(&mut *windows.outcome.lock().expect("the training has ended"));
        if let Some(error) = result.error {
            return Err(Error::Training(error));
        }
        if let Some(error) = outcome.error {
            return Err(error);
        }
        if outcome.state.evaluations.best_loss.is_none() {
            self.description
                .save_weights(&result.model.network, &self.run.model())?;
        }
        Ok(outcome)
    }

    /// Gives the text encoder a cache of its frozen layers' states, on the CPU: other devices would
    /// have to copy the states, and their rounding differs.
    fn with_frozen_states<N: Pretrained>(&self, network: N) -> Result<N, Error> {
        let encoder = network.text_encoder();
        let is_frozen = encoder.is_some_and(|encoder| encoder.frozen_depth().is_some());
        if !is_frozen || !is_flex(&self.device) {
            return Ok(network);
        }
        let mut states = FrozenStates::new(FROZEN_STATES);
        let model = &self.config.model;
        if let Some(folder) = &model.frozen_states_dir {
            std::fs::create_dir_all(folder).map_err(FileError::write(folder))?;
            let capacity = (model.frozen_states_gib * f64::from(1 << 30)) as u64;
            states = states.with_folder(folder, capacity);
        }
        Ok(network.with_frozen_states(&states))
    }

    /// The step and the kernel of the checkpoint that is resumed, if its kernel is not the current
    /// one.
    fn other_kernel(&self) -> Option<(usize, &str)> {
        let state = self.resumed.as_ref()?;
        let saved = state.kernel.as_deref()?;
        let current = kernel_name(&self.device, self.config.precision);
        (current.as_deref() != Some(saved)).then_some((state.step, saved))
    }

    fn restore<N: Pretrained>(
        &self,
        learner: &mut Learner<PretrainingTask<N>>,
        step: usize,
    ) -> Result<(), Error> {
        let folder = self.run.checkpoints();
        let file = |part: &str| folder.join(format!("{part}-{step}.bpk"));
        let damaged = |part: &str| {
            let path = file(part);
            move |error: RecordError| WeightsError::damaged(&path, error)
        };
        learner.load_model(ModuleRecord::load(file("model")).map_err(damaged("model"))?);
        check_loaded(&learner.model(), &file("model"))?;
        learner.load_optim(OptimizerRecord::load(file("optim")).map_err(damaged("optim"))?);
        let scheduler = LrSchedulerRecord::load(file("scheduler")).map_err(damaged("scheduler"))?;
        learner.load_scheduler(scheduler);
        Ok(())
    }
}

/// Loaders over the configuration's data.
struct Loaders {
    train: TrainingLoader,
    valid: EvaluationLoader,
    steps: TrainingSteps,
    skips: Arc<Skips>,
}

impl Loaders {
    /// Number of the rows held out whose images, by content, are among those to train on.
    fn held_out_images_trained_on(&self) -> usize {
        let [train, valid] = [self.train.dataset(), self.valid.dataset()]
            .map(|dataset| dataset.studies().iter().map(|study| study.image_content));
        held_out_but_trained_on(train, valid)
    }

    fn new(
        config: &Config,
        studies: Studies,
        tokenizer: Option<ReportTokenizer>,
        description: &Description,
        device: &Device,
    ) -> Result<Self, Error> {
        let skips = studies.skips.clone();
        let datasets = Datasets::new(config, studies, tokenizer, description.max_tokens)?;
        let loader = loader_config(config);
        let steps_per_epoch = datasets.train.len() / config.batch_size.max(1);
        let steps = TrainingSteps {
            window: config.evaluation_window(steps_per_epoch),
            total: config
                .max_steps
                .unwrap_or(usize::MAX)
                .min(config.epochs.saturating_mul(steps_per_epoch)),
        };
        let autodiff = device.clone().autodiff();
        Ok(Self {
            train: TrainingLoader::new(datasets.train, &loader, steps, &autodiff)?,
            valid: EvaluationLoader::new(datasets.valid, &loader, device)?,
            steps,
            skips,
        })
    }
}

/// Checks that the networks are possible and fit into memory, before they are built.
fn check_memory(
    description: &Description,
    config: &Config,
    studies: &Studies,
    device: &Device,
) -> Result<(), Error> {
    description.network.validate()?;
    let pairs = &studies.split.train;
    let tokens = mean_words(pairs).min(description.max_tokens.unwrap_or(0));
    MemoryNeed::of_training(&description.network, config, pairs.len(), tokens).check(device)?;
    Ok(())
}

/// Mean number of words of a sentence, rounded down: a text has as many tokens at the least.
fn mean_words(studies: &[Study]) -> usize {
    let sentences = || studies.iter().flat_map(|study| &study.report.sentences);
    let words = |sentence: &String| sentence.split_whitespace().count();
    sentences().map(words).sum::<usize>() / sentences().count().max(1)
}

/// The networks of a configuration, with a text tower or without, and what goes into them.
fn describe(config: &Config, tower: Option<&TextTower>) -> Description {
    let model = &config.model;
    let image = ResNetConfig::new(model.res_base_model);
    Description {
        objective: config.objective,
        network: match tower {
            Some(tower) => NetworkConfig::ConVirt(ConVirtConfig {
                d_embedding: model.out_dim,
                pooling: model.pooling,
                pooling_layer: model.pooling_layer,
                loss: config.loss(),
                freeze_embeddings: model.freeze_embeddings,
                freeze_layers: model.freeze_layers.clone(),
                ..ConVirtConfig::new(image, tower.config.clone())
            }),
            None => NetworkConfig::SimClr(SimClrConfig {
                image,
                d_embedding: model.out_dim,
                loss: NtXentLossConfig {
                    temperature: config.loss.temperature,
                },
            }),
        },
        image_size: config.image_size(),
        eval_resize: config.dataset.eval_resize,
        longer_side: config.dataset.longer_side,
        exif_orientation: config.dataset.exif_orientation,
        max_tokens: tower.map(|tower| model.longest_text(tower.config.max_tokens())),
    }
}

/// Loss of a model that finds all alike: mean over pairs of ln(size of its batch), or of the
/// logarithm of a view's candidates.
///
/// Batches differ in size by one pair at most.
fn chance_loss(pairs: usize, batches: usize, objective: Objective) -> f64 {
    let (small, larger) = (pairs / batches.max(1), pairs % batches.max(1));
    let candidates = |size: usize| match objective {
        Objective::ConVirt => size,
        Objective::SimClr => (2 * size).saturating_sub(1),
    };
    let term =
        |size: usize, count: usize| (size * count) as f64 * (candidates(size).max(1) as f64).ln();
    (term(small + 1, larger) + term(small, batches - larger)) / pairs.max(1) as f64
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            |f: &mut fmt::Formatter<'_>, name: &str, text: String| writeln!(f, "{name:<16}{text}");
        line(f, "run", self.run.path().display().to_string())?;
        if let Some(state) = &self.resumed {
            line(f, "resumed at", format!("step {}", state.step))?;
        }
        let precision = self.config.precision;
        f.write_str(&describe_device(&self.device, precision))?;
        if let Some(change) = &self.data_change {
            writeln!(f, "warning: {change}")?;
        }
        if let Some((step, kernel)) = self.other_kernel() {
            writeln!(
                f,
                "warning: up to step {step} matrix products were computed by {kernel}: the \
                 continued run will not be bit for bit what it would have been; \
                 {KERNEL_VARIABLE}={kernel} keeps that kernel, where the processor has it"
            )?;
        }
        if self.config.fp16_precision && precision == Precision::Float32 {
            writeln!(
                f,
                "warning: `fp16_precision` is set, but there is no training in float16; for mixed \
                 precision set `precision: bf16`"
            )?;
        }
        line(f, "seed", self.config.seed.to_string())?;
        let unused = self.config.without_effect();
        if !unused.is_empty() {
            let unused = unused.join(", ");
            writeln!(
                f,
                "note: without texts these settings have no effect: {unused}"
            )?;
        }
        let counts = self.network.parameter_counts();
        let parts = [
            ("image encoder", counts.image_encoder),
            ("text encoder", counts.text_encoder),
            ("heads", counts.heads),
        ];
        for (name, count) in parts.into_iter().filter(|(_, count)| count.total > 0) {
            let [total, trainable] = [count.total, count.trainable].map(thousands);
            line(f, name, format!("{total} parameters, {trainable} trained"))?;
        }
        for load in &self.loads {
            line(f, "weights", load.to_string())?;
        }
        let (train, valid) = (
            self.loaders.train.dataset().len(),
            self.loaders.valid.dataset().len(),
        );
        let pairs = match self.config.objective {
            Objective::ConVirt => "pairs",
            Objective::SimClr => "images",
        };
        line(f, pairs, format!("{train} to train on, {valid} held out"))?;
        if let Some(problem) = too_few_to_validate(valid, self.config.batch_size) {
            writeln!(f, "warning: {problem}")?;
        }
        let known = self.loaders.held_out_images_trained_on();
        if known > 0 {
            writeln!(
                f,
                "warning: {known} of the images held out are trained on too, as their content tells"
            )?;
        }
        for (reason, count) in self.loaders.skips.counts() {
            line(f, "left out", format!("{count} {reason}"))?;
        }
        let TrainingSteps { window, total } = self.loaders.steps;
        line(
            f,
            "steps",
            format!(
                "{total} of {} {pairs}, evaluated every {window}",
                self.config.batch_size
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_the_logarithm_of_each_batchs_size() {
        let convirt = |pairs, batches| chance_loss(pairs, batches, Objective::ConVirt);
        assert!((convirt(64, 2) - 32f64.ln()).abs() < 1e-12);
        let mixed = (3.0 * 3f64.ln() + 2.0 * 2f64.ln()) / 5.0;
        assert!((convirt(5, 2) - mixed).abs() < 1e-12);
        let mixed = (3.0 * 5f64.ln() + 2.0 * 3f64.ln()) / 5.0;
        assert!((chance_loss(5, 2, Objective::SimClr) - mixed).abs() < 1e-12);
    }
}
