//! The preparation of a new or resumed run, before its first step.

mod text_encoder;
mod initial_weights;
mod describe;
mod loaders;

use std::path::Path;

use burn::tensor::Device;
use burn::train::Interrupter;
use convirt_data::{FileError, NewFile, ReportTokenizer, SplitStudies, Study};

use super::checkpoint::{CheckpointFolder, Newest};
use super::division::Division;
use super::{Resumption, Training};
use crate::compute::{ComputeError, DrawingDevice, device_name};
use crate::config::Config;
use crate::datasets::Studies;
use crate::error::Error;
use crate::inference::Description;
use crate::network::TrainingMemory;
use crate::peers::{PeerError, Peers, devices_of_process};
use crate::run::{
    Ending, InitialWeightsFile, RunDir, RunError, RunIdentity, RunLock, RunSplit, Summary,
};
use crate::weights::{ChosenEncoder, EncoderKind, WeightsKind, locate_weights};
use describe::describe;

pub(crate) use initial_weights::InitialWeights;
pub(super) use loaders::Loaders;
pub(crate) use text_encoder::TextTower;

/// Keys and sections that cannot change when a run is resumed.
const FIXED_ON_RESUME: &[&str] = &[
    "objective",
    "model",
    "seed",
    "batch_size",
    "micro_batch_size",
    "loss",
    "ema_decay",
    "fine_tune_from",
];

impl Training {
    /// Prepares a new run: reads the data, builds the networks, loads initial weights and creates
    /// the run's folder.
    ///
    /// # Errors
    ///
    /// If the configuration, data, weights or device cannot be used. The run's folder is created
    /// only after all of them have been read.
    pub fn prepare(config: Config) -> Result<Self, Error> {
        Self::prepare_with(config, Studies::read_with)
    }

    /// Prepares a new run on studies that were built in code, instead of those of
    /// `dataset.csv_file`; the settings of the table have no effect.
    ///
    /// # Errors
    ///
    /// Those of [`prepare`](Self::prepare), and
    /// [`ManifestError::EmptySplit`](convirt_data::ManifestError::EmptySplit) if there are no studies
    /// to train on or to validate on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use convirt::data::{Report, SplitConfig, Study, split};
    /// use convirt::{Config, Training};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # fn my_rows() -> Vec<(String, String, String)> { Vec::new() }
    /// let studies = my_rows().into_iter().enumerate().map(|(row, (image, text, patient))| Study {
    ///     row: row + 1,
    ///     image: image.into(),
    ///     image_size: [512, 512],
    ///     image_content: row as u64,
    ///     report: Report::new(text, 3),
    ///     group: patient,
    ///     split: None,
    /// });
    /// let split = split(studies.collect(), &SplitConfig { valid_size: 0.1, seed: 0 })?;
    /// let summary = Training::prepare_studies(Config::default(), split)?.run()?;
    /// println!("{summary}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn prepare_studies(config: Config, studies: SplitStudies) -> Result<Self, Error> {
        Self::prepare_with(config, |config, _| Studies::given(config, studies))
    }

    fn prepare_with(
        config: Config,
        studies: impl FnOnce(&mut Config, &Peers) -> Result<Studies, Error>,
    ) -> Result<Self, Error> {
        Self::leading(|processes| Self::prepare_for(processes, config, studies))
    }

    /// Prepares a training of all processes that were started together, of which this one is the
    /// first. The others are told of an error.
    fn leading(prepare: impl FnOnce(&Peers) -> Result<Self, Error>) -> Result<Self, Error> {
        let processes = Peers::processes()?;
        let prepared = match processes.rank() {
            0 => prepare(&processes),
            rank => Err(PeerError::NotTheLeader { rank }.into()),
        };
        match prepared {
            Ok(training) => Ok(Self {
                processes,
                ..training
            }),
            Err(error) => {
                processes.leave(&error.to_string());
                Err(error)
            }
        }
    }

    fn prepare_for(
        processes: &Peers,
        mut config: Config,
        studies: impl FnOnce(&mut Config, &Peers) -> Result<Studies, Error>,
    ) -> Result<Self, Error> {
        let (device, other_devices) = training_devices(&config, processes.size())?;
        let peers = processes.size() + other_devices.len();
        let studies = studies(&mut config, processes)?;
        let initial = InitialWeights::from_config(&config)?;
        let vocabulary = initial
            .as_ref()
            .and_then(|initial| initial.tokenizer.clone());
        let texts = studies.training_texts();
        let tower = (config.objective.reads_texts())
            .then(|| TextTower::new(&config, texts, vocabulary))
            .transpose()?;
        let description = describe(&config, tower.as_ref());
        description.network.validate()?;
        let memory = training_memory(&description, &studies, peers);
        if config.chooses_micro_batch() {
            memory.choose_micro_batch(&mut config, &device)?;
        }
        memory.need(&config, &device).check(&device)?;
        check_division(&config, peers)?;

        let drawing_device = DrawingDevice::with_seed(config.seed);
        let mut network = description
            .network
            .init(&drawing_device.clone().autodiff())?;
        let mut loads = Vec::new();
        let allow = &config.model.allow_unmatched;
        let mut chosen = ChosenEncoder::new(config.model.weights_prefix.as_deref());
        if let Some(initial) = initial {
            let (loaded, report) = network.load(&initial.weights, allow)?;
            network = loaded;
            loads.push(report);
        } else {
            if let Some(path) = tower.as_ref().and_then(|tower| tower.weights.as_ref()) {
                let file = chosen.open(path, EncoderKind::TextEncoder)?;
                let (loaded, report) = network.load_text_encoder(&file, allow)?;
                network = loaded;
                loads.extend(report);
            }
            if let Some(name) = config.model.image_weights_name() {
                let path = locate_weights("model.image_weights", &name, WeightsKind::ImageEncoder)?;
                let file = chosen.open(&path, EncoderKind::ImageEncoder)?;
                let (loaded, report) = network.load_image_encoder(&file, allow)?;
                network = loaded;
                loads.push(report);
            }
        }
        chosen.check_used()?;
        network.draw();
        drop(drawing_device);
        let network = network.moved_to(&device.clone().autodiff());
        let initial_weights = loads.iter().map(InitialWeightsFile::new);
        let initial_weights = initial_weights.collect::<Result<_, _>>()?;

        let mut identity = RunIdentity::new(&config, &studies.split, initial_weights);
        let split = RunSplit::table(&studies.split);
        let columns = studies.columns.clone();
        let tokenizer = tower.map(|tower| tower.tokenizer);
        let loaders = Loaders::new(&config, studies, tokenizer, &description, &device)?;
        let run = RunDir::create(&config.runs_dir, &config.name)?;
        let lock = RunLock::acquire(run.path())?;
        let path = run.config();
        NewFile::write_whole(&path, identity.configuration.as_bytes())
            .map_err(FileError::write(&path))?;
        RunSplit::save(&split, &run)?;
        description.save(loaders.train.dataset().tokenizer(), &run.model())?;
        if config.objective.reads_texts() {
            identity = identity.with_vocabulary(&run.model())?;
        }
        Ok(Self {
            config,
            run,
            device,
            processes: Peers::alone(),
            other_devices,
            network,
            description,
            columns,
            loaders,
            loads,
            identity,
            resumption: None,
            allows_changed_data: false,
            _lock: lock,
            interrupter: Interrupter::new(),
            finished: None,
            observers: Vec::new(),
            program: None,
            full_screen: false,
            stops_on_signals: false,
        })
    }

    /// Prepares a run to continue from its last checkpoint, with its own configuration and
    /// vocabulary. `run` is a path or a name, as in [`RunDir::open`]; `overrides` have the form
    /// of [`Config::from_file`].
    ///
    /// # Errors
    ///
    /// - [`RunNameError`](crate::inference::RunNameError) if the run does not exist
    /// - [`RunError::RunInUse`] if another process is training it
    /// - [`RunError::NoCheckpoint`] if it has no whole checkpoint
    /// - [`RunError::FixedOnResume`] if an override or an edit changes a setting that must stay
    /// - [`RunError::EndsBefore`] if the training would end before the step it has reached
    /// - those of [`prepare`](Self::prepare)
    pub fn resume(run: &Path, overrides: &[String]) -> Result<Self, Error> {
        Self::resume_with(run, overrides, Studies::read_with)
    }

    /// Prepares a run of [`prepare_studies`](Self::prepare_studies) to continue, with the same
    /// studies.
    ///
    /// # Errors
    ///
    /// Those of [`resume`](Self::resume).
    pub fn resume_studies(
        run: &Path,
        overrides: &[String],
        studies: SplitStudies,
    ) -> Result<Self, Error> {
        Self::resume_with(run, overrides, |config, _| Studies::given(config, studies))
    }

    fn resume_with(
        run: &Path,
        overrides: &[String],
        studies: impl FnOnce(&mut Config, &Peers) -> Result<Studies, Error>,
    ) -> Result<Self, Error> {
        Self::leading(|processes| Self::resume_for(processes, run, overrides, studies))
    }

    fn resume_for(
        processes: &Peers,
        run: &Path,
        overrides: &[String],
        studies: impl FnOnce(&mut Config, &Peers) -> Result<Studies, Error>,
    ) -> Result<Self, Error> {
        for setting in overrides {
            check_may_change(setting.split('=').next().unwrap_or_default(), "")?;
        }
        let run = RunDir::open(Path::new(crate::config::DEFAULT_RUNS_DIR), run)?;
        let lock = RunLock::acquire(run.path())?;
        let Newest { state, passed_over } = CheckpointFolder::new(run.checkpoints()).newest()?;
        let (then, file) = (&state.identity, run.config());
        let source = format!("the checkpoint of step {}", state.step);
        let earlier = Config::from_yaml(&source, &then.configuration, &[])?;
        let written = Config::from_written(&file, &[])?;
        let mut config = Config::from_written(&file, overrides)?;
        let settings = earlier.changes_to(&config);
        for (key, change) in &settings {
            check_may_change(key, &format!("config.yaml: {change}"))?;
        }
        // What an earlier resumption changed is in the file before it is in a checkpoint.
        let is_known = run.last_change().is_some_and(|it| it == written.to_yaml());
        let edits = earlier.changes_to(&written).into_values();
        let edits = edits.filter(|_| !is_known);
        let mut unexpected: Vec<String> = edits.map(|it| format!("config.yaml: {it}")).collect();

        let (device, other_devices) = training_devices(&config, processes.size())?;
        let peers = processes.size() + other_devices.len();
        let studies = studies(&mut config, processes)?;
        let columns = studies.columns.clone();
        let weights = then.initial_weights.clone();
        let mut identity = RunIdentity::new(&config, &studies.split, weights);
        if config.objective.reads_texts() {
            identity = identity.with_vocabulary(&run.model())?;
        }
        unexpected.extend(identity.changes_since(then));
        let split = (!unexpected.is_empty()).then(|| RunSplit::table(&studies.split));
        let description = Description::load(&run.model())?;
        let tokenizer = (description.objective.reads_texts())
            .then(|| ReportTokenizer::from_folder(&run.model(), None))
            .transpose()?;
        description.network.validate()?;
        training_memory(&description, &studies, peers)
            .need(&config, &device)
            .check(&device)?;
        check_division(&config, peers)?;
        let network = description
            .network
            .init_for_checkpoint(&device.clone().autodiff())?;
        let loaders = Loaders::new(&config, studies, tokenizer, &description, &device)?;
        if state.step > loaders.steps.total {
            return Err(RunError::EndsBefore {
                run: run.path().to_path_buf(),
                step: state.step,
                total: loaders.steps.total,
            }
            .into());
        }
        loaders.train.position().set(state.step);
        let pairs = loaders.train.dataset().len();
        let earlier_total = earlier.total_steps(pairs / config.batch_size.max(1));
        let patience = config.early_stop_patience.unwrap_or(usize::MAX);
        let is_at_end =
            state.step >= loaders.steps.total || state.evaluations.since_best >= patience;
        let finished = Summary::load(&run.summary()).filter(|summary| {
            let is_of_end = summary.ending != Ending::Interrupted && summary.steps == state.step;
            is_at_end && state.is_evaluated() && is_of_end
        });
        Ok(Self {
            config,
            run,
            device,
            processes: Peers::alone(),
            other_devices,
            network,
            description,
            columns,
            loaders,
            loads: Vec::new(),
            identity,
            resumption: Some(Resumption {
                state,
                passed_over,
                settings: settings.into_values().collect(),
                unexpected,
                split,
                earlier_total,
            }),
            allows_changed_data: false,
            _lock: lock,
            interrupter: Interrupter::new(),
            finished,
            observers: Vec::new(),
            program: None,
            full_screen: false,
            stops_on_signals: false,
        })
    }
}

/// Checks that a resumption may change a setting; `change` is what its file has of it.
fn check_may_change(key: &str, change: &str) -> Result<(), RunError> {
    let section = key.split('.').next().unwrap_or_default();
    if FIXED_ON_RESUME.contains(&section) {
        return Err(RunError::FixedOnResume {
            key: key.to_string(),
            change: change.to_string(),
        });
    }
    Ok(())
}

/// Returns this process' device and those of its assistants, which compute in one precision.
pub(super) fn training_devices(
    config: &Config,
    processes: usize,
) -> Result<(Device, Vec<Device>), Error> {
    let (own, others) = devices_of_process(config.device.as_deref(), processes)?;
    let precision = config.precision_on(&own);
    if others.iter().any(|it| config.precision_on(it) != precision) {
        let devices: Vec<_> = others.iter().chain([&own]).map(device_name).collect();
        let devices = devices.join(", ");
        return Err(ComputeError::PrecisionsDiffer { devices }.into());
    }
    Ok((own, others))
}

/// Checks that each peer has a part of a batch to compute.
fn check_division(config: &Config, peers: usize) -> Result<(), ComputeError> {
    let parts = Division::new(config, peers).parts();
    match parts < peers {
        true => Err(ComputeError::IdlePeers { parts, peers }),
        false => Ok(()),
    }
}

/// What decides how much memory the training takes, beside the configuration.
fn training_memory<'a>(
    description: &'a Description,
    studies: &Studies,
    devices: usize,
) -> TrainingMemory<'a> {
    let pairs = &studies.split.train;
    TrainingMemory {
        network: &description.network,
        pairs: pairs.len(),
        tokens: mean_words(pairs).min(description.longest_text().unwrap_or(0)),
        devices,
    }
}

/// Computes the mean number of words of a sentence, rounded down. Texts have at least as many
/// tokens on average.
fn mean_words(studies: &[Study]) -> usize {
    let sentences = || studies.iter().flat_map(|study| &study.report.sentences);
    let words = |sentence: &String| sentence.split_whitespace().count();
    sentences().map(words).sum::<usize>() / sentences().count().max(1)
}
