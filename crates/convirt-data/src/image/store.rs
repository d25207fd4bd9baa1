//! Decoded images, small enough to keep.

mod folder;
mod stored;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::decode::read_bytes;
use super::limits::DecodeLimits;
use super::radiograph::Radiograph;
use crate::image::error::ImageError;
use folder::ImageFolder;
use stored::Stored;

/// Configures an [`ImageStore`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageStoreConfig {
    /// Images whose longer side is longer are scaled down to it, in pixels; `None` keeps all as
    /// they are. The paper's 256 (Zhang et al. 2022, section 4.1) goes with inputs of 224.
    pub longer_side: Option<usize>,
    /// Memory for decoded images, in MiB; 0 decodes anew each time.
    pub cache_mb: usize,
    /// Folder that keeps scaled images from run to run; `None` keeps none. Runs may share it.
    pub cache_dir: Option<PathBuf>,
    /// Images in that folder at the most, in GiB.
    pub cache_size: f64,
    /// Bounds on what a file may ask for.
    pub limits: DecodeLimits,
}

impl Default for ImageStoreConfig {
    fn default() -> Self {
        Self {
            longer_side: Some(256),
            cache_mb: 1024,
            cache_dir: None,
            cache_size: 20.0,
            limits: DecodeLimits::default(),
        }
    }
}

impl ImageStoreConfig {
    /// Range of a longer side that images are scaled to, in pixels.
    pub const LONGER_SIDES: RangeInclusive<usize> = 32..=65_535;
    /// Most memory, in MiB.
    pub const MAX_CACHE_MB: usize = 1 << 24;

    /// Keeps the paper's proportion of longer side to network input, 256 to 224.
    pub fn for_input_size(size: usize) -> Self {
        Self {
            longer_side: Some((size * 256).div_ceil(224)),
            ..Self::default()
        }
    }
}

/// Reads images, scales them down and remembers them as long as there is room.
///
/// Scaled images are rounded to the bits of their file, as Pillow does, and the same whether they
/// are remembered, kept in a folder, or neither. What was read first stays: an epoch reads every
/// image once, so that making room for the latest would evict each image just before its turn.
///
/// Threads share a store; two that ask for one image at the same time may both read it.
#[derive(Debug)]
pub struct ImageStore {
    config: ImageStoreConfig,
    cache: Mutex<Cache>,
    folder: Option<ImageFolder>,
}

#[derive(Debug, Default)]
struct Cache {
    images: HashMap<PathBuf, Arc<Stored>>,
    bytes: usize,
}

impl ImageStore {
    /// Opens a store with nothing in memory.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`](crate::FileError::Write) when the folder cannot be made or written to.
    pub fn new(config: ImageStoreConfig) -> Result<Self, ImageError> {
        let folder = config.cache_dir.as_deref().map(|folder| {
            let max_bytes = config.cache_size * f64::from(1 << 30);
            let exif_orientation = config.limits.exif_orientation;
            ImageFolder::open(
                folder,
                config.longer_side,
                exif_orientation,
                max_bytes as u64,
            )
        });
        Ok(Self {
            folder: folder.transpose()?,
            config,
            cache: Mutex::default(),
        })
    }

    /// Returns the image of a file, scaled down, from memory or from disk.
    ///
    /// # Errors
    ///
    /// Those of [`Radiograph::read`].
    pub fn load(&self, path: &Path) -> Result<Radiograph, ImageError> {
        let remembered = self.lock().images.get(path).cloned();
        if let Some(stored) = remembered {
            return Ok(stored.to_radiograph());
        }
        let limits = &self.config.limits;
        let read = || read_bytes(path, limits);
        let make = |bytes: &[u8]| {
            let image = match self.config.longer_side {
                Some(side) => Radiograph::decode_within(bytes, path, side, limits)?,
                None => Radiograph::decode(bytes, path, limits)?,
            };
            Ok(Stored::new(&image))
        };
        let stored = match &self.folder {
            Some(folder) => folder.load(path, read, make)?,
            None => make(&read()?)?,
        };
        let image = stored.to_radiograph();
        self.remember(path, stored);
        Ok(image)
    }

    /// Returns how many images are in memory.
    pub fn remembered(&self) -> usize {
        self.lock().images.len()
    }

    fn remember(&self, path: &Path, stored: Stored) {
        let mut cache = self.lock();
        let bytes = cache.bytes + stored.bytes() + path.as_os_str().len();
        if bytes <= self.config.cache_mb << 20 && !cache.images.contains_key(path) {
            cache.bytes = bytes;
            cache.images.insert(path.into(), Arc::new(stored));
        }
    }

    // Nothing panics between the two changes of `remember`.
    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tests::fixtures::{data_file, levels_apart};

    const FILES: [&str; 3] = [
        "img_grey_111x130.jpg",
        "img_rgb_61x97.png",
        "img_grey16_111x130.png",
    ];

    fn store(longer_side: Option<usize>, cache_mb: usize) -> ImageStore {
        ImageStore::new(ImageStoreConfig {
            longer_side,
            cache_mb,
            ..ImageStoreConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn images_are_the_same_with_and_without_memory() {
        let (forgetful, keeping) = (store(Some(64), 0), store(Some(64), 1));
        for file in FILES {
            let path = data_file(file);
            let image = forgetful.load(&path).unwrap();
            assert_eq!(image.width().max(image.height()), 64);
            assert_eq!(keeping.load(&path).unwrap(), image, "{file}, read");
            assert_eq!(keeping.load(&path).unwrap(), image, "{file}, remembered");
        }
        assert_eq!((forgetful.remembered(), keeping.remembered()), (0, 3));
    }

    #[test]
    fn images_within_the_bound_are_kept_as_they_are() {
        for longer_side in [None, Some(130)] {
            let store = store(longer_side, 1);
            for file in FILES {
                let path = data_file(file);
                let original = Radiograph::read(&path, &DecodeLimits::default()).unwrap();
                let stored = store.load(&path).unwrap();
                // Rounding to 16 bits; 8 bits are exact.
                assert!(
                    levels_apart(stored.pixels(), original.pixels()) < 0.003,
                    "{file}"
                );
            }
        }
    }

    #[test]
    fn images_are_the_same_from_a_folder() {
        let place = tempfile::tempdir().unwrap();
        for longer_side in [None, Some(64)] {
            for _ in ["made", "kept"] {
                let cached = ImageStore::new(ImageStoreConfig {
                    longer_side,
                    cache_mb: 0,
                    cache_dir: Some(place.path().join("cache")),
                    ..ImageStoreConfig::default()
                });
                let (cached, plain) = (cached.unwrap(), store(longer_side, 0));
                for file in FILES {
                    let path = data_file(file);
                    assert_eq!(cached.load(&path).unwrap(), plain.load(&path).unwrap());
                }
            }
        }
        let broken = place.path().join("broken.png");
        fs::write(&broken, b"no image").unwrap();
        let cached = ImageStore::new(ImageStoreConfig {
            cache_dir: Some(place.path().join("cache")),
            ..ImageStoreConfig::default()
        });
        assert!(cached.unwrap().load(&broken).is_err());
    }

    #[test]
    fn a_remembered_image_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.jpg");
        fs::copy(data_file(FILES[0]), &path).unwrap();
        let store = store(Some(64), 1);
        let image = store.load(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(store.load(&path).unwrap(), image);
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(None, 1);
        for name in 0..3 {
            // 0.6 MB each.
            let path = folder.path().join(format!("{name}.png"));
            image::save_buffer(&path, &[9; 600_000], 1000, 600, image::ColorType::L8).unwrap();
            assert_eq!(store.load(&path).unwrap().width(), 1000);
        }
        assert_eq!(store.remembered(), 1);
    }

    #[test]
    fn dicom_files_are_loaded_like_any_other() {
        // Group 2 and an image of 2×1 pixels of 8 bits, in implicit little endian.
        let mut dicom = [
            [0; 128].as_slice(),
            b"DICM\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0",
        ]
        .concat();
        for (tag, value) in [
            ([0x28, 0, 4, 0], b"MONOCHROME1 ".as_slice()),
            ([0x28, 0, 0x10, 0], &[1, 0]),
            ([0x28, 0, 0x11, 0], &[2, 0]),
            ([0x28, 0, 0, 1], &[8, 0]),
            ([0x28, 0, 1, 1], &[8, 0]),
            ([0x28, 0, 3, 1], &[0, 0]),
            ([0xE0, 0x7F, 0x10, 0], &[0, 204]),
        ] {
            dicom.extend(tag);
            dicom.extend((value.len() as u32).to_le_bytes());
            dicom.extend(value);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.dcm");
        fs::write(&path, dicom).unwrap();
        let store = store(Some(64), 1);
        for _ in ["read", "remembered"] {
            let image = store.load(&path).unwrap();
            assert_eq!(image, Radiograph::from_u8(2, 1, 1, &[255, 51]));
        }
    }

    #[test]
    fn the_papers_proportion_is_kept() {
        let longer_side = |size| ImageStoreConfig::for_input_size(size).longer_side;
        assert_eq!(longer_side(224), Some(256));
        assert_eq!(longer_side(112), Some(128));
        assert_eq!(ImageStoreConfig::default().longer_side, Some(256));
    }
}
