//! Studies and skipped rows, as processes send them to each other. Paths are text that gives them
//! back, whatever their bytes.

use std::sync::Arc;

use convirt_data::{Report, Skip, SkipReason, Split, Study, path_from_text, path_text};
use serde::{Deserialize, Serialize};

/// A [`Study`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentStudy {
    row: usize,
    image: String,
    image_size: [usize; 2],
    image_content: u64,
    text: String,
    sentences: Vec<String>,
    group: String,
    split: Option<Split>,
}

/// A [`Skip`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentSkip {
    file: String,
    row: usize,
    reason: SkipReason,
    detail: String,
}

impl From<&Study> for SentStudy {
    fn from(study: &Study) -> Self {
        Self {
            row: study.row,
            image: path_text(&study.image).into_owned(),
            image_size: study.image_size,
            image_content: study.image_content,
            text: study.report.text.to_string(),
            sentences: study.report.sentences.clone(),
            group: study.group.clone(),
            split: study.split,
        }
    }
}

impl From<SentStudy> for Study {
    fn from(sent: SentStudy) -> Self {
        Self {
            row: sent.row,
            image: path_from_text(&sent.image),
            image_size: sent.image_size,
            image_content: sent.image_content,
            report: Report {
                text: Arc::from(sent.text),
                sentences: sent.sentences,
            },
            group: sent.group,
            split: sent.split,
        }
    }
}

impl From<&Skip> for SentSkip {
    fn from(skip: &Skip) -> Self {
        Self {
            file: path_text(&skip.file).into_owned(),
            row: skip.row,
            reason: skip.reason,
            detail: skip.detail.clone(),
        }
    }
}

impl From<SentSkip> for Skip {
    fn from(sent: SentSkip) -> Self {
        Self {
            file: path_from_text(&sent.file),
            row: sent.row,
            reason: sent.reason,
            detail: sent.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_study_and_a_skip_arrive_as_they_were_sent() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        use std::path::PathBuf;

        let path = PathBuf::from(OsStr::from_bytes(b"images/r\xF6ntgen \\xE9.png"));
        let study = Study {
            row: 3,
            image: path.clone(),
            image_size: [20, 30],
            image_content: u64::MAX,
            report: Report::new("FINDINGS: The lungs are clear. Größe normal, wie zuvor.", 3),
            group: "p10".to_string(),
            split: Some(Split::Valid),
        };
        let sent = rmp_serde::to_vec(&SentStudy::from(&study)).unwrap();
        let arrived: SentStudy = rmp_serde::from_slice(&sent).unwrap();
        assert_eq!(Study::from(arrived), study);
        let skip = Skip {
            file: path,
            row: 4,
            reason: SkipReason::UnreadableImage,
            detail: "no image".to_string(),
        };
        let sent = rmp_serde::to_vec(&SentSkip::from(&skip)).unwrap();
        let arrived: SentSkip = rmp_serde::from_slice(&sent).unwrap();
        assert_eq!(Skip::from(arrived), skip);
    }
}
