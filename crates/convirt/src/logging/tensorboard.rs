//! TensorBoard event files: scalars by step, in the format that `tensorboard --logdir` reads.
//!
//! An event file is a sequence of TFRecords (length, masked CRC-32C, payload, masked CRC-32C), each
//! holding one `tensorflow.Event` message
//! ([event.proto](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto)).

mod logger;
mod reader;

pub(crate) use logger::TensorBoardLogger;
pub(crate) use reader::{Scalars, read_scalars};

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
}

impl EventWriter {
    /// Creates `events.out.tfevents.<seconds>.convirt` in `folder`.
    ///
    /// # Errors
    ///
    /// When the file cannot be created or written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let time = wall_time();
        // Files sort by name in TensorBoard; nanoseconds keep a resumed run's file apart.
        let name = format!("events.out.tfevents.{time:.9}.convirt");
        let file = File::create_new(folder.join(name))?;
        let mut writer = Self {
            file: BufWriter::new(file),
        };
        writer.write(Event {
            wall_time: time,
            file_version: Some("brain.Event:2".to_string()),
            ..Event::default()
        })?;
        writer.flush()?;
        Ok(writer)
    }

    /// Appends the value of `tag` at `step`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> io::Result<()> {
        self.write(Event {
            wall_time: wall_time(),
            step: step as i64,
            summary: Some(Summary {
                value: vec![Value {
                    tag: tag.to_string(),
                    simple_value: Some(value),
                }],
            }),
            ..Event::default()
        })
    }

    /// Says that a session goes on behind `step`: TensorBoard takes back what it was shown of later
    /// steps, which are done again.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn resume_after(&mut self, step: u64) -> io::Result<()> {
        const START: i32 = 1;
        self.write(Event {
            wall_time: wall_time(),
            step: step as i64 + 1,
            session_log: Some(SessionLog { status: START }),
            ..Event::default()
        })
    }

    /// Hands everything written so far to the operating system, so that TensorBoard sees it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn write(&mut self, event: Event) -> io::Result<()> {
        let payload = event.encode_to_vec();
        let length = (payload.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked_crc(&length).to_le_bytes())?;
        self.file.write_all(&payload)?;
        self.file.write_all(&masked_crc(&payload).to_le_bytes())
    }
}

fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// TFRecord's checksum: CRC-32C rotated and offset, so that a checksum of checksums differs.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tensorboard.backend.event_processing` (2.20) read a file of this writer; this holds the
    /// bytes of the record format, whose checksum example is from the TFRecord description.
    #[test]
    fn a_record_is_length_checksum_payload_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.scalar("train_loss", 7, 1.5).unwrap();
        writer.flush().unwrap();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let events: Vec<_> = reader::events(&bytes).collect();
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let value = &events[1].summary.as_ref().unwrap().value[0];
        assert_eq!((events[1].step, value.tag.as_str()), (7, "train_loss"));
        assert_eq!(value.simple_value, Some(1.5));
    }

    #[test]
    fn the_checksum_is_the_masked_crc_32c() {
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720); rotated by 15 bits it is 0x2507c60d.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(
            masked_crc(b"123456789"),
            0x2507_c60d_u32.wrapping_add(0xa282_ead8)
        );
    }
}
