//! Assisting the first of several processes.

#[cfg(feature = "train")]
use crate::datasets::assist_in_reading;
use crate::error::Error;
use crate::inference::EmbeddingAssistant;
use crate::peers::{PeerError, Peers, Work};
#[cfg(feature = "train")]
use crate::training::{StopOnSignal, assist_in_training};

/// Assists the leader of a training or an embedding until its end, if this process was started
/// together with others by `mpirun` or `srun` and is not the first of them. The first one, the
/// leader, and a process started by itself return `false` at once and do the work.
///
/// The leader's [`Training`](crate::Training) ends the others, and so do its
/// [`Assistants`](crate::inference::Assistants); a leader that has neither calls [`dismiss`].
///
/// # Examples
///
/// ```no_run
/// use convirt::{Config, Training};
///
/// # fn main() -> Result<(), convirt::Error> {
/// if !convirt::assist()? {
///     let config = Config::from_file("config.yaml", &[])?;
///     println!("{}", Training::prepare(config)?.run()?);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// If this build cannot connect processes (feature `mpi`), or this process cannot go on: it reads
/// images and weights, and has a device. What ends another process is that one's error.
pub fn assist() -> Result<bool, Error> {
    let peers = Peers::processes()?;
    if peers.is_leader() {
        peers.keep();
        return Ok(false);
    }
    #[cfg(feature = "train")]
    StopOnSignal::ignore();
    match assist_leader(&peers) {
        Ok(()) => peers.end(),
        // The peer that has left tells of its error itself.
        Err(Error::Peer(PeerError::Left { .. })) => {}
        Err(error) => {
            peers.leave(&error.to_string());
            return Err(error);
        }
    }
    Ok(true)
}

/// Ends the other processes, if the leader has not done so already; `problem` is why the work could
/// not begin.
///
/// # Errors
///
/// [`PeerError`] if another process has left or cannot be reached.
pub fn dismiss(problem: Option<&str>) -> Result<(), Error> {
    let Some(peers) = Peers::take_kept() else {
        return Ok(());
    };
    match problem {
        Some(problem) => peers.leave(problem),
        None => {
            peers.lead(Some(Work::End))?;
            peers.end();
        }
    }
    Ok(())
}

fn assist_leader(peers: &Peers) -> Result<(), Error> {
    let mut embedding = EmbeddingAssistant::new(None);
    loop {
        match peers.lead(None)? {
            #[cfg(feature = "train")]
            Work::ReadRows => assist_in_reading(peers)?,
            #[cfg(feature = "train")]
            Work::Train => return assist_in_training(peers),
            Work::Embed => embedding.assist(peers)?,
            Work::End => return Ok(()),
            #[cfg(not(feature = "train"))]
            _ => unreachable!("all processes run the same program"),
        }
    }
}
