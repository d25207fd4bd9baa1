//! The error of an exchange between peers.

/// A peer cannot go on, or cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A peer has stopped, and has said why.
    #[error("peer {rank} has left: {reason}")]
    Left {
        /// Number of the peer, from 0.
        rank: usize,
        /// Its error.
        reason: String,
    },
    /// A peer has ended without saying why.
    #[error("peer {rank} has ended without a word")]
    Gone {
        /// Number of the peer, from 0.
        rank: usize,
    },
}
