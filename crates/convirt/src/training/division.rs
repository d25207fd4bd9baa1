//! The division of batches into parts, and of the parts among peers.

use std::ops::Range;

use crate::config::Config;

/// How the batches of a training are divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    batch_size: usize,
    peers: usize,
    /// Positions of a batch that are computed at once.
    pub part_size: usize,
}

impl Division {
    /// Divides batches among some peers, in parts of the micro-batch's size, or else in one part for
    /// each.
    pub fn new(config: &Config, peers: usize) -> Self {
        let batch_size = config.batch_size;
        let of_peer = batch_size.div_ceil(peers);
        Self {
            batch_size,
            peers,
            part_size: config.micro_batch().unwrap_or(of_peer),
        }
    }

    /// Returns whether a batch has several parts or peers.
    pub fn is_divided(&self) -> bool {
        self.peers > 1 || self.parts() > 1
    }

    /// Returns the number of parts of a batch.
    pub fn parts(&self) -> usize {
        self.batch_size.div_ceil(self.part_size)
    }

    /// Returns the positions of a batch that a peer computes: whole parts, the same number for each
    /// peer or one more.
    pub fn share(&self, peer: usize) -> Range<usize> {
        let bound = |peer: usize| {
            let part = peer * self.parts() / self.peers;
            (part * self.part_size).min(self.batch_size)
        };
        bound(peer)..bound(peer + 1)
    }
}
