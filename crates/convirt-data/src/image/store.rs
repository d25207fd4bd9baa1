//! A cache of decoded, resized images.

mod folder;
mod retry;
mod stored;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decode::reading_error;
use super::limits::DecodeLimits;
use super::radiograph::Radiograph;
use crate::files::read_data;
use crate::image::error::ImageError;
use folder::ImageFolder;
use retry::Retry;
use stored::Stored;

/// Configures an [`ImageStore`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageStoreConfig {
    /// Longer side that larger images are scaled down to, in pixels; `None`: no scaling. The paper
    /// uses 256 for inputs of 224 (Zhang et al. 2022, section 4.1).
    pub longer_side: Option<usize>,
    /// Memory for cached images, in MiB; 0 decodes each image every time.
    pub cache_mb: usize,
    /// Folder that caches scaled images between runs, which may share it; `None`: no cache on disk.
    pub cache_dir: Option<PathBuf>,
    /// Largest size of the cache on disk, in GiB.
    pub cache_size: f64,
    /// Limits on the size of images.
    pub limits: DecodeLimits,
    /// Pauses after which a file that could not be read is read again, for file systems that fail
    /// for a moment. A file that is missing from its folder, or cannot be decoded, is not read
    /// again. After three files in a row that could not be read after all pauses, further ones are
    /// read once, until one succeeds.
    pub retry_pauses: Vec<Duration>,
}

impl Default for ImageStoreConfig {
    fn default() -> Self {
        Self {
            longer_side: Some(256),
            cache_mb: 1024,
            cache_dir: None,
            cache_size: 20.0,
            limits: DecodeLimits::default(),
            retry_pauses: [100, 1_000, 5_000].map(Duration::from_millis).into(),
        }
    }
}

impl ImageStoreConfig {
    /// Range of `longer_side`, in pixels.
    pub const LONGER_SIDES: RangeInclusive<usize> = 32..=65_535;
    /// Largest `cache_mb`, in MiB.
    pub const MAX_CACHE_MB: usize = 1 << 24;

    /// Scales images to the paper's ratio of longer side to network input, 256 to 224.
    pub fn for_input_size(size: usize) -> Self {
        Self {
            longer_side: Some((size * 256).div_ceil(224)),
            ..Self::default()
        }
    }
}

/// A cache that reads images and scales them down.
///
/// Scaled images are rounded to the bit depth of their file, as in Pillow, so that they are equal
/// whether cached or not. Images are not evicted from memory: an epoch reads every image once, so
/// evicting the oldest would remove each image just before it is needed again.
///
/// Threads share a store; two threads that load an image at the same time may both read it.
///
/// # Examples
///
/// ```
/// use convirt_data::{ImageStore, ImageStoreConfig};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("chest.png");
/// image::GrayImage::new(512, 400).save(&path).unwrap();
/// let store = ImageStore::new(ImageStoreConfig::for_input_size(224))?;
/// let image = store.load(&path)?;
/// assert_eq!((image.width(), image.height()), (256, 200));
///
/// // The second time, it comes from memory.
/// std::fs::remove_file(&path).unwrap();
/// assert_eq!(store.load(&path)?, image);
/// # Ok::<(), convirt_data::ImageError>(())
/// ```
#[derive(Debug)]
pub struct ImageStore {
    config: ImageStoreConfig,
    cache: Mutex<Cache>,
    folder: Option<ImageFolder>,
    retry: Retry,
}

#[derive(Debug, Default)]
struct Cache {
    images: HashMap<PathBuf, Arc<Stored>>,
    bytes: usize,
}

impl ImageStore {
    /// Opens a store with an empty memory cache.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`](crate::FileError::Write) when the cache folder cannot be created or
    /// written.
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
            retry: Retry::new(config.retry_pauses.clone()),
            config,
            cache: Mutex::default(),
        })
    }

    /// Returns the scaled image of a file, from memory, from the cache folder, or from the file.
    ///
    /// # Errors
    ///
    /// Those of [`Radiograph::read`].
    pub fn load(&self, path: &Path) -> Result<Radiograph, ImageError> {
        let cached = self.lock().images.get(path).cloned();
        if let Some(stored) = cached {
            return Ok(stored.to_radiograph());
        }
        let limits = &self.config.limits;
        let read = || {
            let read = || read_data(path, limits.max_bytes);
            let bytes = self.retry.read(path, read);
            bytes.map_err(|cause| reading_error(path, limits, cause))
        };
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

    /// Returns the number of images in memory.
    pub fn cached_images(&self) -> usize {
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

    // Nothing panics between the two changes in `remember`, so a poisoned cache is consistent.
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
    fn images_are_equal_with_and_without_memory() {
        let (forgetful, keeping) = (store(Some(64), 0), store(Some(64), 1));
        for file in FILES {
            let path = data_file(file);
            let image = forgetful.load(&path).unwrap();
            assert_eq!(image.width().max(image.height()), 64);
            assert_eq!(keeping.load(&path).unwrap(), image, "{file}, read");
            assert_eq!(keeping.load(&path).unwrap(), image, "{file}, remembered");
        }
        assert_eq!((forgetful.cached_images(), keeping.cached_images()), (0, 3));
    }

    #[test]
    fn small_images_are_not_scaled() {
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
    fn images_are_equal_from_a_cache_folder() {
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
    fn a_cached_image_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.jpg");
        fs::copy(data_file(FILES[0]), &path).unwrap();
        let store = store(Some(64), 1);
        let image = store.load(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(store.load(&path).unwrap(), image);
    }

    #[test]
    fn a_file_whose_folder_returns_is_read_after_a_pause() {
        let place = tempfile::tempdir().unwrap();
        let [folder, away] = ["images", "away"].map(|name| place.path().join(name));
        fs::create_dir(&away).unwrap();
        fs::copy(data_file(FILES[1]), away.join("image.png")).unwrap();
        let store = ImageStore::new(ImageStoreConfig {
            retry_pauses: vec![Duration::from_millis(20); 500],
            ..ImageStoreConfig::default()
        });
        let store = store.unwrap();
        let path = folder.join("image.png");
        std::thread::scope(|scope| {
            let image = scope.spawn(|| store.load(&path));
            std::thread::sleep(Duration::from_millis(100));
            fs::rename(&away, &folder).unwrap();
            assert_eq!(image.join().unwrap().unwrap().height(), 97);
        });
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
        assert_eq!(store.cached_images(), 1);
    }

    #[test]
    fn dicom_files_are_loaded_like_any_other() {
        // Group 2 and an 8-bit image of 2×1 pixels, in implicit little endian.
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
    fn the_ratio_is_the_papers() {
        let longer_side = |size| ImageStoreConfig::for_input_size(size).longer_side;
        assert_eq!(longer_side(224), Some(256));
        assert_eq!(longer_side(112), Some(128));
        assert_eq!(ImageStoreConfig::default().longer_side, Some(256));
    }
}
