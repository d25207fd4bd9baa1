//! The errors of configurations, with the places of the settings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::FileError;

/// An error in a configuration. Each names the key and its line or `--set` argument.
///
/// # Examples
///
/// ```
/// use convirt::Config;
/// use convirt::config::{ConfigError, Place};
///
/// let text = "dataset: {csv_file: pairs.csv}\nloss:\n  temperatur: 0.1\n";
/// let error = Config::from_yaml("config.yaml", text, &[]).unwrap_err();
/// let message = "config.yaml:3: loss.temperatur: unknown key; did you mean `temperature`?";
/// assert_eq!(error.to_string(), message);
/// let ConfigError::UnknownKey { at, .. } = error else { unreachable!() };
/// assert!(matches!(at.place, Place::Text { line: Some(3), .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not YAML, or uses a part of YAML that configurations do not allow.
    #[error("{at}: {problem}")]
    Syntax {
        /// The setting or the place in the text.
        at: Location,
        /// What is wrong.
        problem: String,
    },
    /// A section contains a key twice.
    #[error("{at}: given twice, first at {first}")]
    DuplicateKey {
        /// The second key.
        at: Location,
        /// The place of the first key.
        first: Place,
    },
    /// A key does not exist.
    #[error("{at}: unknown key; {}", suggestion(nearest.as_deref(), known))]
    UnknownKey {
        /// The setting or the place in the text.
        at: Location,
        /// The key that the user probably meant.
        nearest: Option<String>,
        /// All keys of the section.
        known: Vec<String>,
    },
    /// A value has the wrong type or is out of range.
    #[error("{at}: expected {expected}, found {found}")]
    Unexpected {
        /// The setting or the place in the text.
        at: Location,
        /// The valid values.
        expected: String,
        /// The value.
        found: String,
    },
    /// Settings contradict each other, or a setting is missing or cannot be honoured.
    #[error("{at}: {problem}")]
    Contradiction {
        /// The setting to change.
        at: Location,
        /// Why it is wrong, with the valid values.
        problem: String,
    },
    /// A file or folder that the configuration names does not exist.
    #[error("{at}: no such file or folder: {path}", path = path.display())]
    MissingFile {
        /// The setting that names it.
        at: Location,
        /// Its path, from the working directory.
        path: PathBuf,
    },
    /// An override does not have the form `key=value`, or cannot be applied.
    #[error("--set {argument}: {problem}")]
    Override {
        /// The argument.
        argument: String,
        /// What is wrong.
        problem: String,
    },
}

/// A setting and its place, as in `config.yaml:12: model.out_dim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its place.
    pub place: Place,
    /// Its full key, sections included; empty for the text as a whole.
    pub key: String,
}

/// The place of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text.
    Text {
        /// The text's file or name.
        source: Arc<str>,
        /// Line, from 1; `None` for a setting that the text does not contain.
        line: Option<usize>,
    },
    /// On the command line, `--set key=value`.
    Override {
        /// The key of the argument.
        key: Arc<str>,
    },
    /// In the code of a program that uses this crate.
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
