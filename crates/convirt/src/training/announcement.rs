//! The training as the leader announces it to other processes, which read no table and choose
//! nothing themselves.

use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::{DataError, ReportTokenizer, Skip, Skips, SplitStudies, Study};
use serde::{Deserialize, Serialize};

use super::Training;
use super::assistant::Assistant;
use super::checkpoint::CheckpointFolder;
use super::interrupt::StopOnSignal;
use super::prepare::{Loaders, own_device};
use super::wire::{SentSkip, SentStudy};
use crate::config::Config;
use crate::datasets::Studies;
use crate::error::Error;
use crate::inference::Description;
use crate::peers::{PeerError, Peers, process_count};
use crate::run::{RunDir, RunError};

/// What a process needs to know to assist.
#[derive(Serialize, Deserialize)]
pub(super) struct Announcement {
    run: PathBuf,
    /// The configuration, as YAML.
    config: String,
    train: Vec<SentStudy>,
    valid: Vec<SentStudy>,
    /// Rows of the table.
    rows: usize,
    skips: Vec<SentSkip>,
}

impl Training {
    /// Assists the leader of a training until its end, if this process was started together with
    /// others by `mpirun` or `srun` and is not the first of them. The first one, and a process
    /// started by itself, return `false` at once and train.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use convirt::{Config, Training};
    ///
    /// # fn main() -> Result<(), convirt::Error> {
    /// if !Training::assist()? {
    ///     let config = Config::from_file("config.yaml", &[])?;
    ///     println!("{}", Training::prepare(config)?.run()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If this build cannot connect processes (feature `mpi`), or this process cannot go on: it
    /// reads images and a checkpoint, and has a device. What ends another process is that one's error.
    pub fn assist() -> Result<bool, Error> {
        let peers = Peers::processes()?;
        if peers.is_leader() {
            peers.keep();
            return Ok(false);
        }
        StopOnSignal::ignore();
        match assist(&peers) {
            Ok(()) => peers.end(),
            // The peer that has left tells of its error itself.
            Err(Error::Peer(PeerError::Left { .. })) => {}
            Err(error) => {
                peers.leave(&error.to_string());
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Returns the number of processes that `mpirun` or `srun` has started together, this one among
    /// them; 1 for a process that was started by itself.
    pub fn process_count() -> usize {
        process_count()
    }

    /// Describes this training for other processes.
    pub(super) fn announcement(&self) -> Announcement {
        let loaders = &self.loaders;
        let sent = |studies: &[Study]| studies.iter().map(SentStudy::from).collect();
        Announcement {
            run: self.run.path().to_path_buf(),
            config: self.config.to_yaml(),
            train: sent(loaders.train.dataset().studies()),
            valid: sent(loaders.valid.dataset().studies()),
            rows: loaders.skips.rows(),
            skips: loaders.skips.list().iter().map(SentSkip::from).collect(),
        }
    }
}

fn assist(peers: &Peers) -> Result<(), Error> {
    match peers.lead(None)? {
        Some(announcement) => Assistant::prepare(announcement)?.assist(peers),
        // There is nothing left to train.
        None => Ok(()),
    }
}

impl Assistant {
    /// Prepares this process to assist in a training.
    fn prepare(announcement: Announcement) -> Result<Self, Error> {
        let config = Config::from_yaml("the leader's configuration", &announcement.config, &[])?;
        let run = announcement.run;
        if !run.is_dir() {
            return Err(RunError::NotOnThisMachine { run }.into());
        }
        let run = RunDir::open(&config.runs_dir, &run)?;
        let device = own_device(&config)?;
        let received = |studies: Vec<SentStudy>| studies.into_iter().map(Study::from).collect();
        let data = &config.dataset;
        let skips = Skips::new(&data.csv_file, announcement.rows, data.max_bad_share);
        for skip in announcement.skips {
            skips.record(Skip::from(skip)).map_err(DataError::from)?;
        }
        let studies = Studies {
            columns: None,
            split: SplitStudies {
                train: received(announcement.train),
                valid: received(announcement.valid),
                test: Vec::new(),
            },
            skips: Arc::new(skips),
        };
        let description = Description::load(&run.model())?;
        let tokenizer = (description.objective.reads_texts())
            .then(|| ReportTokenizer::from_folder(&run.model(), None))
            .transpose()?;
        let loaders = Loaders::new(&config, studies, tokenizer, &description, &device)?;
        Ok(Self {
            description,
            checkpoints: CheckpointFolder::new(run.checkpoints()),
            loaders,
            device,
            config,
        })
    }
}
