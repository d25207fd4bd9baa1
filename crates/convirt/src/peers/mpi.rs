//! Peers that are processes, on one machine or several, joined by MPI.
//!
//! Messages go from process to process instead of through MPI's collective operations: those wait
//! with a busy processor, which the other processes of a CPU need, and add in an order of their own.

use std::thread;
use std::time::Duration;

use mpi::Threading;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::PeerError;
use super::transport::Transport;

/// Tag of a message.
const MESSAGE: i32 = 0;

/// Tag of the reason for which a peer leaves.
const REASON: i32 = 1;

/// Looks for messages before a pause.
const LOOKS: usize = 200;

/// Pause between looks.
const PAUSE: Duration = Duration::from_micros(500);

/// All processes of a program.
pub(super) struct Processes {
    /// Ends MPI when it is dropped, and waits there until all processes do.
    universe: Universe,
}

impl Processes {
    /// Joins the processes that were started together; `None` if this process has done so before.
    pub fn join() -> Option<Self> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)?;
        assert!(
            threading >= Threading::Serialized,
            "this MPI can only be used by the first thread"
        );
        Some(Self { universe })
    }

    fn world(&self) -> SimpleCommunicator {
        self.universe.world()
    }

    /// Receives a message from a peer, if one has arrived.
    fn receive(&self, peer: usize) -> Option<(i32, Vec<u8>)> {
        let world = self.world();
        let peer = world.process_at_rank(peer as i32);
        let (message, status) = peer.immediate_matched_probe()?;
        let mut bytes = vec![0; status.count(u8::equivalent_datatype()) as usize];
        message.matched_receive_into(&mut bytes[..]);
        Some((status.tag(), bytes))
    }
}

impl Transport for Processes {
    fn rank(&self) -> usize {
        self.world().rank() as usize
    }

    fn size(&self) -> usize {
        self.world().size() as usize
    }

    /// Sends and receives everything even if a peer leaves, so that nobody waits for a message that
    /// is not fetched.
    fn exchange(&self, messages: Result<Vec<Vec<u8>>, String>) -> Result<Vec<Vec<u8>>, PeerError> {
        let (rank, size) = (self.rank(), self.size());
        let reason = messages.as_ref().err().cloned();
        let tag = if reason.is_some() { REASON } else { MESSAGE };
        let mut messages = messages.unwrap_or_else(|reason| vec![reason.into_bytes(); size]);
        let own = std::mem::take(&mut messages[rank]);
        let mut received: Vec<Option<(i32, Vec<u8>)>> = vec![None; size];
        received[rank] = Some((tag, own));
        let world = self.world();
        mpi::request::multiple_scope(size, |scope, sends| {
            for (peer, message) in messages
                .iter()
                .enumerate()
                .filter(|(peer, _)| *peer != rank)
            {
                let peer = world.process_at_rank(peer as i32);
                sends.add(peer.immediate_send_with_tag(scope, &message[..], tag));
            }
            let mut looks = 0;
            while received.iter().any(Option::is_none) {
                let missing = received.iter_mut().enumerate();
                for (peer, place) in missing.filter(|(_, place)| place.is_none()) {
                    *place = self.receive(peer);
                }
                looks += 1;
                match looks < LOOKS {
                    true => thread::yield_now(),
                    false => thread::sleep(PAUSE),
                }
            }
            let mut done = Vec::new();
            sends.wait_all(&mut done);
        });
        if let Some(reason) = reason {
            return Err(PeerError::Left { rank, reason });
        }
        let received = received.into_iter().flatten().enumerate();
        let messages = received.map(|(rank, (tag, bytes))| match tag {
            MESSAGE => Ok(bytes),
            _ => Err(PeerError::Left {
                rank,
                reason: String::from_utf8_lossy(&bytes).into_owned(),
            }),
        });
        messages.collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // The others would wait for this process forever.
        if thread::panicking() {
            self.world().abort(1);
        }
    }
}
