//! Options that several commands share, and their conversion to the library's settings.

mod compute;
mod configuration;
mod images;
mod labelled;
mod loader;
mod manifest;
mod model;
mod output;
mod results;

pub use compute::{ComputeArguments, DeviceArgument};
pub use configuration::{
    ConfigurationArguments, DEFAULT_CONFIGURATION, OverrideArguments, RecipeArgument, describe,
    warn_of_columns,
};
pub use images::ImageArguments;
pub use labelled::LabelledArguments;
pub use loader::{LoaderArguments, images_below, print_unreadable};
pub use manifest::{ManifestArguments, choose_rows};
pub use model::{FeaturesArgument, ModelArguments};
pub use output::{Output, OverwriteArguments, run_folder};
pub use results::{Results, ResultsArguments};
