//! The training as the leader announces it to other processes, which read no table and choose
//! nothing themselves.

use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::{DataError, ReportTokenizer, Skip, Skips, SplitStudies, Study};
use serde::{Deserialize, Serialize};

use super::Training;
use super::assistant::Assistant;
use super::checkpoint::CheckpointFolder;
use super::prepare::{Loaders, training_devices};
use crate::config::Config;
use crate::datasets::Studies;
use crate::error::Error;
use crate::inference::Description;
use crate::peers::{Peers, SentSkip, SentStudy};
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

/// Assists in the training that the leader announces.
pub(crate) fn assist_in_training(peers: &Peers) -> Result<(), Error> {
    Assistant::prepare(peers.lead(None)?, peers.size())?.assist(peers)
}

impl Assistant {
    /// Prepares this process to assist in a training.
    fn prepare(announcement: Announcement, processes: usize) -> Result<Self, Error> {
        let config = Config::from_yaml("the leader's configuration", &announcement.config, &[])?;
        let run = announcement.run;
        if !run.is_dir() {
            return Err(RunError::NotOnThisMachine { run }.into());
        }
        let run = RunDir::open(&config.runs_dir, &run)?;
        let (device, _) = training_devices(&config, processes)?;
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
