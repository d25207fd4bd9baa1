//! Reading of a run's curves from its event files.

use std::collections::BTreeMap;
use std::path::Path;

use convirt_data::{FileError, read_regular};
use prost::Message;

use super::{Event, event_files, masked_crc};
use crate::error::Error;

/// Maximum size of an event file in bytes. All curves of a million steps take 0.3 GB.
const MAX_BYTES: u64 = 2 << 30;

/// The values of each tag by step.
pub(crate) type Scalars = BTreeMap<String, BTreeMap<u64, f32>>;

/// Reads all event files in a run's folder. For steps that a resumed run computed again, the last
/// values count. An incomplete record, which a killed run may leave, ends its file.
pub(crate) fn read_scalars(folder: &Path) -> Result<Scalars, Error> {
    let files = event_files(folder).map_err(FileError::read(folder))?;
    let mut scalars = Scalars::new();
    for path in files {
        let bytes = read_regular(&path, MAX_BYTES).map_err(FileError::read(&path))?;
        let events: Vec<Event> = events(&bytes).collect();
        let has_step = |event: &&Event| event.summary.is_some() || event.session_log.is_some();
        let steps = events.iter().filter(has_step);
        if let Some(first_step) = steps.map(|event| event.step as u64).min() {
            for values in scalars.values_mut() {
                drop(values.split_off(&first_step));
            }
        }
        for event in events {
            for value in event.summary.into_iter().flat_map(|summary| summary.value) {
                if let Some(number) = value.simple_value {
                    let values = scalars.entry(current_tag(value.tag)).or_default();
                    values.insert(event.step as u64, number);
                }
            }
        }
    }
    Ok(scalars)
}

/// Returns the present name of a tag of an older run.
fn current_tag(tag: String) -> String {
    match tag.as_str() {
        "train_loss" => "loss/train".to_string(),
        "validation_loss" => "loss/valid".to_string(),
        "learning_rate" => "optimizer/learning_rate".to_string(),
        "pairs_per_second" => "speed/pairs_per_second".to_string(),
        _ => match tag
            .strip_suffix("_accuracy")
            .and_then(|it| it.split_once('_'))
        {
            Some(("train", "contrastive")) => "accuracy/view_to_view/train".to_string(),
            Some(("validation", "contrastive")) => "accuracy/view_to_view/valid".to_string(),
            Some(("train", name)) => format!("accuracy/{name}/train"),
            Some(("validation", name)) => format!("accuracy/{name}/valid"),
            _ => tag,
        },
    }
}

/// Returns the events of a file up to the first incomplete or damaged record.
pub(super) fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (length_crc, rest) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (payload, rest) = rest.split_at_checked(size)?;
        let (payload_crc, rest) = rest.split_first_chunk::<4>()?;
        let is_intact = *length_crc == masked_crc(length).to_le_bytes()
            && *payload_crc == masked_crc(payload).to_le_bytes();
        bytes = rest;
        is_intact.then(|| Event::decode(payload).ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::EventWriter;
    use super::*;

    fn write(folder: &Path, values: &[(u64, f32)]) {
        let mut writer = EventWriter::create(folder).unwrap();
        for &(step, value) in values {
            writer.scalar("loss/train", step, value).unwrap();
        }
        writer.flush().unwrap();
    }

    #[test]
    fn the_last_values_of_a_step_count() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(2, 3.0), (4, 2.5), (6, 2.0), (8, 1.9)]);
        write(folder.path(), &[(6, 2.1), (7, 2.2)]);
        let scalars = read_scalars(folder.path()).unwrap();
        let expected = BTreeMap::from([(2, 3.0), (4, 2.5), (6, 2.1), (7, 2.2)]);
        assert_eq!(scalars["loss/train"], expected);
    }

    #[test]
    fn a_resumed_session_removes_the_values_of_later_steps() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(2, 3.0), (4, 2.5), (6, 2.0)]);
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.resume_after(3).unwrap();
        writer.scalar("loss/train", 6, 2.1).unwrap();
        writer.flush().unwrap();
        let scalars = read_scalars(folder.path()).unwrap();
        assert_eq!(scalars["loss/train"], BTreeMap::from([(2, 3.0), (6, 2.1)]));
    }

    #[test]
    fn tags_of_older_runs_have_their_present_names() {
        for (old, new) in [
            ("train_loss", "loss/train"),
            (
                "validation_image_to_text_accuracy",
                "accuracy/image_to_text/valid",
            ),
            ("train_contrastive_accuracy", "accuracy/view_to_view/train"),
            ("loss/train", "loss/train"),
            ("recall@10/image_to_text", "recall@10/image_to_text"),
        ] {
            assert_eq!(current_tag(old.to_string()), new);
        }
    }

    #[test]
    fn a_truncated_file_gives_its_complete_events() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(1, 3.0), (2, 2.5)]);
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert_eq!(events(&bytes).count(), 3);
        let counts: Vec<_> = (0..bytes.len())
            .map(|length| events(&bytes[..length]).count())
            .collect();
        assert!(
            counts.is_sorted() && counts.last() == Some(&2),
            "{counts:?}"
        );
    }

    #[test]
    fn a_damaged_record_ends_a_file() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(1, 3.0), (2, 2.5)]);
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
        let mut bytes = fs::read(file.unwrap().path()).unwrap();
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        assert_eq!(events(&bytes).count(), 2);
    }
}
