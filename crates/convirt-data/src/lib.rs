//! Image–report pairs for contrastive pretraining: files in, batches out.
//!
//! [`Manifest::read`] reads a CSV of images and texts into [`Study`]s, and lists skipped rows in
//! [`Skips`]. [`split`] splits the studies by patient. [`ReportTokenizer`] turns their sentences
//! into token ids.
//!
//! [`MimicConfig`] and [`OpenIConfig`] prepare such a CSV and resized images from MIMIC-CXR and
//! OpenI. [`Sections`] extracts findings and impression from a report. [`DoctorConfig`] finds
//! problems in a CSV, its texts and its images before a run.
//!
//! [`LabelledManifest::read`] reads a CSV of images and labels into [`LabelledImage`]s, for
//! classifiers; [`draw_fraction`] draws a stratified subset of them.
//!
//! An [`ImageTextDataset`] turns a study into a [`Sample`]: an image from the [`ImageStore`],
//! transformed by an [`Augmentation`] or an [`EvalTransform`], and a sentence or the whole report;
//! or several augmented views of the image without a text.
//!
//! [`TrainingLoader`] and [`EvaluationLoader`] collate samples into [`ImageTextBatch`]es, in worker
//! threads and in an order that depends only on the seed. [`ImageBatches`] loads images without
//! texts, in the order of their paths.

mod setting;
mod progress;
mod randomness;
mod files;
mod distinct;
mod skips;
mod text;
mod image;
mod manifest;
mod augment;
mod loader;
mod prepare;
mod doctor;
mod error;

pub use self::image::{
    CropBox, DecodeLimits, ImageError, ImageFiles, ImageStore, ImageStoreConfig, Radiograph,
    Thumbnail, number_images,
};
pub use augment::{
    Augmentation, AugmentationConfig, AugmentationParams, EvalResize, EvalTransform,
};
pub use distinct::Distinct;
pub use doctor::{
    Cleaned, DataCounts, Diagnosis, DoctorConfig, DoctorError, Finding, FindingKind, Findings,
    Severity, TokenCheck,
};
pub use error::DataError;
pub use files::{
    FileError, NewFile, NotUtf8, PassedOver, PassedOverKind, beginning, decode_text, folder_of,
    is_plain_name, open_regular, path_from_text, path_text, printable, printable_lines,
    read_regular, read_regular_text, truncated_list,
};
pub use loader::{
    BatchShare, BatchShares, EvaluationLoader, ImageBatch, ImageBatches, ImageTextBatch,
    ImageTextDataset, ImageView, LoaderConfig, LoaderError, LoaderPosition, Padding, Sample,
    SampleConfig, SampleText, TextBatch, TextView, Texts, TrainingLoader, TrainingSteps,
    Unreadable, collate, collate_texts, text_ids,
};
pub use manifest::{
    BlankPolicy, Chexpert8x200, ChexpertCandidate, ChexpertQuery, Choice, Column, ColumnChoices,
    Grouped, LabelColumns, LabelledConfig, LabelledImage, LabelledManifest, Labels, Manifest,
    ManifestConfig, ManifestError, PairColumns, Report, Sides, Split, SplitConfig, SplitStudies,
    Study, StudyId, SubjectId, TableError, UncertainPolicy, UnknownSplit, assign_folds,
    check_texts_differ, count_leaked_images, draw_fraction, fingerprint, hold_out, shards,
    small_validation_warning, split, split_labelled,
};
pub use prepare::{
    MimicConfig, MimicSplit, Omission, Omissions, OpenIConfig, PrepareError, Prepared,
    PreparedImages,
};
pub use progress::{Progress, Stage};
pub use setting::SettingError;
pub use skips::{Skip, SkipReason, Skips, TooManyBadRows};
pub use text::{
    ReportTokenizer, Section, SectionName, Sections, TokenizerError, Tokens, sentences, word_count,
};

#[cfg(test)]
mod tests {
    pub(crate) mod fixtures;
}
