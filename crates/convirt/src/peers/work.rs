//! What several processes do together.

use serde::{Deserialize, Serialize};

/// What the leader asks all peers to take part in. The details follow in a message of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Read the rows of a table, each peer its share.
    ReadRows,
    /// Embed images or texts, each peer its share of the batches.
    Embed,
    /// Train until the end of the run, which is also that of the connection.
    Train,
    /// There is nothing left to do.
    End,
}
