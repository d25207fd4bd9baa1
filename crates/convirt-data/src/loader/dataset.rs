//! The data set: studies turned into normalized views of images and tokenized texts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::augment::{Augmentation, EvalTransform};
use crate::files::FileError;
use crate::image::{ImageError, ImageStore};
use crate::loader::error::LoaderError;
use crate::manifest::Study;
use crate::randomness::{Purpose, stream};
use crate::skips::{Skip, SkipReason, Skips};
use crate::text::{ReportTokenizer, Tokens};

/// Which part of a report a sample contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextView {
    /// One sentence, drawn uniformly for each sample and epoch (Zhang et al. 2022, section 3.2), or
    /// the whole report if it has no sentences.
    #[default]
    RandomSentence,
    /// The whole report, truncated to `max_tokens`.
    WholeReport,
}

/// How an image becomes a network input.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageView {
    /// A random view, different for each sample and epoch.
    Augmented(Augmentation),
    /// A fixed view.
    Evaluation(EvalTransform),
}

/// How a report becomes a network input.
#[derive(Clone, Debug)]
pub struct Texts {
    /// Splits texts into tokens.
    pub tokenizer: Arc<ReportTokenizer>,
    /// Which part of the report is used.
    pub view: TextView,
    /// Longest text, in tokens including special ones; longer texts are truncated.
    pub max_tokens: usize,
}

/// Configures the samples of an [`ImageTextDataset`].
#[derive(Clone, Debug)]
pub struct SampleConfig {
    /// How the image becomes a network input.
    pub image: ImageView,
    /// Views of an image in a sample, drawn independently; at least 1.
    pub views: u32,
    /// The texts; `None` makes a data set of images alone.
    pub texts: Option<Texts>,
    /// Seed of all random choices.
    pub seed: u64,
}

/// One image, with or without a text, ready for a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Position of the study in the data set.
    pub index: usize,
    /// Side of the view, in pixels.
    pub size: usize,
    /// The normalized views: `[views, 3, size, size]`, flat.
    pub pixels: Vec<f32>,
    /// The text; `None` in a data set without texts.
    pub text: Option<SampleText>,
}

/// The text of a [`Sample`].
#[derive(Clone, Debug, PartialEq)]
pub struct SampleText {
    /// The text as tokens, special ones included.
    pub tokens: Tokens,
    /// The text itself.
    pub text: String,
}

/// A data set that turns studies into samples.
///
/// The random choices for a sample depend only on the seed, the epoch, the index of the study and,
/// for a view, its number within the sample.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use convirt_data::{
///     AugmentationConfig, ImageStore, ImageStoreConfig, ImageTextDataset, ImageView, Manifest,
///     ManifestConfig, ReportTokenizer, SampleConfig, TextView,
///     Texts,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # image::GrayImage::new(40, 40).save(folder.path().join("a.png"))?;
/// # let csv = folder.path().join("pairs.csv");
/// # std::fs::write(&csv, "image,text\na.png,The lungs are clear. The heart is normal.\n")?;
/// let manifest = Manifest::read(&ManifestConfig::new(csv))?;
/// let texts = manifest.studies.iter().map(|study| &study.report.text);
/// let tokenizer = ReportTokenizer::train(texts, 100, true)?;
/// let config = SampleConfig {
///     image: ImageView::Augmented(AugmentationConfig::default().init(32)?),
///     views: 1,
///     texts: Some(Texts {
///         tokenizer: Arc::new(tokenizer),
///         view: TextView::RandomSentence,
///         max_tokens: 16,
///     }),
///     seed: 7,
/// };
/// let store = ImageStore::new(ImageStoreConfig::for_input_size(32))?;
/// let skips = Arc::new(manifest.skips);
/// let dataset = ImageTextDataset::new(manifest.studies, store, config, skips);
///
/// let sample = dataset.sample(0, 0)?;
/// assert_eq!(sample.pixels.len(), 3 * 32 * 32);
/// let text = sample.text.unwrap().text;
/// assert!(["The lungs are clear.", "The heart is normal."].contains(&text.as_str()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ImageTextDataset {
    studies: Vec<Study>,
    images: ImageStore,
    config: SampleConfig,
    skips: Arc<Skips>,
    unreadable: Vec<AtomicBool>,
}

impl ImageView {
    /// Returns the side of the network input, in pixels.
    pub fn size(&self) -> usize {
        match self {
            Self::Augmented(augmentation) => augmentation.size(),
            Self::Evaluation(transform) => transform.size(),
        }
    }
}

impl ImageTextDataset {
    /// Makes a data set of `studies`; unreadable images will be added to `skips`.
    ///
    /// # Panics
    ///
    /// When `config.views` is 0.
    pub fn new(
        studies: Vec<Study>,
        images: ImageStore,
        config: SampleConfig,
        skips: Arc<Skips>,
    ) -> Self {
        assert!(config.views > 0, "a sample has at least one view");
        let unreadable = studies.iter().map(|_| AtomicBool::new(false)).collect();
        Self {
            studies,
            images,
            config,
            skips,
            unreadable,
        }
    }

    /// Returns the number of studies.
    pub fn len(&self) -> usize {
        self.studies.len()
    }

    /// Whether there are no studies.
    pub fn is_empty(&self) -> bool {
        self.studies.is_empty()
    }

    /// Returns the studies, in the order of the indices.
    pub fn studies(&self) -> &[Study] {
        &self.studies
    }

    /// Returns the configuration of the samples.
    pub fn config(&self) -> &SampleConfig {
        &self.config
    }

    /// Returns the tokenizer, if the samples have texts.
    pub fn tokenizer(&self) -> Option<&ReportTokenizer> {
        self.config.texts.as_ref().map(|texts| &*texts.tokenizer)
    }

    /// Makes the sample of study `index` in `epoch`.
    ///
    /// # Errors
    ///
    /// Those of [`Radiograph::read`](crate::image::Radiograph::read) and of
    /// [`ReportTokenizer::encode`].
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub fn sample(&self, epoch: u64, index: usize) -> Result<Sample, LoaderError> {
        let pixels = self.views(epoch, index)?;
        self.with_text(epoch, index, pixels)
    }

    /// Makes the sample of study `index` in `epoch`, or `None` when its image cannot be read.
    ///
    /// A study whose image cannot be read is added to the skips and not tried again.
    ///
    /// # Errors
    ///
    /// `TooManyBadRows` when too many images are unreadable, and those of
    /// [`ReportTokenizer::encode`].
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub fn sample_or_skip(&self, epoch: u64, index: usize) -> Result<Option<Sample>, LoaderError> {
        if self.unreadable[index].load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.views(epoch, index) {
            Ok(pixels) => self.with_text(epoch, index, pixels).map(Some),
            Err(error) => {
                self.unreadable[index].store(true, Ordering::Relaxed);
                self.skips.record(self.skip(index, &error))?;
                Ok(None)
            }
        }
    }

    fn views(&self, epoch: u64, index: usize) -> Result<Vec<f32>, ImageError> {
        let image = self.images.load(&self.studies[index].image)?;
        let view = |number| match &self.config.image {
            ImageView::Evaluation(transform) => transform.apply(&image),
            ImageView::Augmented(augmentation) => {
                let seed = self.config.seed;
                let mut rng = stream(Purpose::Image(number), seed, epoch, index as u64);
                augmentation.apply(&image, &mut rng)
            }
        };
        let views: Vec<_> = (0..self.config.views).map(view).collect();
        Ok(views.concat())
    }

    fn with_text(&self, epoch: u64, index: usize, pixels: Vec<f32>) -> Result<Sample, LoaderError> {
        let read = |texts: &Texts| {
            let text = self.text(texts.view, epoch, index);
            Ok::<_, LoaderError>(SampleText {
                tokens: texts.tokenizer.encode(text, texts.max_tokens)?,
                text: text.into(),
            })
        };
        Ok(Sample {
            index,
            size: self.config.image.size(),
            pixels,
            text: self.config.texts.as_ref().map(read).transpose()?,
        })
    }

    fn text(&self, view: TextView, epoch: u64, index: usize) -> &str {
        let report = &self.studies[index].report;
        match view {
            TextView::RandomSentence if !report.sentences.is_empty() => {
                let mut rng = stream(Purpose::Text, self.config.seed, epoch, index as u64);
                &report.sentences[rng.random_range(0..report.sentences.len())]
            }
            TextView::RandomSentence | TextView::WholeReport => &report.text,
        }
    }

    fn skip(&self, index: usize, error: &ImageError) -> Skip {
        let study = &self.studies[index];
        let missing = |cause: &io::Error| cause.kind() == io::ErrorKind::NotFound;
        let reason = match error {
            ImageError::File(FileError::Read { cause, .. }) if missing(cause) => {
                SkipReason::MissingImage
            }
            _ => SkipReason::UnreadableImage,
        };
        Skip {
            file: study.image.clone(),
            row: study.row,
            reason,
            detail: error.reason(&study.image),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::augment::AugmentationConfig;
    use crate::image::ImageStoreConfig;
    use crate::skips::TooManyBadRows;
    use crate::tests::fixtures::{dataset, evaluation_view, studies};

    fn augmented_view() -> ImageView {
        ImageView::Augmented(AugmentationConfig::default().init(32).unwrap())
    }

    fn text(data: &ImageTextDataset, epoch: u64, index: usize) -> String {
        data.sample(epoch, index).unwrap().text.unwrap().text
    }

    #[test]
    fn training_views_differ_by_epoch_and_index_and_repeat_for_both() {
        let folder = tempfile::tempdir().unwrap();
        let mut studies = studies(folder.path(), 2);
        studies[1].image = studies[0].image.clone();
        let data = dataset(studies, augmented_view(), 0.0);
        let first = data.sample(0, 0).unwrap();
        assert_eq!(data.sample(0, 0).unwrap(), first);
        assert_ne!(data.sample(1, 0).unwrap().pixels, first.pixels);
        assert_ne!(data.sample(0, 1).unwrap().pixels, first.pixels);
    }

    #[test]
    fn views_of_one_sample_differ_and_the_first_does_not_depend_on_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let studies = studies(folder.path(), 2);
        let single = dataset(studies.clone(), augmented_view(), 0.0);
        let config = SampleConfig {
            views: 2,
            texts: None,
            ..single.config.clone()
        };
        let images = ImageStore::new(ImageStoreConfig::for_input_size(32)).unwrap();
        let double = ImageTextDataset::new(studies, images, config, single.skips.clone());
        let mut seen = Vec::new();
        for (epoch, index) in [(0, 0), (0, 1), (1, 0)] {
            let sample = double.sample(epoch, index).unwrap();
            assert_eq!(double.sample(epoch, index).unwrap(), sample);
            assert_eq!(sample.text, None);
            let (first, second) = sample.pixels.split_at(3 * 32 * 32);
            assert_eq!(first, single.sample(epoch, index).unwrap().pixels);
            seen.extend([first.to_vec(), second.to_vec()]);
        }
        for (place, view) in seen.iter().enumerate() {
            assert!(!seen[..place].contains(view), "view {place}");
        }
    }

    #[test]
    fn evaluation_views_are_the_same_in_every_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let data = dataset(studies(folder.path(), 1), evaluation_view(), 0.0);
        let pixels = data.sample(0, 0).unwrap().pixels;
        assert_eq!(data.sample(1, 0).unwrap().pixels, pixels);
    }

    #[test]
    fn every_sentence_is_drawn_in_some_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let data = dataset(studies(folder.path(), 1), evaluation_view(), 0.0);
        let texts: BTreeSet<_> = (0..30).map(|epoch| text(&data, epoch, 0)).collect();
        let sentences = ["Finding 0 is present.", "The heart is normal."];
        assert_eq!(texts, sentences.map(String::from).into());
    }

    #[test]
    fn sentences_do_not_depend_on_the_image_view() {
        let folder = tempfile::tempdir().unwrap();
        let studies = studies(folder.path(), 8);
        let evaluated = dataset(studies.clone(), evaluation_view(), 0.0);
        let augmented = dataset(studies, augmented_view(), 0.0);
        for index in 0..8 {
            let samples = [&evaluated, &augmented].map(|data| data.sample(3, index).unwrap());
            assert!(samples[0].text.is_some());
            assert_eq!(samples[0].text, samples[1].text);
        }
    }

    #[test]
    fn the_whole_report_is_used_on_request_or_without_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let mut studies = studies(folder.path(), 2);
        studies[1].report.sentences.clear();
        let mut data = dataset(studies, evaluation_view(), 0.0);
        assert_eq!(
            text(&data, 0, 1),
            "Finding 1 is present. The heart is normal."
        );
        data.config.texts.as_mut().unwrap().view = TextView::WholeReport;
        assert_eq!(
            text(&data, 0, 0),
            "Finding 0 is present. The heart is normal."
        );
    }

    #[test]
    fn an_unreadable_image_is_listed_once_and_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let studies = studies(folder.path(), 3);
        fs::write(&studies[1].image, b"no image").unwrap();
        fs::remove_file(&studies[2].image).unwrap();
        let good = studies[0].image.clone();
        let bad = studies[1].image.clone();
        let data = dataset(studies, evaluation_view(), 1.0);
        for epoch in 0..2 {
            assert!(data.sample_or_skip(epoch, 0).unwrap().is_some());
            assert_eq!(data.sample_or_skip(epoch, 1).unwrap(), None);
            assert_eq!(data.sample_or_skip(epoch, 2).unwrap(), None);
        }
        let reasons: Vec<_> = data
            .skips
            .list()
            .iter()
            .map(|s| (s.row, s.reason))
            .collect();
        assert_eq!(
            reasons,
            [
                (2, SkipReason::UnreadableImage),
                (3, SkipReason::MissingImage)
            ]
        );
        fs::copy(good, bad).unwrap();
        assert_eq!(data.sample_or_skip(2, 1).unwrap(), None);
        assert!(data.sample(2, 1).is_ok());
    }

    #[test]
    fn too_many_unreadable_images_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let studies = studies(folder.path(), 3);
        for study in &studies[..2] {
            fs::write(&study.image, []).unwrap();
        }
        let data = dataset(studies, evaluation_view(), 0.4);
        assert_eq!(data.sample_or_skip(0, 0).unwrap(), None);
        let error = data.sample_or_skip(0, 1).unwrap_err();
        assert!(matches!(
            error,
            LoaderError::TooManyBadRows(TooManyBadRows { bad_rows: 2, .. })
        ));
    }
}
