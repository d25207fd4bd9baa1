//! Devices and processes that train one network together, read a table or embed a large set.
//!
//! In a training each peer has the whole network and computes its part of every batch. What they
//! exchange is the embeddings and the gradients, so that each makes the same step on the loss of the
//! whole batch.
//! All peers take part in every exchange, in the same order. Peer 0, the leader, decides what comes
//! next, and it alone writes files.

mod error;
mod transport;
mod threads;
#[cfg(feature = "mpi")]
mod mpi;
mod launcher;
mod devices;
mod work;
#[cfg(feature = "train")]
mod wire;

pub(crate) use devices::devices_of_process;
pub use error::PeerError;
pub use launcher::process_count;
#[cfg(feature = "train")]
pub(crate) use wire::{SentSkip, SentStudy};
pub(crate) use work::Work;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use transport::{Alone, Transport};

/// The connection of one peer to all peers.
pub(crate) struct Peers {
    rank: usize,
    size: usize,
    /// The transport, or the error after which nothing can be exchanged any more.
    transport: Mutex<Result<Box<dyn Transport>, PeerError>>,
    /// Bytes sent to other peers so far.
    sent: AtomicU64,
}

/// The peer that decides, and that writes the run's files.
const LEADER: usize = 0;

/// The connection of this process, between two uses.
static KEPT: Mutex<Option<Peers>> = Mutex::new(None);

impl Peers {
    /// A peer without others.
    pub fn alone() -> Self {
        Self::new(Alone)
    }

    /// Connects `size` peers, one for each thread of this process, the leader first.
    pub fn threads(size: usize) -> Vec<Self> {
        threads::connect(size).into_iter().map(Self::new).collect()
    }

    /// Connects the processes that `mpirun` or `srun` has started together. A process that was
    /// started by itself is alone.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoMpi`] if this build cannot connect processes, [`PeerError::MpiHasEnded`] if
    /// this process has connected before.
    pub fn processes() -> Result<Self, PeerError> {
        if let Some(kept) = Self::take_kept() {
            return Ok(kept);
        }
        if launcher::process_count() == 1 {
            return Ok(Self::alone());
        }
        #[cfg(feature = "mpi")]
        return mpi::Processes::join()
            .map(Self::new)
            .ok_or(PeerError::MpiHasEnded);
        #[cfg(not(feature = "mpi"))]
        Err(PeerError::NoMpi)
    }

    fn new(transport: impl Transport + 'static) -> Self {
        Self {
            rank: transport.rank(),
            size: transport.size(),
            transport: Mutex::new(Ok(Box::new(transport))),
            sent: AtomicU64::new(0),
        }
    }

    /// Returns the number of this peer, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the number of peers.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns whether this peer decides and writes files.
    pub fn is_leader(&self) -> bool {
        self.rank() == LEADER
    }

    /// Returns the number of bytes that this peer has sent to others.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends a message to each peer, and returns those that each peer sent to this one.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if a peer has left or cannot be reached; all later exchanges fail with it too.
    ///
    /// # Panics
    ///
    /// When there is not one message for each peer.
    pub fn exchange(&self, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, PeerError> {
        assert_eq!(messages.len(), self.size(), "one message for each peer");
        let others = messages.iter().enumerate();
        let others = others.filter(|(peer, _)| *peer != self.rank());
        let bytes: usize = others.map(|(_, message)| message.len()).sum();
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.deliver(Ok(messages))
    }

    /// Sends a message to all peers, and returns the messages of all, in their order.
    ///
    /// # Errors
    ///
    /// Those of [`exchange`](Self::exchange).
    pub fn gather(&self, message: Vec<u8>) -> Result<Vec<Vec<u8>>, PeerError> {
        self.exchange(vec![message; self.size()])
    }

    /// Gathers a value of each peer.
    ///
    /// # Errors
    ///
    /// Those of [`exchange`](Self::exchange).
    pub fn gather_values<T: Serialize + DeserializeOwned>(
        &self,
        value: &T,
    ) -> Result<Vec<T>, PeerError> {
        let messages = self.gather(encoded(value))?;
        Ok(messages.iter().map(|message| decoded(message)).collect())
    }

    /// Sends a value to the leader, and returns those of all peers to it; nothing to others.
    ///
    /// # Errors
    ///
    /// Those of [`exchange`](Self::exchange).
    pub fn report<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Vec<T>, PeerError> {
        let mut messages = vec![Vec::new(); self.size()];
        messages[LEADER] = encoded(value);
        let received = self.exchange(messages)?.into_iter();
        Ok(received
            .filter(|_| self.is_leader())
            .map(|it| decoded(&it))
            .collect())
    }

    /// Sends a value of the leader to all peers; others pass `None`.
    ///
    /// # Errors
    ///
    /// Those of [`exchange`](Self::exchange).
    ///
    /// # Panics
    ///
    /// When the leader passes `None`.
    pub fn lead<T: Serialize + DeserializeOwned>(&self, value: Option<T>) -> Result<T, PeerError> {
        let message = value.map(|value| encoded(&value)).unwrap_or_default();
        let messages = match self.is_leader() {
            true => vec![message; self.size()],
            false => vec![Vec::new(); self.size()],
        };
        Ok(decoded(&self.exchange(messages)?[LEADER]))
    }

    /// Returns the connection that is kept, if there is one.
    pub fn take_kept() -> Option<Self> {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps the connection for the next call of [`processes`](Self::processes).
    pub fn keep(self) {
        *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    /// Ends the connection, after the last exchange. Processes wait here for all others.
    pub fn end(&self) {
        *self.transport() = Err(PeerError::Gone { rank: self.rank });
    }

    /// Tells the others that this peer takes part no longer: their next exchange is an error with
    /// this reason.
    pub fn leave(&self, reason: &str) {
        // The others may have left for a reason of their own.
        let _ = self.deliver(Err(reason.to_string()));
    }

    fn deliver(&self, messages: Result<Vec<Vec<u8>>, String>) -> Result<Vec<Vec<u8>>, PeerError> {
        let mut transport = self.transport();
        let received = transport.as_ref().map_err(Clone::clone)?.exchange(messages);
        if let Err(error) = &received {
            *transport = Err(error.clone());
        }
        received
    }

    fn transport(&self) -> MutexGuard<'_, Result<Box<dyn Transport>, PeerError>> {
        let transport = self.transport.lock();
        transport.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} of {}", self.rank, self.size)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.leave("it has ended before the work");
        }
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("messages are plain data")
}

fn decoded<T: DeserializeOwned>(message: &[u8]) -> T {
    rmp_serde::from_slice(message).expect("all peers run the same program")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::thread;

    use super::*;

    /// Runs `work` in a thread for each of some peers, and returns the results in their order.
    pub(crate) fn with_threads<R: Send>(size: usize, work: impl Fn(Peers) -> R + Sync) -> Vec<R> {
        thread::scope(|scope| {
            let peers = Peers::threads(size).into_iter();
            let threads: Vec<_> = peers.map(|peer| scope.spawn(|| work(peer))).collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.collect()
        })
    }

    #[test]
    fn each_peer_gets_what_the_others_sent_to_it() {
        let received = with_threads(3, |peers| {
            let rank = peers.rank() as u8;
            let received = peers.exchange((0..3).map(|to| vec![rank, to]).collect());
            (received.unwrap(), peers.sent())
        });
        for (rank, (received, sent)) in received.into_iter().enumerate() {
            let rank = rank as u8;
            assert_eq!(received, [vec![0, rank], vec![1, rank], vec![2, rank]]);
            assert_eq!(sent, 4);
        }
    }

    #[test]
    fn values_are_gathered_in_the_order_of_the_peers_and_the_leader_decides() {
        let results = with_threads(3, |peers| {
            let own = 0.1 + peers.rank() as f64;
            let all = peers.gather_values(&own).unwrap();
            let at_leader = peers.report(&own).unwrap();
            let decision = peers.is_leader().then(|| "go".to_string());
            (all, at_leader, peers.lead(decision).unwrap())
        });
        for (rank, (all, at_leader, decision)) in results.into_iter().enumerate() {
            assert_eq!(all, [0.1, 1.1, 2.1]);
            assert_eq!(at_leader, if rank == 0 { all } else { Vec::new() });
            assert_eq!(decision, "go");
        }
    }

    #[test]
    fn a_peer_that_leaves_tells_why_and_one_that_ends_is_noticed() {
        let results = with_threads(3, |peers| {
            if peers.rank() == 1 {
                peers.leave("the disk is full");
            }
            [peers.gather(vec![1]), peers.gather(vec![2])].map(|it| it.unwrap_err().to_string())
        });
        for messages in results {
            assert_eq!(messages, ["peer 1 has left: the disk is full"; 2]);
        }
        let results = with_threads(2, |peers| match peers.rank() {
            0 => peers.gather(vec![1]).unwrap_err().to_string(),
            _ => String::new(),
        });
        assert_eq!(results[0], "peer 1 has left: it has ended before the work");
    }

    #[test]
    fn a_peer_alone_exchanges_with_itself() {
        let peers = Peers::alone();
        assert!(peers.is_leader());
        assert_eq!(peers.gather(vec![7]).unwrap(), [[7]]);
        assert_eq!(peers.lead(Some(3)).unwrap(), 3);
        assert_eq!(peers.sent(), 0);
    }
}
