//! The marker file that identifies a phantom's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{PhantomConfig, PhantomSummary};
use crate::error::PhantomError;

/// The content of the file that marks a folder as a phantom.
#[derive(Serialize, Deserialize)]
pub(crate) struct Marker {
    generator: u32,
    config: PhantomConfig,
    summary: PhantomSummary,
}

impl Marker {
    /// Name of the file.
    pub const FILE: &str = "phantom.json";
    /// Maximum size of the file, in bytes.
    const MAX_BYTES: u64 = 1 << 20;
    /// Version of the generator; it is raised when the same configuration gives different files.
    const GENERATOR: u32 = 1;

    /// Creates the marker of a phantom with the given summary.
    pub fn new(config: &PhantomConfig, summary: &PhantomSummary) -> Self {
        Self {
            generator: Self::GENERATOR,
            config: config.clone(),
            summary: summary.clone(),
        }
    }

    /// Reads the marker in `folder`, if there is a valid one.
    fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(Self::FILE);
        let facts = fs::metadata(&path).ok()?;
        if !facts.is_file() || facts.len() > Self::MAX_BYTES {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// Returns the summary of the phantom of `config` in `folder`, or `None` if the folder is missing
/// or empty.
///
/// # Errors
///
/// A folder that holds something else, another phantom or an incomplete one.
pub(crate) fn present(
    config: &PhantomConfig,
    folder: &Path,
) -> Result<Option<PhantomSummary>, PhantomError> {
    let unreadable = |cause| PhantomError::Read {
        path: folder.into(),
        cause,
    };
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(None);
            }
        }
    }
    let Some(marker) = Marker::read(folder) else {
        return Err(PhantomError::NotAPhantom {
            path: folder.into(),
        });
    };
    if marker.generator != Marker::GENERATOR || marker.config != *config {
        return Err(PhantomError::OtherPhantom {
            path: folder.into(),
            present: describe(&marker.config, marker.generator),
            requested: describe(config, Marker::GENERATOR),
        });
    }
    match missing_file(folder, &marker.summary) {
        Some(missing) => Err(PhantomError::IncompletePhantom {
            path: folder.into(),
            missing,
        }),
        None => Ok(Some(marker.summary)),
    }
}

/// Returns the first file named in `pairs.csv` that is missing or empty, or `pairs.csv` itself if
/// it does not have as many rows as the summary says.
fn missing_file(folder: &Path, summary: &PhantomSummary) -> Option<PathBuf> {
    let table = folder.join("pairs.csv");
    let Ok(mut reader) = csv::Reader::from_path(&table) else {
        return Some(table);
    };
    let mut rows = 0;
    for row in reader.records() {
        let Ok(row) = row else {
            return Some(table);
        };
        for cell in row.iter().take(2) {
            let file = folder.join(cell);
            if !fs::metadata(&file).is_ok_and(|facts| facts.is_file() && facts.len() > 0) {
                return Some(file);
            }
        }
        rows += 1;
    }
    (rows != summary.images).then_some(table)
}

fn describe(config: &PhantomConfig, generator: u32) -> String {
    format!(
        "patients {}, longer_side {}, seed {}, generator {generator}",
        config.patients, config.longer_side, config.seed
    )
}
