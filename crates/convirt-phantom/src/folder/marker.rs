//! Recognizes a folder that holds a phantom, and which one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{PhantomConfig, PhantomSummary};
use crate::error::PhantomError;

/// The file that marks a folder as a phantom and says which one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Marker {
    generator: u32,
    config: PhantomConfig,
    summary: PhantomSummary,
}

impl Marker {
    /// The marker's name.
    pub const FILE: &str = "phantom.json";
    /// Bytes of the largest.
    const MAX_BYTES: u64 = 1 << 20;
    /// Counts up whenever the same configuration no longer gives the same files.
    const GENERATOR: u32 = 1;

    /// The marker of a phantom that holds what `summary` says.
    pub fn new(config: &PhantomConfig, summary: &PhantomSummary) -> Self {
        Self {
            generator: Self::GENERATOR,
            config: config.clone(),
            summary: summary.clone(),
        }
    }

    /// The marker in `folder`, if there is a readable one.
    fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(Self::FILE);
        let facts = fs::metadata(&path).ok()?;
        if !facts.is_file() || facts.len() > Self::MAX_BYTES {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// The summary of the phantom of `config` in `folder`; nothing where there is no folder or an
/// empty one.
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

/// The first file that `pairs.csv` names and that is missing or empty, or the table itself where
/// it has not as many rows as it should.
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
