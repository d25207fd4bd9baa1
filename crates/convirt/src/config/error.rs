//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::FileError;

/// Error in a configuration: each names the line or `--set` argument and the key it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not YAML, or uses what a configuration has no need of.
    #[error("{at}: {problem}")]
    Syntax {
        /// Where.
        at: Location,
        /// What is wrong.
        problem: String,
    },
    /// A key stands twice in one section.
    #[error("{at}: given twice, first at {first}")]
    DuplicateKey {
        /// The second of the two.
        at: Location,
        /// Where the first stands.
        first: Place,
    },
    /// There is no such key.
    #[error("{at}: unknown key; {}", suggestion(nearest.as_deref(), known))]
    UnknownKey {
        /// Where.
        at: Location,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// All keys of the section.
        known: Vec<String>,
    },
    /// A value has the wrong type or is out of range.
    #[error("{at}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        at: Location,
        /// What would be right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Settings do not go together, or one is missing or cannot be honoured.
    #[error("{at}: {problem}")]
    Contradiction {
        /// The setting to change.
        at: Location,
        /// Why, and what would be right.
        problem: String,
    },
    /// A file or folder that the configuration names is not there.
    #[error("{at}: no such file or folder: {path}", path = path.display())]
    MissingFile {
        /// The setting that names it.
        at: Location,
        /// What was looked for, from the working directory.
        path: PathBuf,
    },
    /// An override is not of the form `key=value`, or there is no place for it.
    #[error("--set {argument}: {problem}")]
    Override {
        /// The argument.
        argument: String,
        /// What is wrong.
        problem: String,
    },
}

/// A setting and where it stands, as in `config.yaml:12: model.out_dim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Where it stands.
    pub place: Place,
    /// Its key with those of the sections around it; empty for the text as a whole.
    pub key: String,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text, or left out of it.
    Text {
        /// The text's file or name.
        source: Arc<str>,
        /// Line, from 1; `None` for a default.
        line: Option<usize>,
    },
    /// On the command line, `--set key=value`.
    Override {
        /// The key there.
        key: Arc<str>,
    },
    /// In the program that uses this crate.
    Code,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key } = self;
        match place {
            _ if key.is_empty() => place.fmt(f),
            Place::Override { key: set } if **set == **key => place.fmt(f),
            Place::Code => f.write_str(key),
            _ => write!(f, "{place}: {key}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text {
                source,
                line: Some(line),
            } => write!(f, "{source}:{line}"),
            Self::Text { source, line: None } => f.write_str(source),
            Self::Override { key } => write!(f, "--set {key}"),
            Self::Code => f.write_str("configuration"),
        }
    }
}

fn suggestion(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
