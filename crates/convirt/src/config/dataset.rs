//! The section `dataset`: files, split, image and text processing, loading.

use std::fmt;
use std::path::{Path, PathBuf};

use convirt_data::{
    AugmentationConfig, Choice, Column, DecodeLimits, EvalResize, ImageStoreConfig, LoaderConfig,
    PairColumns, SettingError, TextView,
};
use convirt_phantom::{PhantomConfig, PhantomError};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

use super::invalid_setting::{
    BETWEEN_0_AND_1, Check, InvalidSetting, contradiction, expect, gibibytes, number, whole,
    whole_of,
};

/// The pairs: their files, the split, the processing of images and texts, the loading.
///
/// # Examples
///
/// ```
/// use convirt::config::DatasetConfig;
/// use convirt::data::{Choice, Column, TextView};
///
/// let dataset = DatasetConfig {
///     csv_file: "pairs.csv".into(),
///     // Other columns are recognized.
///     text_col: Choice::Given(Some(Column::Name("impression".to_string()))),
///     train_text: TextView::WholeReport,
///     ..DatasetConfig::default()
/// };
/// assert_eq!(dataset.input_shape, [224, 224, 3]);
/// assert_eq!(dataset.decode_limits().max_bytes, 1024 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetConfig {
    /// CSV of the pairs, with a header row; or [`shards`](convirt_data::shards) of them, such as
    /// `train-{000..127}.tar`, for which the key may be called `shards` as well. The only setting
    /// without a default.
    #[serde(alias = "shards")]
    pub csv_file: PathBuf,
    /// Chest phantom, which is drawn into the folder of `csv_file` unless it is there already.
    /// Default: none; the pairs are real.
    pub phantom: Option<PhantomConfig>,
    /// Root folder of relative image paths. Default: the folder of `csv_file`.
    pub img_root_dir: Option<PathBuf>,
    /// Root folder of relative text paths. Default: the folder of `csv_file`.
    pub text_root_dir: Option<PathBuf>,
    /// Whether the CSV may name files outside of its own folder, `img_root_dir` and `text_root_dir`.
    /// Default: `false`; such a path stops the run.
    pub allow_outside_roots: bool,
    /// Whether the text column holds paths of text files (`true`) or the texts themselves. Default:
    /// recognized by the cells.
    #[serde(deserialize_with = "flag_or_auto")]
    pub text_from_files: Choice<bool>,
    /// Column of image paths, by position from 0 or by name. Default: recognized, as
    /// [`ColumnChoices`](convirt_data::ColumnChoices) explains.
    pub img_path_col: Choice<Column>,
    /// Column of texts or of their paths. Default: recognized. SimCLR reads no texts: with a column
    /// it uses the same rows as ConVIRT, without one it uses every image.
    pub text_col: Choice<Option<Column>>,
    /// Column of groups, such as patients, that are never split between training and validation.
    /// Default: recognized. Without one, pairs with equal texts form a group, and without texts
    /// each image does.
    pub group_col: Choice<Option<Column>>,
    /// Column with `train`, `valid` or `test`, or their usual variants. Default: recognized.
    /// Without one, whole groups are held out at random.
    pub split_col: Choice<Option<Column>>,
    /// Approximate share of pairs held out for validation, between 0 and 1, without a split column.
    /// Default: 0.1 (Colab); the paper holds out 5,000 pairs.
    pub valid_size: f64,
    /// Share of unusable rows above which the run stops, 0 to 1. Default: 0.01.
    pub max_bad_share: f64,
    /// Minimum number of words of a sentence. Shorter sentences are not used, and reports without a
    /// usable sentence are left out. Default: 3 (paper).
    pub min_words: usize,
    /// Whether the training images get each other's reports, as a control: retrieval must fall to
    /// chance. Default: `false`.
    pub shuffle_pairs: bool,

    /// Height, width and channels of the image encoder's input: a square of 32 to 4,096 pixels and
    /// 3 channels. Default: 224, 224, 3 (paper).
    pub input_shape: [usize; 3],
    /// Maximum of an image's longer side, 32 to 65,535 pixels. Longer images are scaled down once,
    /// after decoding; `None` scales none. Default: 256 (paper).
    pub longer_side: Option<usize>,
    /// Strength of the changes of brightness and contrast, a factor from 0 to 10. Default: 1
    /// (paper).
    pub s: f64,
    /// Ranges of the random augmentation in training. Default: the paper's.
    pub augmentation: AugmentationConfig,
    /// Resizing of images to squares in evaluation: `center_crop` or `stretch`. Default:
    /// `center_crop`.
    pub eval_resize: EvalResize,
    /// Part of a report that training reads: `random_sentence` or `whole_report`. Default:
    /// `random_sentence` (paper).
    pub train_text: TextView,
    /// Part of a report that evaluation reads. Default: `whole_report`.
    pub eval_text: TextView,

    /// Threads that prepare batches, at most 1,024; 0 uses the thread of the training. Default: 4
    /// (Colab).
    pub num_workers: usize,
    /// Batches prepared ahead, 1 to 1,024. Default: 3.
    pub prefetch: usize,
    /// Minutes to wait for an image at most, 0 to 10,000, after which a run ends with an error that
    /// names it; 0 waits forever, as `num_workers: 0` always does. Default: 10.
    pub loader_timeout_minutes: f64,
    /// Memory for decoded images, in MiB for each of training and validation, at most 16,777,216; 0
    /// decodes images every time. Default: 1,024.
    pub cache_mb: usize,
    /// Folder that keeps images scaled to `longer_side` for later runs, which may share it at the
    /// same time. Default: none.
    pub cache_dir: Option<PathBuf>,
    /// Maximum size of the images in `cache_dir`, in GiB, above 0 and at most 1,000,000. Default:
    /// 20.
    pub cache_size: f64,
    /// Maximum width and height of an image file, 32 to 65,535 pixels, so that a damaged header
    /// does not take all memory. Rows with larger images are unusable. Default: 16,384.
    pub max_image_side: u32,
    /// Maximum size of an image file, and of its image decoded in the file's own depth, 1 to 65,536
    /// MiB. Rows with larger images are unusable. Default: 1,024.
    pub max_image_mb: u32,
    /// Whether JPEG and PNG images are rotated as their EXIF data say, as for photographs of films.
    /// Default: `true`.
    pub exif_orientation: bool,
    /// Number of tokens, 1 to 65,536; the texts of a batch are padded to a multiple of it. Default:
    /// 8.
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
            allow_outside_roots: false,
            text_from_files: Choice::Auto,
            img_path_col: Choice::Auto,
            text_col: Choice::Auto,
            group_col: Choice::Auto,
            split_col: Choice::Auto,
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
            loader_timeout_minutes: loader.timeout.as_secs_f64() / 60.0,
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
    /// Checks the section and the sections in it.
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
        let minutes = self.loader_timeout_minutes;
        number("loader_timeout_minutes", minutes, 0.0..=10_000.0)?;
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
        let Some(phantom) = &self.phantom else {
            return Ok(());
        };
        let folder = self.csv_file.parent().and_then(Path::file_name);
        if folder.is_none() {
            let problem = "the chest phantom needs a folder of its own, as in phantom/pairs.csv; \
                           for pairs that exist, set `dataset.phantom` to null";
            return contradiction("csv_file", problem);
        }
        match phantom.validate() {
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
            let problem = "set `dataset.s` instead, which is the same setting";
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

    /// Gives the columns that were recognized.
    pub(crate) fn set_columns(&mut self, columns: &PairColumns) {
        self.img_path_col = Choice::Given(columns.image.clone());
        self.text_col = Choice::Given(columns.text.clone());
        self.text_from_files = Choice::Given(columns.text_from_files);
        self.group_col = Choice::Given(columns.group.clone());
        self.split_col = Choice::Given(columns.split.clone());
    }

    /// Returns the limits of image files, and whether images are rotated by their EXIF data.
    pub fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_side: self.max_image_side,
            max_bytes: u64::from(self.max_image_mb) << 20,
            exif_orientation: self.exif_orientation,
        }
    }
}

/// Reads `auto`, `True` or `False`, the latter two also as quoted words.
fn flag_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Choice<bool>, D::Error> {
    struct Flag;

    impl Visitor<'_> for Flag {
        type Value = Choice<bool>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("expected auto, True or False")
        }

        fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
            Ok(Choice::Given(flag))
        }

        fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
            match word.to_ascii_lowercase().as_str() {
                "auto" => Ok(Choice::Auto),
                "true" | "yes" | "on" => Ok(Choice::Given(true)),
                "false" | "no" | "off" => Ok(Choice::Given(false)),
                _ => Err(E::custom(format_args!(
                    "expected auto, True or False, found {word:?}"
                ))),
            }
        }
    }

    deserializer.deserialize_any(Flag)
}
