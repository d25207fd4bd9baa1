//! Checkpoints of a training, named after its steps.
//!
//! A checkpoint has these files: `model-<step>.bpk` and `optim-<step>.bpk` (Burn's records), with an
//! `ema_decay` also `average-<step>.bpk`, and `state-<step>.json`, which has the rest and the lengths
//! and checksums of all. Each file is written under another name, synced and renamed; the state comes
//! last. So a checkpoint without a state is incomplete, and one whose checksums do not match is
//! damaged.

mod state;
mod intervals;
mod folder;
mod writer;

pub(crate) use folder::{AVERAGE, CheckpointFolder, Newest};
pub(crate) use intervals::{CheckpointIntervals, LastCheckpoint};
pub(crate) use state::{NotFiniteStep, TrainingState};
pub(crate) use writer::{CheckpointWriter, NoScheduler, SaveAlways};
