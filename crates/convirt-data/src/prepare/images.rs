//! Resizing and writing of images, without those that exist already.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::folder::OutFolder;
use crate::files::{FileError, open_regular};
use crate::image::{DecodeLimits, Radiograph};
use crate::prepare::error::PrepareError;
use crate::setting::{self, SettingError};

/// How images are written next to the manifest: as 8-bit PNG files.
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
    /// An earlier run had written it.
    Reused,
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

    /// Writes the image of `source` as `name` into `folder`, unless it exists.
    pub(super) fn write(
        &self,
        source: &Path,
        folder: &OutFolder,
        name: &Path,
    ) -> Result<Written, PrepareError> {
        if is_complete(&folder.path().join(name)) {
            return Ok(Written::Reused);
        }
        let image = Radiograph::read_within(source, self.longer_side, &self.limits)?;
        let png = image.to_png().map_err(|cause| FileError::Write {
            path: folder.path().join(name),
            cause: io::Error::other(cause),
        })?;
        folder.write(name, &png)?;
        Ok(Written::Made)
    }
}

/// Returns the path of the image called `name`, relative to the manifest.
pub(super) fn image_path(name: &Path) -> PathBuf {
    let mut path = Path::new("images").join(name).into_os_string();
    path.push(".png");
    path.into()
}

/// Whether a PNG file exists and ends with its last chunk.
fn is_complete(path: &Path) -> bool {
    const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = open_regular(path)?;
        file.seek(SeekFrom::End(-(END.len() as i64)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(tail)
    };
    tail().is_ok_and(|tail| tail == END)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::folder::Contents;
    use super::*;
    use crate::image::shrink_longer_side;
    use crate::tests::fixtures::{data_file, levels_apart};

    #[test]
    fn images_are_shrunk_to_eight_bits_and_made_once() {
        let place = tempfile::tempdir().unwrap();
        let contents = Contents {
            dataset: "test".into(),
            longer_side: Some(64),
            exif_orientation: true,
            version: 1,
        };
        let folder = OutFolder::open(&place.path().join("out"), &contents).unwrap();
        let config = PreparedImages {
            longer_side: 64,
            ..PreparedImages::default()
        };
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
}
