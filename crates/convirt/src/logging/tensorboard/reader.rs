//! The curves of a run, read back from its event files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use convirt_data::{FileError, read_regular};
use prost::Message;

use super::{Event, masked_crc};
use crate::error::Error;

/// Bytes of the largest event file; a million steps with all of their curves take 0.3 GB.
const MAX_BYTES: u64 = 2 << 30;

/// Values by step, for each tag.
pub(crate) type Scalars = BTreeMap<String, BTreeMap<u64, f32>>;

/// Reads all event files of a run's folder. What a resumed run did again counts as it did it last;
/// a record cut off, as a killed run leaves it, ends its file.
pub(crate) fn read_scalars(folder: &Path) -> Result<Scalars, Error> {
    let entries = fs::read_dir(folder).map_err(FileError::read(folder))?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("events.out.tfevents.")
        })
        .collect();
    // Their names hold the time of their beginning.
    files.sort();
    let mut scalars = Scalars::new();
    for path in files {
        let bytes = read_regular(&path, MAX_BYTES).map_err(FileError::read(&path))?;
        let events: Vec<Event> = events(&bytes).collect();
        let tells = |event: &&Event| event.summary.is_some() || event.session_log.is_some();
        let first = events.iter().filter(tells);
        if let Some(first) = first.map(|event| event.step as u64).min() {
            for values in scalars.values_mut() {
                drop(values.split_off(&first));
            }
        }
        for event in events {
            for value in event.summary.into_iter().flat_map(|summary| summary.value) {
                if let Some(number) = value.simple_value {
                    let values = scalars.entry(value.tag).or_default();
                    values.insert(event.step as u64, number);
                }
            }
        }
    }
    Ok(scalars)
}

/// The whole records at the beginning of a file.
pub(super) fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (length_crc, rest) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (payload, rest) = rest.split_at_checked(size)?;
        let (payload_crc, rest) = rest.split_first_chunk::<4>()?;
        let is_sound = *length_crc == masked_crc(length).to_le_bytes()
            && *payload_crc == masked_crc(payload).to_le_bytes();
        bytes = rest;
        is_sound.then(|| Event::decode(payload).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::super::EventWriter;
    use super::*;

    fn written(folder: &Path, values: &[(u64, f32)]) {
        let mut writer = EventWriter::create(folder).unwrap();
        for &(step, value) in values {
            writer.scalar("train_loss", step, value).unwrap();
        }
        writer.flush().unwrap();
    }

    #[test]
    fn a_resumed_run_goes_on_where_it_did() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[(2, 3.0), (4, 2.5), (6, 2.0), (8, 1.9)]);
        written(folder.path(), &[(6, 2.1), (7, 2.2)]);
        let scalars = read_scalars(folder.path()).unwrap();
        let expected = BTreeMap::from([(2, 3.0), (4, 2.5), (6, 2.1), (7, 2.2)]);
        assert_eq!(scalars["train_loss"], expected);
    }

    #[test]
    fn what_is_done_again_is_taken_back_before_it_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[(2, 3.0), (4, 2.5), (6, 2.0)]);
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.resume_after(3).unwrap();
        writer.scalar("train_loss", 6, 2.1).unwrap();
        writer.flush().unwrap();
        let scalars = read_scalars(folder.path()).unwrap();
        assert_eq!(scalars["train_loss"], BTreeMap::from([(2, 3.0), (6, 2.1)]));
    }

    #[test]
    fn a_file_cut_off_anywhere_gives_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[(1, 3.0), (2, 2.5)]);
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert_eq!(events(&bytes).count(), 3);
        let counts: Vec<_> = (0..bytes.len())
            .map(|it| events(&bytes[..it]).count())
            .collect();
        assert!(
            counts.is_sorted() && counts.last() == Some(&2),
            "{counts:?}"
        );
    }

    #[test]
    fn damage_ends_a_file() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[(1, 3.0), (2, 2.5)]);
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
        let mut bytes = fs::read(file.unwrap().path()).unwrap();
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        assert_eq!(events(&bytes).count(), 2);
    }
}
