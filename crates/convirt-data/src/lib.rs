//! Image–report pairs for contrastive pretraining: files in, batches out.
//!
//! A CSV names images and texts; [`Manifest::read`] makes [`Study`]s of its rows and lists in
//! [`Skips`] what it had to leave out; [`split`] divides them by patient; [`ReportTokenizer`]
//! turns their sentences into token ids.
//!
//! [`MimicConfig`] and [`OpenIConfig`] make such a CSV, and small images, of a hospital's files;
//! [`Sections`] finds the findings and the impression of a report. [`DoctorConfig`] looks for what
//! is wrong with a CSV, its texts and its images before a run.
//!
//! [`LabelledManifest::read`] makes [`LabelledImage`]s of a CSV that names images and labels, for
//! classifiers; [`draw_fraction`] takes a part of them.
//!
//! An [`ImageTextDataset`] makes a [`Sample`] of a study: the image from its [`ImageStore`], seen
//! through an [`Augmentation`] or an [`EvalTransform`], and a sentence or the whole report; or of
//! the image alone, in two views of an [`Augmentation`].
//! [`TrainingLoader`] and [`EvaluationLoader`] make [`ImageTextBatch`]es of samples, in worker
//! threads, in an order that depends on the seed alone; [`ImageBatches`] of images without texts,
//! in the order of their paths.

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
    FileError, NewFile, NotUtf8, PassedOver, PassedOverKind, decode_text, is_plain_name,
    open_regular, path_from_text, path_text, printable, printable_lines, read_regular,
    read_regular_text, truncated_list,
};
pub use loader::{
    EvaluationLoader, ImageBatch, ImageBatches, ImageTextBatch, ImageTextDataset, ImageView,
    LoaderConfig, LoaderError, LoaderPosition, Padding, Sample, SampleConfig, SampleText,
    TextBatch, TextView, Texts, TrainingLoader, TrainingSteps, Unreadable, collate, collate_texts,
};
pub use manifest::{
    BlankPolicy, Chexpert8x200, ChexpertCandidate, ChexpertQuery, Column, LabelColumns,
    LabelledConfig, LabelledImage, LabelledManifest, Labels, Manifest, ManifestConfig,
    ManifestError, Report, Sides, Split, SplitConfig, SplitStudies, Study, StudyId, SubjectId,
    TableError, UncertainPolicy, UnknownSplit, assign_folds, check_texts_differ,
    count_leaked_images, draw_fraction, fingerprint, hold_out, small_validation_warning, split,
    split_labelled,
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
