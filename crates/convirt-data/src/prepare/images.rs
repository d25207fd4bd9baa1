//! Resizing and writing of images, without those that an earlier run made from the same files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Crc;

use super::folder::OutFolder;
use crate::files::{FileError, open_regular};
use crate::image::{DecodeLimits, Radiograph, probe_image};
use crate::prepare::error::PrepareError;
use crate::setting::{self, SettingError};

/// Last chunk of every PNG file.
const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// Name of the PNG chunk that identifies the source of an image; by its capitals, programs that do
/// not know it ignore it, and leave it out of an image that they change.
const SOURCE_CHUNK: &[u8] = b"srCS";

/// Coarsest resolution of modification times, that of FAT.
const TIME_RESOLUTION: Duration = Duration::from_secs(2);

/// How images are written next to the manifest: as 8-bit PNG files.
///
/// A PNG file has the modification time of its source, and a chunk with a hash of the source's length
/// and beginning. It is kept by later runs as long as both agree; otherwise, as without such a chunk,
/// it is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedImages {
    /// Longer side that larger images are scaled down to, 32–16,384 pixels.
    pub longer_side: usize,
    /// Limits on the source images: 32–65,535 pixels a side, 1–65,536 MiB.
    pub limits: DecodeLimits,
}

impl Default for PreparedImages {
    /// 256 pixels (Zhang et al. 2022, section 4.1).
    fn default() -> Self {
        Self {
            longer_side: 256,
            limits: DecodeLimits::default(),
        }
    }
}

/// Whether an image was written.
pub(super) enum Written {
    Made,
    /// An earlier run had made it from the same source.
    Reused,
}

/// Identifies the source of an image without reading all of it.
struct SourceId {
    /// Hash of its length and its beginning.
    content: u64,
    modified: SystemTime,
}

impl PreparedImages {
    pub(super) fn check(&self) -> Result<(), SettingError> {
        let longer_side = self.longer_side as f64;
        let allowed = "from 32 to 16384 pixels";
        setting::check("longer_side", longer_side, 32.0..=16_384.0, allowed)?;
        let max_side = f64::from(self.limits.max_side);
        let [sides, mebibytes] = [DecodeLimits::SIDES, DecodeLimits::MEBIBYTES]
            .map(|range| f64::from(*range.start())..=f64::from(*range.end()));
        let allowed = "from 32 to 65535 pixels";
        setting::check("max_image_side", max_side, sides, allowed)?;
        let max_mb = (self.limits.max_bytes >> 20) as f64;
        let allowed = "from 1 to 65536 MiB";
        setting::check("max_image_mb", max_mb, mebibytes, allowed)
    }

    /// Writes the image of `source` as `name` into `folder`, unless it is there already and was made
    /// from the same source. Images of versions that did not record their source are made again.
    pub(super) fn write(
        &self,
        source: &Path,
        folder: &OutFolder,
        name: &Path,
    ) -> Result<Written, PrepareError> {
        let path = folder.path().join(name);
        // Taken before the source is read, so that it does not stand for a later change.
        let id = SourceId::read(source, &self.limits);
        if id.as_ref().is_some_and(|id| id.is_of(&path)) {
            return Ok(Written::Reused);
        }
        let image = Radiograph::read_within(source, self.longer_side, &self.limits)?;
        let mut png = image.to_png().map_err(|cause| FileError::Write {
            path: path.clone(),
            cause: io::Error::other(cause),
        })?;
        if let Some(id) = &id {
            png.truncate(png.len() - END.len());
            png.extend(id.last_chunks());
        }
        folder.write(name, &png)?;
        if let Some(id) = id {
            // Where the time cannot be set, the image is made again by the next run.
            let file = File::options().write(true).open(&path);
            drop(file.and_then(|file| file.set_modified(id.modified)));
        }
        Ok(Written::Made)
    }
}

impl SourceId {
    /// Reads the beginning of a source; `None` if it cannot be read.
    fn read(source: &Path, limits: &DecodeLimits) -> Option<Self> {
        Some(Self {
            content: probe_image(source, limits).ok()?.content,
            modified: fs::metadata(source).ok()?.modified().ok()?,
        })
    }

    /// Returns the end of a PNG file that is made from the source.
    fn last_chunks(&self) -> Vec<u8> {
        let content = self.content.to_be_bytes();
        let named = [SOURCE_CHUNK, &content].concat();
        let mut checksum = Crc::new();
        checksum.update(&named);
        let length = (content.len() as u32).to_be_bytes();
        [&length, &named[..], &checksum.sum().to_be_bytes(), END].concat()
    }

    /// Returns whether a PNG file is complete and was made from the source.
    fn is_of(&self, path: &Path) -> bool {
        let expected = self.last_chunks();
        let end = || -> io::Result<(Vec<u8>, SystemTime)> {
            let mut file = open_regular(path)?;
            file.seek(SeekFrom::End(-(expected.len() as i64)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok((end, file.metadata()?.modified()?))
        };
        end().is_ok_and(|(end, modified)| {
            let difference = modified.duration_since(self.modified);
            let difference = difference.unwrap_or_else(|earlier| earlier.duration());
            end == expected && difference < TIME_RESOLUTION
        })
    }
}

/// Returns the path of the image called `name`, relative to the manifest.
pub(super) fn image_path(name: &Path) -> PathBuf {
    let mut path = Path::new("images").join(name).into_os_string();
    path.push(".png");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::super::folder::Contents;
    use super::*;
    use crate::image::dicom::tests::fixtures::Dicom;
    use crate::image::shrink_longer_side;
    use crate::tests::fixtures::{data_file, levels_apart};

    /// An output folder, and how images are written into it.
    fn out(place: &Path) -> (OutFolder, PreparedImages) {
        let contents = Contents {
            dataset: "test".into(),
            longer_side: Some(64),
            exif_orientation: true,
            version: 1,
        };
        let images = PreparedImages {
            longer_side: 64,
            ..PreparedImages::default()
        };
        (OutFolder::open(place, &contents).unwrap(), images)
    }

    #[test]
    fn images_are_shrunk_to_eight_bits_and_made_once() {
        let place = tempfile::tempdir().unwrap();
        let (folder, config) = out(&place.path().join("out"));
        for (file, size, channels) in [
            ("img_grey_111x130.jpg", (55, 64), 1),
            ("img_grey16_111x130.png", (55, 64), 1),
            ("img_rgb_61x97.png", (40, 64), 3),
        ] {
            let name = image_path(Path::new(file));
            let source = data_file(file);
            let written = folder.path().join(&name);
            assert!(matches!(
                config.write(&source, &folder, &name),
                Ok(Written::Made)
            ));
            let image = Radiograph::read(&written, &config.limits).unwrap();
            assert_eq!((image.width(), image.height()), size);
            assert_eq!(image.channels(), channels);
            let original = Radiograph::read(&source, &config.limits).unwrap();
            let shrunk = shrink_longer_side(&original, 64).unwrap();
            assert!(levels_apart(image.pixels(), shrunk.pixels()) <= 0.501);

            let bytes = fs::read(&written).unwrap();
            fs::write(&written, &bytes[..bytes.len() - 5]).unwrap();
            assert!(matches!(
                config.write(&source, &folder, &name),
                Ok(Written::Made)
            ));
            assert!(fs::read(&written).unwrap() == bytes);
            assert!(matches!(
                config.write(&source, &folder, &name),
                Ok(Written::Reused)
            ));
        }
    }

    #[test]
    fn an_image_is_kept_only_if_it_was_made_from_the_same_source() {
        let place = tempfile::tempdir().unwrap();
        let (folder, config) = out(&place.path().join("out"));
        let name = image_path(Path::new("a"));
        let written = folder.path().join(&name);
        let sources = ["one", "other"].map(|root| place.path().join(root).join("a.dcm"));
        // Files of one length, whose beginnings do not contain the end.
        let make = |source: &Path, pattern: usize, end: u8| {
            let samples = (0..300 * 300).map(|pixel| (pixel * pattern % 251) as u8);
            let mut samples: Vec<u8> = samples.collect();
            samples[80_000..].fill(end);
            fs::create_dir_all(source.parent().unwrap()).unwrap();
            fs::write(source, Dicom::grey_8(300, &samples).file()).unwrap();
        };
        let set_modified = |path: &Path, seconds| {
            let file = File::options().write(true).open(path).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        let is_made = |source: &Path| {
            let result = config.write(source, &folder, &name).unwrap();
            matches!(result, Written::Made)
        };
        let [one, other] = &sources;
        make(one, 3, 0);
        assert!(is_made(one) && !is_made(one));
        let first = fs::read(&written).unwrap();

        make(other, 5, 0);
        assert!(is_made(other) && !is_made(other), "another root");
        assert!(fs::read(&written).unwrap() != first);
        assert!(is_made(one) && fs::read(&written).unwrap() == first);

        // Of a large file only the beginning is compared, and the time.
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        make(one, 3, 200);
        set_modified(one, 1_000_000_000);
        assert!(is_made(one) && !is_made(one), "another time");
        assert_eq!(modified(&written), modified(one));
        fs::copy(one, other).unwrap();
        set_modified(other, 1_000_000_000);
        assert!(!is_made(other), "a copy with its time is the same source");

        // As earlier versions wrote it.
        let image = Radiograph::read(one, &config.limits).unwrap();
        fs::write(&written, image.to_png().unwrap()).unwrap();
        set_modified(&written, 1_000_000_000);
        assert!(is_made(one), "without a record of its source");
        // As a process leaves it that is killed before it sets the time.
        set_modified(&written, 2_000_000_000);
        assert!(is_made(one));
    }
}
