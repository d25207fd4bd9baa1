//! What the fuzz targets share: a folder in memory, limits on memory, and which panics count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::OnceLock;

use convirt_data::{DecodeLimits, Manifest, ManifestConfig, Radiograph};

/// Largest single allocation, in bytes. libFuzzer's own limit needs a sanitizer.
const MAX_ALLOCATION: usize = 1 << 30;

/// The system's allocator, which aborts on an allocation beyond the limit.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

fn check(size: usize) {
    if size > MAX_ALLOCATION {
        eprintln!("an allocation of {size} bytes");
        std::process::abort();
    }
}

// SAFETY: all calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Lets panics in crates of the registry pass that ours catch, such as those of image decoders. All
/// other panics abort, even if they would be caught; so do those that nobody catches.
pub fn count_own_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            if !file.contains("/registry/") {
                abort(info);
            }
        }));
    });
}

/// Returns a folder of this process in memory, which later calls return again.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        let folder = parent.join(format!("convirt-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the inputs");
        folder
    })
}

/// Writes a file into [`folder`] and returns its path.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("a file for the input");
    path
}

/// Decodes an image file in full and at a reduced size, and reads its header as a manifest does.
/// An image that decodes must have an acceptable header.
pub fn decode(bytes: &[u8]) {
    let limits = DecodeLimits {
        max_side: 2048,
        max_bytes: 64 << 20,
        exif_orientation: true,
    };
    let path = write("input.dcm", bytes);
    let whole = Radiograph::decode(bytes, &path, &limits);
    let reduced = Radiograph::decode_within(bytes, &path, 64, &limits);
    if let Ok(image) = &reduced {
        assert!(image.width().max(image.height()) <= 64.max(1));
        assert!(image.pixels().iter().all(|pixel| pixel.is_finite()));
    }
    let table = write("pairs.csv", b"image,text\ninput.dcm,The lungs are clear.\n");
    let manifest = Manifest::read(&ManifestConfig {
        max_bad_share: 1.0,
        limits,
        ..ManifestConfig::new(table)
    });
    if whole.is_ok() {
        assert!(manifest.is_ok(), "{:?}", manifest.unwrap_err());
    }
}

/// Opens a weights file and reads its tensors.
#[cfg(feature = "convirt")]
pub fn read_weights(path: &Path) {
    if let Ok(file) = convirt::weights::WeightsFile::open(path) {
        for tensor in file.tensors().values() {
            if let Ok(numbers) = tensor.read() {
                assert_eq!(numbers.len(), tensor.shape.iter().product::<usize>());
            }
        }
    }
}
