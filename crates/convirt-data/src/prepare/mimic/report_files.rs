//! Reading of the text reports of MIMIC-CXR from folders or a zip file.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use crate::files::{FileError, decode_text, read_limited, read_regular};
use crate::image::MAX_TEXT;
use crate::prepare::Omission;

/// Largest zip file of reports, in bytes; that of MIMIC-CXR has 0.14 GB.
const MAX_ZIP_BYTES: u64 = 4 << 30;

/// The location of the reports; each worker reads from its own clone.
#[derive(Clone)]
pub(super) enum ReportFiles {
    /// `p10/p10000032/s50414267.txt` below a folder.
    Folder(PathBuf),
    /// A zip file of the reports, in any folders.
    Zip {
        archive: ZipArchive<Cursor<Arc<[u8]>>>,
        by_name: Arc<HashMap<String, usize>>,
    },
}

impl ReportFiles {
    /// Opens a folder, which may have a `files` folder inside, or a zip file.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let unreadable = FileError::read(path);
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Ok(Self::Folder(files_folder(path)));
        }
        let bytes: Arc<[u8]> = read_regular(path, MAX_ZIP_BYTES)
            .map_err(unreadable)?
            .into();
        let archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| unreadable(io::Error::other(error)))?;
        let by_name = (0..archive.len()).filter_map(|index| {
            let name = archive.name_for_index(index)?.ok()?;
            let file = name.rsplit('/').next()?;
            file.ends_with(".txt").then(|| (file.to_owned(), index))
        });
        let by_name = Arc::new(by_name.collect());
        Ok(Self::Zip { archive, by_name })
    }

    /// Reads the report of a study, by the numbers of subject and study.
    pub(super) fn read(
        &mut self,
        subject: &str,
        study: &str,
    ) -> Result<String, (Omission, String)> {
        let name = format!("s{study}.txt");
        let (shown, read) = match self {
            Self::Folder(folder) => {
                let path = folder.join(study_path(subject)).join(&name);
                let read = read_regular(&path, MAX_TEXT);
                let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
                if read.as_ref().is_err_and(is_missing) {
                    return Err((Omission::MissingReport, path.display().to_string()));
                }
                (path.display().to_string(), read)
            }
            Self::Zip { archive, by_name } => {
                let Some(&index) = by_name.get(&name) else {
                    return Err((Omission::MissingReport, name));
                };
                let file = archive.by_index(index).map_err(io::Error::other);
                let read = file.and_then(|file| read_limited(file, MAX_TEXT));
                (name, read)
            }
        };
        let unreadable = |why: String| (Omission::UnreadableReport, format!("{shown} ({why})"));
        let bytes = read.map_err(|error| unreadable(error.to_string()))?;
        decode_text(bytes).map_err(|error| unreadable(error.to_string()))
    }
}

/// Returns the folder of all patients: `files` in `path`, or `path` itself.
pub(super) fn files_folder(path: &Path) -> PathBuf {
    let files = path.join("files");
    if files.is_dir() { files } else { path.into() }
}

/// Returns the folder of a patient, relative to that of all patients: `p10/p10000032`.
pub(super) fn study_path(subject: &str) -> PathBuf {
    let group = subject.get(..2).unwrap_or(subject);
    Path::new(&format!("p{group}")).join(format!("p{subject}"))
}
