//! The way in which messages reach other peers.

use super::PeerError;

/// Delivers the messages of one peer.
pub(super) trait Transport: Send {
    /// Number of this peer, from 0.
    fn rank(&self) -> usize;

    /// Number of peers.
    fn size(&self) -> usize;

    /// Sends a message to each peer and returns one from each, itself among them; or tells all that
    /// this peer leaves, and why.
    fn exchange(&self, messages: Result<Vec<Vec<u8>>, String>) -> Result<Vec<Vec<u8>>, PeerError>;
}

/// The transport of a peer without others.
pub(super) struct Alone;

impl Transport for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, messages: Result<Vec<Vec<u8>>, String>) -> Result<Vec<Vec<u8>>, PeerError> {
        messages.map_err(|reason| PeerError::Left { rank: 0, reason })
    }
}
