//! A peer that trains with the leader and does what the leader says.
//!
//! It makes the same steps on its own copy of the network, and writes nothing.

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;
use burn::train::TrainStep;
use convirt_data::DataError;
use convirt_ops::with_dropout_seed;

use super::average::evaluated;
use super::checkpoint::CheckpointFolder;
use super::command::Command;
use super::division::Division;
use super::evaluated::{EvaluatedBatch, EvaluatedShare, hash_of_parameters};
use super::fit::step_seed;
use super::gradient_cache::PartedStep;
use super::prepare::Loaders;
use super::pretrained::Pretrained;
use super::task::PretrainingTask;
use super::trained::Trained;
use crate::config::Config;
use crate::error::Error;
use crate::inference::Description;
use crate::network::Network;
use crate::peers::{Peers, SentSkip};

/// What a peer needs to assist in a training.
pub(super) struct Assistant {
    pub config: Config,
    pub description: Description,
    pub checkpoints: CheckpointFolder,
    /// All pairs, of which the assistant takes its share.
    pub loaders: Loaders,
    pub device: Device,
}

impl Assistant {
    /// Assists until the leader ends the training.
    ///
    /// # Errors
    ///
    /// If a checkpoint or the data cannot be read, the device fails, or a peer cannot be reached.
    pub fn assist(&self, peers: &Peers) -> Result<(), Error> {
        let autodiff = self.device.clone().autodiff();
        match self.description.network.init_for_checkpoint(&autodiff)? {
            Network::ConVirt(network) => self.assist_with(*network, peers),
            Network::SimClr(network) => self.assist_with(*network, peers),
        }
    }

    fn assist_with<N: Pretrained>(&self, network: N, peers: &Peers) -> Result<(), Error> {
        let autodiff = self.device.clone().autodiff();
        // The checkpoint that the leader has written or resumed from.
        let step: usize = peers.lead(None)?;
        let task = PretrainingTask::configured(network, &self.config, &self.device);
        let trained = Trained::new(task, &self.config);
        let Trained {
            mut task,
            mut optimizer,
            mut average,
        } = trained.load(&self.checkpoints, step)?;
        let division = Division::new(&self.config, peers.size());
        let train = (self.loaders.train).with_share(division.share(peers.rank()), &autodiff);
        train.position().set(step);
        let valid = (self.loaders.valid).with_share(peers.rank(), peers.size(), &self.device);
        let parted = PartedStep {
            part_size: division.part_size,
            peers,
            device: &autodiff,
        };
        let (mut shares, mut gradients) = (train.shares(), None);
        loop {
            match peers.lead(None)? {
                Command::Step { loss_scale } => {
                    task.loss_scale = loss_scale;
                    let seed = step_seed(self.config.seed, train.position().get());
                    let share = shares.next().or_else(|| {
                        // A window has ended.
                        shares = train.shares();
                        shares.next()
                    });
                    let step = train.position().get();
                    let share = share.ok_or(Error::NoBatches { step })?;
                    let share = share.map_err(DataError::from)?;
                    let output = with_dropout_seed(seed, 0, || parted.run(&task, &share))?;
                    gradients = output.map(|output| output.grads);
                }
                Command::Optimize { rate } => {
                    if let Some(gradients) = gradients.take() {
                        task = task.optimize(&mut optimizer, rate.into(), gradients);
                        if let Some(average) = &mut average {
                            average.update(&task.network, train.position().get());
                        }
                    }
                }
                Command::Evaluate => {
                    let model = evaluated(&task, average.as_ref());
                    let mut batches = Vec::new();
                    for batch in valid.iter() {
                        let batch = batch.map_err(Error::Evaluation)?;
                        let cause = |cause| Error::Step { step, cause };
                        batches.push(EvaluatedBatch::compute(&model, batch).map_err(cause)?);
                    }
                    let skips = self.loaders.skips.list();
                    peers.gather_values(&EvaluatedShare {
                        batches,
                        skips: skips.iter().map(SentSkip::from).collect(),
                        parameters: hash_of_parameters(&task.network),
                    })?;
                }
                Command::End => return Ok(()),
            }
        }
    }
}
