//! What a training changes step by step, and a checkpoint contains.

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::{ModuleRecord, RecordError};

use super::adam::Adam;
use super::average::Average;
use super::checkpoint::{AVERAGE, CheckpointFolder};
use super::pretrained::Pretrained;
use super::task::PretrainingTask;
use crate::config::Config;
use crate::error::Error;
use crate::weights::{WeightsError, check_loaded};

/// A network with its optimizer and, if the configuration has an `ema_decay`, its average.
pub(super) struct Trained<N> {
    pub task: PretrainingTask<N>,
    pub optimizer: ModuleOptimizer,
    pub average: Option<Average<N>>,
}

impl<N: Pretrained> Trained<N> {
    /// Starts from the weights of a task.
    pub fn new(task: PretrainingTask<N>, config: &Config) -> Self {
        let adam = Adam {
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
        };
        let average = config.ema_decay;
        Self {
            average: average.map(|decay| Average::new(&task.network, decay)),
            optimizer: adam.init(),
            task,
        }
    }

    /// Continues from the checkpoint of a step.
    pub fn load(self, folder: &CheckpointFolder, step: usize) -> Result<Self, Error> {
        let file = |part: &str| folder.part(part, step);
        let damaged = |part: &str| {
            let path = file(part);
            move |error: RecordError| WeightsError::damaged(&path, error)
        };
        let record = ModuleRecord::load(file("model")).map_err(damaged("model"))?;
        let task = self.task.load_record(record);
        check_loaded(&task, &file("model"))?;
        let record = OptimizerRecord::load(file("optim")).map_err(damaged("optim"))?;
        let average = match self.average {
            Some(average) => {
                let record = ModuleRecord::load(file(AVERAGE)).map_err(damaged(AVERAGE))?;
                let average = average.with_network(|network| network.load_record(record));
                check_loaded(average.network(), &file(AVERAGE))?;
                Some(average)
            }
            None => None,
        };
        Ok(Self {
            task,
            optimizer: self.optimizer.load_record(record),
            average,
        })
    }
}
