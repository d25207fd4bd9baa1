//! How many views a second does one core make of a file? Decoding, scaling and augmentation of
//! large radiographs, with and without the caches.
//!
//! `CONVIRT_BENCH_IMAGES` names a folder to write the files into; `load_images.py` has Pillow and
//! torchvision read the same ones.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use convirt::data::{AugmentationConfig, ImageStore, ImageStoreConfig};
use convirt::phantom::PhantomConfig;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{GrayImage, ImageBuffer, Luma};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Side of the network's input.
const SIZE: usize = 224;

/// A chest phantom of 2,500×3,000 pixels with the noise of a detector, which makes its JPEG as
/// large as the mean of MIMIC-CXR-JPG's, 1.5 MB (557.6 GB for 377,110).
fn radiograph(folder: &Path, rng: &mut impl Rng) -> GrayImage {
    let phantom = PhantomConfig {
        patients: 2,
        ..PhantomConfig::default()
    };
    let drawn = folder.join("phantom");
    phantom.write(&drawn, |_, _| ()).expect("a phantom");
    let mut table = csv::Reader::from_path(drawn.join("pairs.csv")).expect("the phantom's table");
    let first = table.records().next().expect("a row").expect("a sound row");
    let small = image::open(drawn.join(&first[0]))
        .expect("an image")
        .into_luma8();
    let mut large = resize(&small, 2500, 3000, FilterType::CatmullRom);
    for Luma([level]) in large.pixels_mut() {
        // The sum of four uniform numbers is nearly normal; its deviation here is 1.6 levels.
        let noise: f32 = (0..4).map(|_| rng.random_range(-1.4..1.4_f32)).sum();
        *level = (f32::from(*level) + noise).round() as u8;
    }
    large
}

fn files(folder: &Path) -> [PathBuf; 3] {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let large = radiograph(folder, &mut rng);
    let paths = ["large.jpg", "large_16_bits.png", "small.png"].map(|name| folder.join(name));
    let [jpeg, sixteen, small] = &paths;
    let file = fs::File::create(jpeg).expect("a new file");
    JpegEncoder::new_with_quality(file, 95)
        .encode_image(&large)
        .expect("a JPEG");
    // 12 bits of 16, as most detectors have them.
    let deep = ImageBuffer::<Luma<u16>, Vec<u16>>::from_fn(2500, 3000, |x, y| {
        Luma([u16::from(large.get_pixel(x, y).0[0]) * 16 + rng.random_range(0..16)])
    });
    deep.save(sixteen).expect("a PNG of 16 bits");
    let openi = resize(&large, 512, 624, FilterType::Triangle);
    openi.save(small).expect("a PNG");
    paths
}

fn images(criterion: &mut Criterion) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = std::env::var_os("CONVIRT_BENCH_IMAGES");
    let folder = folder.map_or_else(|| temporary.path().into(), PathBuf::from);
    let augmentation = AugmentationConfig::default().init(SIZE);
    let augmentation = augmentation.expect("the defaults are valid");
    let store = |cache_mb, cache_dir| {
        let config = ImageStoreConfig {
            cache_mb,
            cache_dir,
            ..ImageStoreConfig::default()
        };
        ImageStore::new(config).expect("a writable folder")
    };
    let mut group = criterion.benchmark_group("images");
    group.throughput(Throughput::Elements(1));
    for path in files(&folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for (cache, store) in [
            ("none", store(0, None)),
            ("disk", store(0, Some(temporary.path().join("cache")))),
            ("memory", store(64, None)),
        ] {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            group.bench_function(BenchmarkId::new(&*name, cache), |bencher| {
                bencher.iter(|| {
                    let image = store.load(&path).expect("a readable image");
                    black_box(augmentation.apply(&image, &mut rng))
                });
            });
        }
    }
}

criterion_group!(benches, images);
criterion_main!(benches);
