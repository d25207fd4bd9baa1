//! TensorBoard's event files, with scalars, texts and images by step, as `tensorboard --logdir` reads them.
//!
//! An event file is a sequence of TFRecords (length, masked CRC-32C, payload, masked CRC-32C). Each
//! contains one `tensorflow.Event` message
//! ([event.proto](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto)).

mod reader;

pub(crate) use reader::{Scalars, read_scalars};

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// Beginning of an event file's name.
const PREFIX: &str = "events.out.tfevents.";

/// A writer of one event file.
///
/// # Examples
///
/// ```
/// use convirt::logging::EventWriter;
///
/// # fn main() -> std::io::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let mut writer = EventWriter::create(folder)?;
/// for (step, loss) in [(1, 3.2), (2, 2.9)] {
///     writer.scalar("loss/train", step, loss)?;
/// }
/// writer.flush()?;
///
/// // After an interruption, a second file continues at step 2 and replaces its value.
/// let mut resumed = EventWriter::create(folder)?;
/// resumed.resume_after(1)?;
/// resumed.scalar("loss/train", 2, 2.8)?;
/// # resumed.flush()
/// # }
/// ```
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
}

impl EventWriter {
    /// Creates `events.out.tfevents.<seconds>.convirt` in `folder`. Its time is after those of the
    /// files that are there, even if the clock was set back, since TensorBoard sorts them by name.
    ///
    /// # Errors
    ///
    /// If the file cannot be created or written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let mut time = wall_time();
        if let Some(last) = event_files(folder)?
            .last()
            .and_then(|path| time_in_name(path))
        {
            time = time.max(last + 1e-3);
        }
        // Nanoseconds give the file of a resumed run another name.
        let name = format!("{PREFIX}{time:.9}.convirt");
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
    /// If the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> io::Result<()> {
        let value = Value {
            tag: tag.to_string(),
            simple_value: Some(value),
            ..Value::default()
        };
        self.summary(step, value)
    }

    /// Appends a text of `tag` at `step`, which TensorBoard shows as Markdown.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> io::Result<()> {
        /// `DT_STRING` of tensorflow's `types.proto`.
        const STRING: i32 = 7;
        let value = Value {
            tag: tag.to_string(),
            tensor: Some(Tensor {
                dtype: STRING,
                shape: Some(Shape::default()),
                strings: vec![text.as_bytes().to_vec()],
            }),
            metadata: Some(Metadata {
                plugin: Some(Plugin {
                    name: "text".to_string(),
                }),
            }),
            ..Value::default()
        };
        self.summary(step, value)
    }

    /// Appends an image of `tag` at `step`: a PNG file, with its width and height in pixels.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn image(
        &mut self,
        tag: &str,
        step: u64,
        [width, height]: [usize; 2],
        png: Vec<u8>,
    ) -> io::Result<()> {
        // Readers take the channels from the PNG file.
        const RGB: i32 = 3;
        let value = Value {
            tag: tag.to_string(),
            image: Some(Image {
                height: height as i32,
                width: width as i32,
                colorspace: RGB,
                encoded: png,
            }),
            ..Value::default()
        };
        self.summary(step, value)
    }

    fn summary(&mut self, step: u64, value: Value) -> io::Result<()> {
        self.write(Event {
            wall_time: wall_time(),
            step: step as i64,
            summary: Some(Summary { value: vec![value] }),
            ..Event::default()
        })
    }

    /// Marks the start of a resumed session after `step`. TensorBoard then removes the values of
    /// later steps, which the session computes again.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn resume_after(&mut self, step: u64) -> io::Result<()> {
        const START: i32 = 1;
        self.write(Event {
            wall_time: wall_time(),
            step: step as i64 + 1,
            session_log: Some(SessionLog { status: START }),
            ..Event::default()
        })
    }

    /// Flushes all values to the file, so that TensorBoard can read them.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Flushes all values and waits for the disk.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.get_ref().sync_data()
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

/// Returns the event files in a folder, in the order of their names.
fn event_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = folder.read_dir()?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| time_in_name(path).is_some()).collect();
    files.sort();
    Ok(files)
}

/// Returns the time in the name of an event file, in seconds.
fn time_in_name(path: &Path) -> Option<f64> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    // Seconds, perhaps with a fraction, then the names of machine and program.
    let digits = name.find(|it: char| it != '.' && !it.is_ascii_digit());
    let time = name[..digits.unwrap_or(name.len())].trim_end_matches('.');
    time.parse().ok()
}

fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Computes TFRecord's checksum: CRC-32C, rotated and with an offset, since CRCs of data with
/// embedded CRCs are problematic.
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
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

/// The shape of a scalar has no dimensions.
#[derive(Clone, PartialEq, Message)]
struct Shape {}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tensorboard.backend.event_processing` (2.20) has read a file of this writer.
    #[test]
    fn written_values_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.scalar("loss/train", 7, 1.5).unwrap();
        writer.flush().unwrap();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let events: Vec<_> = reader::events(&bytes).collect();
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let value = &events[1].summary.as_ref().unwrap().value[0];
        assert_eq!((events[1].step, value.tag.as_str()), (7, "loss/train"));
        assert_eq!(value.simple_value, Some(1.5));
    }

    /// `tensorboard.backend.event_processing` (2.20) has read texts and images of this writer.
    #[test]
    fn texts_and_images_have_the_messages_of_their_plugins() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        writer.text("configuration", 3, "# a").unwrap();
        writer.image("held_out/1", 0, [2, 1], vec![7]).unwrap();
        writer.flush().unwrap();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let values: Vec<Value> = reader::events(&bytes)
            .filter_map(|event| Some(event.summary?.value.swap_remove(0)))
            .collect();
        let [text, image] = &values[..] else {
            panic!("{values:?}");
        };
        let plugin = text.metadata.as_ref().unwrap().plugin.as_ref().unwrap();
        assert_eq!(
            (text.tag.as_str(), plugin.name.as_str()),
            ("configuration", "text")
        );
        assert_eq!(text.tensor.as_ref().unwrap().strings, [b"# a"]);
        let image = image.image.as_ref().unwrap();
        assert_eq!(
            (image.width, image.height, &image.encoded[..]),
            (2, 1, &[7][..])
        );
    }

    #[test]
    fn a_file_sorts_after_those_of_a_clock_that_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let ahead = wall_time() + 1e6;
        let earlier = folder.path().join(format!("{PREFIX}{ahead:.9}.convirt"));
        std::fs::write(&earlier, "").unwrap();
        for _ in 0..2 {
            EventWriter::create(folder.path()).unwrap();
        }
        let files = event_files(folder.path()).unwrap();
        assert_eq!((files.len(), &files[0]), (3, &earlier));
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
