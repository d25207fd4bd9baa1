//! The studies and data sets of a configuration.

mod shared_reading;

pub(crate) use shared_reading::assist_in_reading;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use convirt_data::{
    AugmentationConfig, EvalTransform, ImageStore, ImageStoreConfig, ImageTextDataset, ImageView,
    LoaderConfig, ManifestConfig, ManifestError, PairColumns, ReportTokenizer, SampleConfig, Skips,
    Split, SplitConfig, SplitStudies, Study, Texts, check_texts_differ, split,
};
use indicatif::ProgressStyle;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{Config, DatasetConfig};
use crate::error::Error;
use crate::messages::{progress, progress_bar};
use crate::peers::Peers;
use shared_reading::read_manifest;

/// Name of the table in the configuration of a run whose studies were built in code.
const GIVEN_IN_CODE: &str = "studies-built-in-code";

/// The studies of a configuration, split into training and validation.
pub(crate) struct Studies {
    /// The columns of the manifest; `None` if the studies were built in code.
    pub columns: Option<PairColumns>,
    pub split: SplitStudies,
    pub skips: Arc<Skips>,
}

/// The data sets of training and validation.
pub(crate) struct Datasets {
    pub train: Arc<ImageTextDataset>,
    pub valid: Arc<ImageTextDataset>,
}

impl Studies {
    /// Reads and splits the manifest. Draws the configuration's phantom first, if it has one that
    /// is not there yet, and gives the configuration the columns that are recognized.
    pub fn read(config: &mut Config) -> Result<Self, Error> {
        Self::read_with(config, &Peers::alone())
    }

    /// Reads and splits the manifest, the rows of which all peers read together.
    pub fn read_with(config: &mut Config, peers: &Peers) -> Result<Self, Error> {
        draw_phantom(&config.dataset)?;
        let columns = recognize_columns(config)?;
        config.dataset.set_columns(&columns);
        let manifest = read_manifest(config, &manifest_config(config, &columns), peers)?;
        let split = split(manifest.studies, &split_config(config));
        let split = split.map_err(with_config_keys)?;
        Self::checked(config, Some(columns), split, manifest.skips)
    }

    /// Takes studies that were built in code. The configuration names no table then.
    pub fn given(config: &mut Config, split: SplitStudies) -> Result<Self, Error> {
        let data = &mut config.dataset;
        data.csv_file = GIVEN_IN_CODE.into();
        data.phantom = None;
        for (side, studies) in [(Split::Train, &split.train), (Split::Valid, &split.valid)] {
            if studies.is_empty() {
                return Err(ManifestError::EmptySplit { split: side }.into());
            }
        }
        let rows = split.train.len() + split.valid.len() + split.test.len();
        let skips = Skips::new(&data.csv_file, rows, data.max_bad_share);
        Self::checked(config, None, split, skips)
    }

    fn checked(
        config: &Config,
        columns: Option<PairColumns>,
        mut split: SplitStudies,
        skips: Skips,
    ) -> Result<Self, Error> {
        check_texts_differ(&split.train).map_err(with_config_keys)?;
        if config.dataset.shuffle_pairs {
            shuffle_reports(&mut split.train, config.seed);
        }
        Ok(Self {
            columns,
            split,
            skips: Arc::new(skips),
        })
    }

    /// Returns the texts of the training split, on which a vocabulary can be trained.
    pub fn training_texts(&self) -> impl Iterator<Item = &str> {
        self.split.train.iter().map(|study| &*study.report.text)
    }
}

impl Datasets {
    /// Creates both data sets. SimCLR's have two random views of each image in validation too.
    /// `texts` are a tokenizer and the maximum length of a text in tokens.
    pub fn new(
        config: &Config,
        studies: Studies,
        texts: Option<(ReportTokenizer, usize)>,
    ) -> Result<Self, Error> {
        let data = &config.dataset;
        let size = config.image_size();
        let texts = texts.map(|(tokenizer, max_tokens)| (Arc::new(tokenizer), max_tokens));
        let augmentation = AugmentationConfig {
            strength: data.s,
            ..data.augmentation.clone()
        };
        let augmented = ImageView::Augmented(augmentation.init(size)?);
        let views = config.objective.views();
        let evaluated = if views == 1 {
            ImageView::Evaluation(EvalTransform::new(size, data.eval_resize)?)
        } else {
            augmented.clone()
        };
        let skips = studies.skips;
        let dataset = |studies, image, view| -> Result<_, Error> {
            let store = ImageStore::new(ImageStoreConfig {
                longer_side: data.longer_side,
                cache_mb: data.cache_mb,
                cache_dir: data.cache_dir.clone(),
                cache_size: data.cache_size,
                limits: data.decode_limits(),
                ..ImageStoreConfig::default()
            })?;
            let sample = SampleConfig {
                image,
                views,
                texts: texts.clone().map(|(tokenizer, max_tokens)| Texts {
                    tokenizer,
                    view,
                    max_tokens,
                }),
                seed: config.seed,
            };
            Ok(Arc::new(ImageTextDataset::new(
                studies,
                store,
                sample,
                skips.clone(),
            )))
        };
        Ok(Self {
            train: dataset(studies.split.train, augmented, data.train_text)?,
            valid: dataset(studies.split.valid, evaluated, data.eval_text)?,
        })
    }
}

/// Draws the phantom of a configuration, if it has one that is not there yet.
pub(crate) fn draw_phantom(data: &DatasetConfig) -> Result<(), Error> {
    let Some(phantom) = &data.phantom else {
        return Ok(());
    };
    let folder = data.csv_file.parent().unwrap_or(Path::new("."));
    if phantom.is_complete(folder) {
        return Ok(());
    }
    let template = "drawing the chest phantom {wide_bar} {pos}/{len} patients";
    let style = ProgressStyle::with_template(template).expect("a valid template");
    let bar = progress_bar(phantom.patients as u64).with_style(style);
    let summary = phantom.write(folder, |done, _| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    progress(format_args!(
        "drew a chest phantom into {}: {} images of {} patients, {:.1} MB",
        folder.display(),
        summary.images,
        summary.patients,
        summary.bytes as f64 / 1e6,
    ));
    Ok(())
}

/// Recognizes the columns of the pairs that the configuration does not give.
pub(crate) fn recognize_columns(config: &Config) -> Result<PairColumns, ManifestError> {
    config.columns().recognize().map_err(with_config_keys)
}

/// Returns the settings of the manifest.
pub(crate) fn manifest_config(config: &Config, columns: &PairColumns) -> ManifestConfig {
    let data = &config.dataset;
    ManifestConfig {
        img_root_dir: data.img_root_dir.clone(),
        text_root_dir: data.text_root_dir.clone(),
        allow_outside_roots: data.allow_outside_roots,
        min_words: data.min_words,
        max_bad_share: data.max_bad_share,
        limits: data.decode_limits(),
        ..ManifestConfig::with_columns(&data.csv_file, columns)
    }
}

/// Returns the settings of a random split, for a manifest without a split column.
pub(crate) fn split_config(config: &Config) -> SplitConfig {
    SplitConfig {
        valid_size: config.dataset.valid_size,
        seed: config.seed,
    }
}

/// Replaces the data crate's names of settings by the configuration's keys.
pub(crate) fn with_config_keys(error: ManifestError) -> ManifestError {
    error.with_setting(setting_key)
}

/// Returns the configuration's key of a setting of [`manifest_config`] or [`split_config`].
pub(crate) fn setting_key(setting: &'static str) -> &'static str {
    match setting {
        "img_root_dir" => "dataset.img_root_dir",
        "allow_outside_roots" => "dataset.allow_outside_roots",
        "text_from_files" => "dataset.text_from_files",
        "image_col" => "dataset.img_path_col",
        "text_col" => "dataset.text_col",
        "group_col" => "dataset.group_col",
        "split_col" => "dataset.split_col",
        "min_words" => "dataset.min_words",
        "max_bad_share" => "dataset.max_bad_share",
        "exif_orientation" => "dataset.exif_orientation",
        "valid_size" => "dataset.valid_size",
        other => other,
    }
}

/// Returns the settings of the loaders.
pub(crate) fn loader_config(config: &Config) -> LoaderConfig {
    LoaderConfig {
        batch_size: config.batch_size,
        num_workers: config.dataset.num_workers,
        prefetch: config.dataset.prefetch,
        pad_multiple: config.dataset.pad_multiple,
        timeout: Duration::from_secs_f64(60.0 * config.dataset.loader_timeout_minutes),
    }
}

/// Shuffles the reports among the studies, as a control: retrieval must fall to chance.
fn shuffle_reports(studies: &mut [Study], seed: u64) {
    let mut reports: Vec<_> = studies.iter().map(|study| study.report.clone()).collect();
    reports.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    for (study, report) in studies.iter_mut().zip(reports) {
        study.report = report;
    }
}
