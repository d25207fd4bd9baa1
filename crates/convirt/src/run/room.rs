//! The room on the disk that a run needs.

use std::path::Path;

use convirt_model::ParameterCount;

use super::error::RunError;
use crate::network::FLOAT32_BYTES;

/// Adam's moments, which a checkpoint contains for each trained parameter.
const MOMENTS: u64 = 2;

/// Copies of the model while it is replaced.
const MODELS: u64 = 2;

/// Checks that the disk has room for the model of a run and for `keep` checkpoints with one that is
/// being written, of which there are `present` already. A checkpoint may have an average of each
/// parameter.
///
/// # Errors
///
/// [`RunError::NoRoom`] if it has not. A system that does not tell is no error.
pub(crate) fn check_room(
    folder: &Path,
    parameters: ParameterCount,
    has_average: bool,
    keep: usize,
    present: usize,
) -> Result<(), RunError> {
    let checkpoints = (keep as u64 + 1).saturating_sub(present as u64);
    let [total, trainable] = [parameters.total, parameters.trainable].map(|count| count as u64);
    let average = if has_average { total } else { 0 };
    let checkpoint = FLOAT32_BYTES * (total + MOMENTS * trainable + average);
    let needed = FLOAT32_BYTES * total * MODELS + checkpoints.saturating_mul(checkpoint);
    match free_bytes(folder) {
        Some(free) if free < needed => Err(RunError::NoRoom {
            folder: folder.to_path_buf(),
            needed,
            free,
        }),
        _ => Ok(()),
    }
}

/// Returns the bytes that are left for this user on the disk of a folder.
#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_run_that_the_disk_cannot_hold_is_an_error_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let of_size = |total: usize| ParameterCount {
            total,
            trainable: total,
        };
        check_room(folder.path(), of_size(1_000), false, 2, 0).unwrap();
        // Three checkpoints of three or four numbers for each parameter, and two models.
        for (has_average, numbers) in [(false, 11), (true, 14)] {
            let error = check_room(folder.path(), of_size(1 << 50), has_average, 2, 0);
            let error = error.unwrap_err();
            let RunError::NoRoom { needed, free, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(needed, (4 * numbers) << 50);
            assert!(free < needed);
        }
    }
}
