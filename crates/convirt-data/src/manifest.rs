//! Manifests: CSV files that list images with texts or labels, and their split into training,
//! validation and test.

mod table;
mod study;
mod error;
mod column;
mod choice;
mod row;
mod split;
mod contrast;
mod columns;
mod pairs;
mod labels;
mod chexpert_8x200;
mod fingerprint;

pub use chexpert_8x200::{Chexpert8x200, ChexpertCandidate, ChexpertQuery};
pub use choice::Choice;
pub use column::Column;
pub use columns::{ColumnChoices, PairColumns};
pub(crate) use contrast::check_equal_texts;
pub use contrast::{check_texts_differ, small_validation_warning};
pub use error::ManifestError;
pub use fingerprint::fingerprint;
pub use labels::{
    BlankPolicy, LabelColumns, LabelledConfig, LabelledImage, LabelledManifest, Labels,
    UncertainPolicy, assign_folds, draw_fraction, hold_out, split_labelled,
};
pub(crate) use pairs::{Cells, RowReader, text_group, too_short};
pub use pairs::{Manifest, ManifestConfig};
pub(crate) use split::joined_groups::joined_groups;
pub use split::{Grouped, Sides, SplitConfig, SplitStudies, count_leaked_images, split};
pub(crate) use split::{held_out_groups, held_out_in_sequence, seeded_hash};
pub use study::{Report, Split, Study, StudyId, SubjectId, UnknownSplit};
pub(crate) use table::Table;
pub use table::error::TableError;
pub(crate) use table::separator::{find_separator, named_separator};
pub use table::shards;
