//! The order of studies in batches.

use std::ops::Range;

use rand::seq::SliceRandom;

use crate::randomness::{Purpose, stream};

/// The studies that belong to one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchPlan {
    /// Number of the batch: the training step, or the position in the evaluation.
    pub number: usize,
    /// Epoch of the random choices.
    pub epoch: u64,
    /// Positions in the data set.
    pub indices: Vec<usize>,
}

/// The order of the studies in each epoch.
#[derive(Clone, Debug)]
pub(super) struct Order {
    studies: usize,
    seed: u64,
    batching: Batching,
    /// The most recent permutation with its epoch; successive batches mostly share an epoch.
    current: Option<(u64, Vec<usize>)>,
}

#[derive(Clone, Copy, Debug)]
enum Batching {
    /// Full batches without end in a new order each epoch; the remainder of an epoch is dropped.
    Training { batch_size: usize },
    /// Every pair once, in batches whose sizes differ by at most one.
    Evaluation { batches: usize },
}

impl Order {
    pub fn training(studies: usize, seed: u64, batch_size: usize) -> Self {
        Self::new(studies, seed, Batching::Training { batch_size })
    }

    pub fn evaluation(studies: usize, seed: u64, batch_size: usize) -> Self {
        let batches = studies.div_ceil(batch_size);
        Self::new(studies, seed, Batching::Evaluation { batches })
    }

    fn new(studies: usize, seed: u64, batching: Batching) -> Self {
        Self {
            studies,
            seed,
            batching,
            current: None,
        }
    }

    /// Returns the number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        match self.batching {
            Batching::Training { batch_size } => self.studies / batch_size,
            Batching::Evaluation { batches } => batches,
        }
    }

    /// Returns the positions, in the order of the epoch, of a batch within the epoch.
    pub fn positions(&self, batch: usize) -> Range<usize> {
        match self.batching {
            Batching::Training { batch_size } => batch * batch_size..(batch + 1) * batch_size,
            Batching::Evaluation { batches } => {
                let start = |batch: usize| batch * self.studies / batches;
                start(batch)..start(batch + 1)
            }
        }
    }

    /// Returns the studies of batch `number`, counted through all epochs.
    pub fn plan(&mut self, number: usize) -> BatchPlan {
        let per_epoch = self.batches_per_epoch();
        let epoch = (number / per_epoch) as u64;
        let positions = self.positions(number % per_epoch);
        let indices = self.permutation(epoch)[positions].to_vec();
        BatchPlan {
            number,
            epoch,
            indices,
        }
    }

    fn permutation(&mut self, epoch: u64) -> &[usize] {
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| *current != epoch)
        {
            let mut order: Vec<_> = (0..self.studies).collect();
            order.shuffle(&mut stream(Purpose::Order, self.seed, epoch, 0));
            self.current = Some((epoch, order));
        }
        self.current.as_ref().map_or(&[], |(_, order)| order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut indices: Vec<usize>) -> Vec<usize> {
        indices.sort_unstable();
        indices
    }

    #[test]
    fn an_epoch_has_each_study_once_except_for_the_remainder() {
        let mut order = Order::training(10, 3, 4);
        assert_eq!(order.batches_per_epoch(), 2);
        for epoch in 0..5 {
            let batches: Vec<_> = (0..2).map(|batch| order.plan(2 * epoch + batch)).collect();
            assert!(batches.iter().all(|batch| batch.epoch == epoch as u64));
            let mut indices: Vec<_> = batches.into_iter().flat_map(|b| b.indices).collect();
            indices.sort_unstable();
            indices.dedup();
            assert_eq!(indices.len(), 8);
        }
    }

    #[test]
    fn each_epoch_and_each_seed_has_its_own_order() {
        let first = |seed, epoch| Order::training(100, seed, 100).plan(epoch).indices;
        assert_ne!(first(0, 0), first(0, 1));
        assert_ne!(first(0, 0), first(1, 0));
        assert_eq!(first(0, 1), first(0, 1));
    }

    #[test]
    fn steps_may_be_planned_in_any_order() {
        let mut forwards = Order::training(10, 3, 4);
        let mut backwards = forwards.clone();
        let ahead: Vec<_> = (0..6).map(|step| forwards.plan(step)).collect();
        let mut back: Vec<_> = (0..6).rev().map(|step| backwards.plan(step)).collect();
        back.reverse();
        assert_eq!(ahead, back);
    }

    #[test]
    fn evaluation_has_all_studies_in_batches_of_equal_size() {
        for (studies, batch_size, sizes) in [
            (33, 32, vec![16, 17]),
            (7, 3, vec![2, 2, 3]),
            (5, 32, vec![5]),
            (1, 32, vec![1]),
            (64, 32, vec![32, 32]),
        ] {
            let mut order = Order::evaluation(studies, 3, batch_size);
            let batches: Vec<_> = (0..order.batches_per_epoch())
                .map(|batch| order.plan(batch).indices)
                .collect();
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            let all: Vec<_> = (0..studies).collect();
            assert_eq!(sorted(batches.concat()), all);
        }
    }
}
