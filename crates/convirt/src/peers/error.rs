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
    /// Several processes were started together by a program that cannot connect them.
    #[error(
        "started by mpirun or srun in several processes, which this build cannot connect; build it \
         with the feature `mpi`, or start one process"
    )]
    NoMpi,
    /// MPI connects processes once.
    #[error("these processes have worked together before; start them again for more work")]
    MpiHasEnded,
    /// A process other than the first leads.
    #[error("process {rank} is not the first: it calls `convirt::assist` instead")]
    NotTheLeader {
        /// Number of the process, from 0.
        rank: usize,
    },
    /// A peer has ended without saying why.
    #[error("peer {rank} has ended without a word")]
    Gone {
        /// Number of the peer, from 0.
        rank: usize,
    },
}
