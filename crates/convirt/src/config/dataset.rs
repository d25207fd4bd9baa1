//! The section `dataset`.

use std::path::PathBuf;

use convirt_data::{
    AugmentationConfig, Column, DecodeLimits, EvalResize, ImageStoreConfig, LoaderConfig,
    SettingError, TextView,
};
use convirt_phantom::{PhantomConfig, PhantomError};
use serde::{Deserialize, Serialize};

use super::invalid_setting::{
    BETWEEN_0_AND_1, Check, InvalidSetting, contradiction, expect, gibibytes, number, whole,
    whole_of,
};

/// The pairs: where they are, how they are divided, seen and loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetConfig {
    /// CSV of the pairs, with a header row. The one setting without a default.
    pub csv_file: PathBuf,
    /// Chest phantom to draw into the folder of `csv_file` where there is none; `None` for real
    /// pairs.
    pub phantom: Option<PhantomConfig>,
    /// Folder that relative image paths start from; that of `csv_file`.
    pub img_root_dir: Option<PathBuf>,
    /// Folder that relative text paths start from; that of `csv_file`.
    pub text_root_dir: Option<PathBuf>,
    /// Whether the text column holds paths of text files (`true`, Colab) or the texts.
    pub text_from_files: bool,
    /// Column of image paths, by position from 0 or by name; 0 (Colab).
    pub img_path_col: Column,
    /// Column of texts or their paths; 1 (Colab). SimCLR reads no texts: without a column given it
    /// takes every image, with one the same rows as ConVIRT.
    pub text_col: Option<Column>,
    /// Column of what is never on both sides of the split, such as the patient. Without one, equal
    /// texts stay together, and of images alone each is by itself.
    pub group_col: Option<Column>,
    /// Column that says `train`, `valid` or `test`, with the usual variants; without one, groups
    /// are drawn for `valid_size`.
    pub split_col: Option<Column>,
    /// Share of pairs held out, between 0 and 1; 0.1 (Colab). The paper holds out 5,000 pairs.
    pub valid_size: f64,
    /// Share of rows that may be unusable before the run stops, 0 to 1; 0.01.
    pub max_bad_share: f64,
    /// Words a sentence needs to be used; a report without such a sentence is left out. 3 (paper).
    pub min_words: usize,
    /// Whether every training image gets another one's report: a control, whose retrieval must
    /// fall back to chance. `false`.
    pub shuffle_pairs: bool,

    /// Height, width and channels of the image encoder's input: a square of 32 to 4,096 pixels, 3;
    /// 224, 224, 3 (paper).
    pub input_shape: [usize; 3],
    /// Images with a longer side are scaled down to it once, 32 to 65,535 pixels; 256 (paper).
    /// `None` keeps every pixel.
    pub longer_side: Option<usize>,
    /// Strength of the changes in brightness and contrast, a factor from 0 to 10; 1 (paper).
    pub s: f64,
    /// Ranges of the random views in training; the paper's.
    pub augmentation: AugmentationConfig,
    /// How an image becomes a square in evaluation; `center_crop`, or `stretch`.
    pub eval_resize: EvalResize,
    /// What is read of a report in training; `random_sentence` (paper), or `whole_report`.
    pub train_text: TextView,
    /// What is read of a report in evaluation; `whole_report`.
    pub eval_text: TextView,

    /// Threads that prepare batches, at most 1,024; 0 uses the training's own. 4 (Colab).
    pub num_workers: usize,
    /// Batches prepared ahead, 1 to 1,024; 3.
    pub prefetch: usize,
    /// Memory for decoded images, in MiB for each side of the split, at most 16,777,216; 0 decodes
    /// anew. 1,024.
    pub cache_mb: usize,
    /// Folder that keeps images scaled to `longer_side` from run to run; `None` keeps none. Runs
    /// may share it.
    pub cache_dir: Option<PathBuf>,
    /// Images in that folder at the most, in GiB, above 0 and at most 1,000,000; 20.
    pub cache_size: f64,
    /// Longest width and height that an image file may have, 32 to 65,535 pixels; 16,384. Larger
    /// ones are bad rows: a damaged header must not take all memory.
    pub max_image_side: u32,
    /// Largest image file, and largest decoded image in the file's own depth, 1 to 65,536 MiB;
    /// 1,024. Larger ones are bad rows.
    pub max_image_mb: u32,
    /// Whether JPEG and PNG files are turned as their EXIF asks, as photographs of films do;
    /// `true`.
    pub exif_orientation: bool,
    /// Texts of a batch are padded to a multiple of so many tokens, 1 to 65,536; 8.
    pub pad_multiple: usize,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        let loader = LoaderConfig::default();
        let images = ImageStoreConfig::default();
        Self {
            csv_file: PathBuf::new(),
            phantom: None,
            img_root_dir: None,
            text_root_dir: None,
            text_from_files: true,
            img_path_col: Column::Position(0),
            text_col: None,
            group_col: None,
            split_col: None,
            valid_size: 0.1,
            max_bad_share: 0.01,
            min_words: 3,
            shuffle_pairs: false,
            input_shape: [224, 224, 3],
            longer_side: images.longer_side,
            s: 1.0,
            augmentation: AugmentationConfig::default(),
            eval_resize: EvalResize::default(),
            train_text: TextView::RandomSentence,
            eval_text: TextView::WholeReport,
            num_workers: loader.num_workers,
            prefetch: loader.prefetch,
            cache_mb: images.cache_mb,
            cache_dir: None,
            cache_size: images.cache_size,
            max_image_side: images.limits.max_side,
            max_image_mb: (images.limits.max_bytes >> 20) as u32,
            exif_orientation: images.limits.exif_orientation,
            pad_multiple: loader.pad_multiple,
        }
    }
}

impl DatasetConfig {
    /// Checks the section and those inside it.
    pub(super) fn check(&self) -> Check {
        if self.csv_file.as_os_str().is_empty() {
            return contradiction("csv_file", "missing; the CSV of the pairs is needed");
        }
        self.check_phantom()?;
        number("valid_size", self.valid_size, BETWEEN_0_AND_1)?;
        number("max_bad_share", self.max_bad_share, 0.0..=1.0)?;
        let [height, width, channels] = self.input_shape;
        expect(
            "input_shape",
            height == width && (32..=4096).contains(&height) && channels == 3,
            "a square of 32 to 4096 pixels with 3 channels, such as (224, 224, 3)",
            format!("({height}, {width}, {channels})"),
        )?;
        let sides = ImageStoreConfig::LONGER_SIDES;
        whole("longer_side", self.longer_side, sides)?;
        whole(
            "num_workers",
            self.num_workers,
            0..=LoaderConfig::MAX_WORKERS,
        )?;
        whole("prefetch", self.prefetch, 1..=LoaderConfig::MAX_PREFETCH)?;
        let multiples = 1..=LoaderConfig::MAX_PAD_MULTIPLE;
        whole("pad_multiple", self.pad_multiple, multiples)?;
        whole(
            "cache_mb",
            self.cache_mb,
            0..=ImageStoreConfig::MAX_CACHE_MB,
        )?;
        gibibytes("cache_size", self.cache_size)?;
        let sides = DecodeLimits::SIDES;
        whole_of("max_image_side", "pixels", self.max_image_side, sides)?;
        let sizes = DecodeLimits::MEBIBYTES;
        whole_of("max_image_mb", "MiB", self.max_image_mb, sizes)?;
        number("s", self.s, AugmentationConfig::STRENGTHS)?;
        self.check_augmentation()
    }

    fn check_phantom(&self) -> Check {
        match self
            .phantom
            .as_ref()
            .map_or(Ok(()), PhantomConfig::validate)
        {
            Ok(()) => Ok(()),
            Err(PhantomError::OutOfRange {
                setting,
                value,
                allowed,
            }) => {
                let expected = format!("a value {allowed}");
                Err(InvalidSetting::out_of_range(setting, expected, value).in_section("phantom"))
            }
            Err(other) => contradiction("phantom", other.to_string()),
        }
    }

    fn check_augmentation(&self) -> Check {
        if self.augmentation.strength != 1.0 {
            let problem = "say it with `dataset.s`, which is the same";
            return contradiction("augmentation.strength", problem);
        }
        match self.augmentation.init(self.input_shape[0]) {
            Ok(_) => Ok(()),
            Err(SettingError::OutOfRange {
                setting,
                value,
                allowed,
                ..
            }) => {
                let expected = format!("a value {allowed}");
                Err(InvalidSetting::out_of_range(setting, expected, value)
                    .in_section("augmentation"))
            }
            Err(other) => contradiction("augmentation", other.to_string()),
        }
    }

    /// Bounds on what an image file may ask for, and whether it is turned.
    pub fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_side: self.max_image_side,
            max_bytes: u64::from(self.max_image_mb) << 20,
            exif_orientation: self.exif_orientation,
        }
    }
}
