//! The writing of checkpoints in the background.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{fs, mem};

use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use convirt_data::FileError;

use super::folder::{AVERAGE, CheckpointFolder, PARTS};
use super::state::TrainingState;
use crate::records::CheckpointRecord;
use crate::run::RunError;
use crate::weights::checksums::FileSum;

/// Writes checkpoints in the threads of burn-train's checkpointers, and removes old ones.
///
/// burn-train hands the model and the optimizer to a [`PartWriter`] each; the one that finishes last
/// writes the state.
pub(crate) struct CheckpointWriter {
    folder: CheckpointFolder,
    /// Number of whole checkpoints to keep.
    keep: usize,
    progress: Mutex<Progress>,
    /// Is notified when no checkpoint is being written any more.
    free: Condvar,
}

#[derive(Default)]
struct Progress {
    /// The checkpoint that is being written.
    pending: Option<Pending>,
    /// Steps of the whole checkpoints, ascending.
    whole: Vec<usize>,
    /// Checkpoints that have become whole and are not yet told of.
    untold: Vec<CheckpointRecord>,
    error: Option<RunError>,
}

struct Pending {
    state: TrainingState,
    begun: Instant,
    /// The averages of the weights, which are written with the model.
    average: Option<ModuleRecord>,
    /// Checksums of the files that are written, by their part.
    sums: BTreeMap<&'static str, FileSum>,
}

impl CheckpointWriter {
    /// Creates the folder, of whose checkpoints `keep` remain, and its writer.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] if the folder cannot be created.
    pub fn new(folder: CheckpointFolder, keep: usize) -> Result<Arc<Self>, FileError> {
        fs::create_dir_all(folder.path()).map_err(FileError::write(folder.path()))?;
        let progress = Progress {
            whole: folder.steps(),
            ..Progress::default()
        };
        Ok(Arc::new(Self {
            folder,
            keep: keep.max(1),
            progress: Mutex::new(progress),
            free: Condvar::new(),
        }))
    }

    /// Returns the writer of a part, one of [`PARTS`].
    pub fn part(self: &Arc<Self>, part: usize) -> PartWriter {
        PartWriter {
            part,
            writer: Arc::clone(self),
        }
    }

    /// Waits for the previous checkpoint and announces the one whose parts come next; the averages of
    /// the weights, if the run has them, are a file of their own.
    pub fn begin(&self, state: TrainingState, average: Option<ModuleRecord>) {
        self.wait_until_free().pending = Some(Pending {
            state,
            begun: Instant::now(),
            average,
            sums: BTreeMap::new(),
        });
    }

    /// Waits until no checkpoint is being written.
    pub fn wait(&self) {
        drop(self.wait_until_free());
    }

    /// Returns whether a checkpoint is being written.
    pub fn is_busy(&self) -> bool {
        self.lock().pending.is_some()
    }

    /// Returns the checkpoints that have become whole since the last call.
    pub fn take_written(&self) -> Vec<CheckpointRecord> {
        std::mem::take(&mut self.lock().untold)
    }

    /// Returns the error that ended the writing, if there was one.
    pub fn take_error(&self) -> Option<RunError> {
        self.lock().error.take()
    }

    /// Writes a part, and completes the checkpoint if it is the last one.
    fn write<R: Checkpoint>(&self, part: usize, step: usize, record: R) -> Result<(), String> {
        let mut written = vec![(PARTS[part], self.write_file(PARTS[part], step, record)?)];
        if let Some(average) = self.take_average(part, step) {
            written.push((AVERAGE, self.write_file(AVERAGE, step, average)?));
        }
        let mut progress = self.lock();
        // There is none after an error in the other part.
        let pending = progress.pending.as_mut();
        let Some(pending) = pending.filter(|pending| pending.state.step == step) else {
            return Ok(());
        };
        pending.sums.extend(written);
        if !PARTS.iter().all(|part| pending.sums.contains_key(part)) {
            return Ok(());
        }
        let sums = mem::take(&mut pending.sums);
        let bytes = sums.values().map(|sum| sum.bytes).sum();
        let complete = self.folder.complete(&pending.state, sums);
        complete.map_err(|error| error.to_string())?;
        let seconds = pending.begun.elapsed().as_secs_f64();
        progress.pending = None;
        self.free.notify_all();
        progress.whole.retain(|whole| *whole != step);
        progress.whole.push(step);
        progress.untold.push(CheckpointRecord {
            step,
            bytes,
            seconds,
        });
        while progress.whole.len() > self.keep {
            self.folder.remove(progress.whole.remove(0));
        }
        Ok(())
    }

    fn write_file<R: Checkpoint>(
        &self,
        part: &str,
        step: usize,
        record: R,
    ) -> Result<FileSum, String> {
        let path = self.folder.part(part, step);
        // Burn writes aside, syncs and renames.
        (record.save(path.clone())).map_err(|error| format!("{}: {error}", path.display()))?;
        FileSum::compute(&path).map_err(|error| error.to_string())
    }

    /// Returns the averages, for the writer of the first part.
    fn take_average(&self, part: usize, step: usize) -> Option<ModuleRecord> {
        let mut progress = self.lock();
        let pending = progress.pending.as_mut();
        let pending = pending.filter(|pending| part == 0 && pending.state.step == step)?;
        pending.average.take()
    }

    fn wait_until_free(&self) -> MutexGuard<'_, Progress> {
        let free = self.free.wait_while(self.lock(), |it| it.pending.is_some());
        free.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one part of each checkpoint, for burn-train.
pub(crate) struct PartWriter {
    /// Position in [`PARTS`].
    part: usize,
    writer: Arc<CheckpointWriter>,
}

impl<R: Checkpoint> Checkpointer<R> for PartWriter {
    fn save(&self, step: usize, record: R) -> Result<(), CheckpointerError> {
        let written = self.writer.write(self.part, step, record);
        written.map_err(|cause| {
            let mut progress = self.writer.lock();
            progress.pending = None;
            self.writer.free.notify_all();
            let error = RunError::CheckpointNotWritten { step, cause };
            let told = CheckpointerError::Unknown(error.to_string());
            progress.error.get_or_insert(error);
            told
        })
    }

    /// Does nothing: the writer removes whole checkpoints.
    fn delete(&self, _step: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, step: usize) -> Result<R, CheckpointerError> {
        R::load(self.writer.folder.part(PARTS[self.part], step))
    }
}

/// Writes nothing of the learning rate's schedule, which is in the state.
pub(crate) struct NoScheduler;

impl Checkpointer<LrSchedulerRecord> for NoScheduler {
    fn save(&self, _step: usize, _record: LrSchedulerRecord) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn delete(&self, _step: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, _step: usize) -> Result<LrSchedulerRecord, CheckpointerError> {
        Ok(LrSchedulerRecord::new())
    }
}

/// Saves whenever the training asks for it.
pub(crate) struct SaveAlways;

impl CheckpointingStrategy for SaveAlways {
    fn checkpointing(&mut self, _step: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
