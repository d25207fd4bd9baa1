//! Fixtures for the tests of images, data sets and loaders.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use safetensors::SafeTensors;

use crate::augment::{EvalResize, EvalTransform};
use crate::image::{ImageStore, ImageStoreConfig};
use crate::loader::{ImageTextDataset, ImageView, SampleConfig, TextView, Texts};
use crate::manifest::{Report, Study};
use crate::skips::Skips;
use crate::text::ReportTokenizer;

/// A file of `tests/data`.
pub fn data_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Shape and bytes of an array of `images.safetensors`, which Pillow 13, torchvision 0.29 and
/// OpenCV 5 computed.
pub fn reference_bytes(name: &str) -> (Vec<usize>, Vec<u8>) {
    let file = fs::read(data_file("images.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

/// Values of a float array of `images.safetensors`.
pub fn reference_floats(name: &str) -> Vec<f32> {
    let (_, bytes) = reference_bytes(name);
    let floats = bytes.chunks_exact(4);
    floats
        .map(|float| f32::from_le_bytes(float.try_into().unwrap()))
        .collect()
}

/// Largest difference of two images of range 0 to 1, in levels of 8 bits.
pub fn levels_apart(image: &[f32], other: &[f32]) -> f32 {
    assert_eq!(image.len(), other.len());
    let differences = image.iter().zip(other).map(|(a, b)| (a - b).abs() * 255.0);
    differences.fold(0.0, f32::max)
}

/// A folder of `count` small grey PNGs of different patterns, with a study for each.
///
/// Study `i` is row `i + 1` and has the sentences `finding i is present` and `the heart is
/// normal`.
pub fn studies(folder: &Path, count: usize) -> Vec<Study> {
    (0..count)
        .map(|i| {
            let image = folder.join(format!("{i}.png"));
            let samples: Vec<_> = (0..40_usize * 30)
                .map(|pixel| (pixel * (i + 3) % 251) as u8)
                .collect();
            image::save_buffer(&image, &samples, 40, 30, image::ColorType::L8).unwrap();
            Study {
                row: i + 1,
                image,
                image_size: [40, 30],
                image_content: 0,
                report: Report::new(format!("Finding {i} is present. The heart is normal."), 3),
                group: format!("patient {i}"),
                split: None,
            }
        })
        .collect()
}

/// A data set of `studies` in evaluation views of 32×32, with bad rows up to `max_bad_share`.
pub fn dataset(studies: Vec<Study>, image: ImageView, max_bad_share: f64) -> ImageTextDataset {
    dataset_with_pauses(studies, image, max_bad_share, &[])
}

/// A [`dataset`] that tries unreadable files again after some pauses.
pub fn dataset_with_pauses(
    studies: Vec<Study>,
    image: ImageView,
    max_bad_share: f64,
    pauses: &[Duration],
) -> ImageTextDataset {
    let texts = ["Finding 0123456789 is present. The heart is normal."];
    let tokenizer = ReportTokenizer::train(texts.into_iter(), 100, true).unwrap();
    let skips = Arc::new(Skips::new("pairs.csv", studies.len(), max_bad_share));
    let views = SampleConfig {
        image,
        views: 1,
        texts: Some(Texts {
            tokenizer: Arc::new(tokenizer),
            view: TextView::RandomSentence,
            max_tokens: 12,
        }),
        seed: 7,
    };
    let images = ImageStore::new(ImageStoreConfig {
        retry_pauses: pauses.into(),
        ..ImageStoreConfig::for_input_size(32)
    });
    ImageTextDataset::new(studies, images.unwrap(), views, skips)
}

/// Evaluation views of 32×32.
pub fn evaluation_view() -> ImageView {
    ImageView::Evaluation(EvalTransform::new(32, EvalResize::CenterCrop).unwrap())
}
