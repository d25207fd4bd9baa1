//! Peers that are threads of one process.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::PeerError;
use super::transport::Transport;

/// A message, or the reason for which its sender leaves.
type Message = Result<Vec<u8>, String>;

/// The channels of one thread from and to all, itself among them, in their order.
pub(super) struct Channels {
    rank: usize,
    senders: Vec<Sender<Message>>,
    receivers: Vec<Receiver<Message>>,
}

/// Connects `size` threads, each with all.
pub(super) fn connect(size: usize) -> Vec<Channels> {
    let (mut senders, mut receivers): (Vec<Vec<_>>, Vec<Vec<_>>) = Default::default();
    senders.resize_with(size, Vec::new);
    for _to in 0..size {
        let (to_it, at_it): (Vec<_>, Vec<_>) = (0..size).map(|_| channel()).unzip();
        for (from, sender) in to_it.into_iter().enumerate() {
            senders[from].push(sender);
        }
        receivers.push(at_it);
    }
    let ends = senders.into_iter().zip(receivers).enumerate();
    let channels = ends.map(|(rank, (senders, receivers))| Channels {
        rank,
        senders,
        receivers,
    });
    channels.collect()
}

impl Transport for Channels {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn exchange(&self, messages: Result<Vec<Vec<u8>>, String>) -> Result<Vec<Vec<u8>>, PeerError> {
        let reason = messages.as_ref().err().cloned();
        let messages = match messages {
            Ok(messages) => messages.into_iter().map(Ok).collect(),
            Err(reason) => vec![Err(reason); self.size()],
        };
        for (sender, message) in self.senders.iter().zip(messages) {
            // A thread that has ended may have said why before: its message comes first.
            let _ = sender.send(message);
        }
        if let Some(reason) = reason {
            let rank = self.rank;
            return Err(PeerError::Left { rank, reason });
        }
        let received = self.receivers.iter().enumerate();
        let received = received.map(|(rank, receiver)| match receiver.recv() {
            Ok(message) => message.map_err(|reason| PeerError::Left { rank, reason }),
            Err(_) => Err(PeerError::Gone { rank }),
        });
        received.collect()
    }
}
