//! The data loaders of a run.

use std::sync::Arc;

use burn::tensor::Device;
use convirt_data::{
    EvaluationLoader, ReportTokenizer, Skips, TrainingLoader, TrainingSteps, count_leaked_images,
};

use crate::config::Config;
use crate::datasets::{Datasets, Studies, loader_config};
use crate::error::Error;
use crate::inference::Description;

/// The loaders of training and validation.
#[derive(Clone)]
pub(in crate::training) struct Loaders {
    pub train: TrainingLoader,
    pub valid: EvaluationLoader,
    pub steps: TrainingSteps,
    pub skips: Arc<Skips>,
}

impl Loaders {
    /// Creates the loaders of a configuration. Training batches are on the autodiff `device`.
    pub fn new(
        config: &Config,
        studies: Studies,
        tokenizer: Option<ReportTokenizer>,
        description: &Description,
        device: &Device,
    ) -> Result<Self, Error> {
        let skips = studies.skips.clone();
        let datasets = Datasets::new(config, studies, tokenizer.zip(description.longest_text()))?;
        let loader = loader_config(config);
        let steps_per_epoch = datasets.train.len() / config.batch_size.max(1);
        let steps = TrainingSteps {
            window: config.evaluation_window(steps_per_epoch),
            total: config.total_steps(steps_per_epoch),
        };
        let autodiff = device.clone().autodiff();
        Ok(Self {
            train: TrainingLoader::new(datasets.train, &loader, steps, &autodiff)?,
            valid: EvaluationLoader::new(datasets.valid, &loader, device)?,
            steps,
            skips,
        })
    }

    /// Counts the held-out images that have the same content as a training image.
    pub fn leaked_images(&self) -> usize {
        let [train, valid] = [self.train.dataset(), self.valid.dataset()]
            .map(|dataset| dataset.studies().iter().map(|study| study.image_content));
        count_leaked_images(train, valid)
    }
}
