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

mod augmentation;
mod batch;
mod chexpert_8x200;
mod column;
mod contrast;
mod dataset;
mod distinct;
mod distinct_images;
mod doctor;
mod error;
mod eval_transform;
mod few;
mod fingerprint;
#[cfg(test)]
mod fixtures;
mod folder_walk;
mod heading_names;
mod image_files;
mod image_segments;
mod image_store;
mod joined_groups;
mod labelled;
mod loader;
mod manifest;
mod normalize;
mod passed_over;
mod path_text;
mod phantom;
mod plain_name;
mod prepare;
mod printable;
mod probe;
mod progress;
mod radiograph;
mod randomness;
mod regular_file;
mod resize;
mod row;
mod sections;
mod sentences;
mod separator;
mod setting;
mod skips;
mod split;
mod study;
mod table;
mod text_encoding;
mod thumbnail;
mod tokenizer;
mod whole_file;
mod word_pieces;

pub use augmentation::{Augmentation, AugmentationConfig, AugmentationParams};
pub use batch::{ImageTextBatch, Padding, TextBatch, collate, collate_texts};
pub use chexpert_8x200::{Chexpert8x200, ChexpertCandidate, ChexpertQuery};
pub use column::Column;
pub use contrast::{check_contrast, too_few_to_validate};
pub use dataset::{ImageTextDataset, ImageView, Sample, SampleConfig, SampleText, TextView};
pub use distinct::Distinct;
pub use distinct_images::number_images;
pub use doctor::{
    Cleaned, Diagnosis, DoctorConfig, Finding, FindingKind, Findings, Numbers, Severity, TokenCheck,
};
pub use error::DataError;
pub use eval_transform::{EvalResize, EvalTransform};
pub use few::few;
pub use fingerprint::fingerprint;
pub use image_files::ImageFiles;
pub use image_store::{ImageStore, ImageStoreConfig};
pub use labelled::{
    BlankPolicy, LabelColumns, LabelledConfig, LabelledImage, LabelledManifest, Labels,
    UncertainPolicy, deal_folds, draw_fraction, hold_out, split_labelled,
};
pub use loader::{
    EvaluationLoader, ImageBatch, ImageBatches, LoaderConfig, LoaderPosition, TrainingLoader,
    TrainingSteps, Unreadable,
};
pub use manifest::{Manifest, ManifestConfig};
pub use passed_over::{PassedOver, PassedOverKind};
pub use path_text::{path_from_text, path_text};
pub use phantom::{PhantomConfig, PhantomSummary};
pub use plain_name::is_plain_name;
pub use prepare::{
    MimicConfig, MimicSplit, Omission, Omissions, OpenIConfig, Prepared, PreparedImages,
};
pub use printable::{printable, printable_lines};
pub use progress::{Progress, Stage};
pub use radiograph::{DecodeLimits, Radiograph};
pub use regular_file::{open_regular, read_regular, read_regular_text};
pub use resize::CropBox;
pub use sections::{Section, SectionName, Sections};
pub use sentences::{sentences, word_count};
pub use skips::{Skip, SkipReason, Skips};
pub use split::{Sides, SplitConfig, SplitStudies, held_out_but_trained_on, split};
pub use study::{Report, Split, Study, StudyId, SubjectId, UnknownSplit};
pub use text_encoding::{NotUtf8, decode_text};
pub use thumbnail::Thumbnail;
pub use tokenizer::{ReportTokenizer, Tokens};
