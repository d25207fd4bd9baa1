//! The unit of data: one image with the report written about it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::files::printable;
use crate::text::{sentences, word_count};

/// Identifies the person that studies belong to (MIMIC-CXR `subject_id`, CheXpert `patientNNNNN`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub String);

/// Identifies one examination of a person (MIMIC-CXR `study_id`, OpenI `uId`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StudyId(pub String);

/// One image with its report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Study {
    /// Row of the CSV this comes from, counted from 1 at the first row after the header; blank
    /// lines are not rows, and a quoted cell may carry a row over several lines.
    pub row: usize,
    /// Image file, roots applied.
    pub image: PathBuf,
    /// Width and height that the file's header tells, in pixels.
    pub image_size: [usize; 2],
    /// What files of equal content share, and hardly any others.
    pub image_content: u64,
    /// Report of the image; empty where the CSV has no text column.
    pub report: Report,
    /// What is never divided between training and validation: the patient or the report.
    pub group: String,
    /// Side of the split that the CSV assigns, if it has a split column.
    pub split: Option<Split>,
}

/// Text of a report, whole and in sentences; empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The text as read.
    pub text: Arc<str>,
    /// The sentences that are long enough to train on, in order, whitespace collapsed.
    pub sentences: Vec<String>,
}

/// Side of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the weights learn from.
    Train,
    /// What the best model is chosen by.
    Valid,
    /// What neither of the two has seen.
    Test,
}

/// A word that names no side of a split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` is no split; write train (training), valid (validate, validation, val, dev) or test",
    word = printable(word)
)]
pub struct UnknownSplit {
    /// The word as written.
    pub word: String,
}

impl Report {
    /// Cuts `text` into sentences and keeps those of at least `min_words` words.
    ///
    /// Words are those of [`word_count`](crate::text::word_count). A text without a sentence that
    /// long gives a report without sentences.
    pub fn new(text: impl Into<Arc<str>>, min_words: usize) -> Self {
        let text = text.into();
        let sentences = sentences(&text)
            .into_iter()
            .filter(|sentence| word_count(sentence) >= min_words)
            .collect();
        Self { text, sentences }
    }
}

impl Split {
    /// Name in a CSV and in logs: `train`, `valid` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Ok(Self::Train),
            "valid" | "validate" | "validation" | "val" | "dev" => Ok(Self::Valid),
            "test" => Ok(Self::Test),
            _ => Err(UnknownSplit { word: word.into() }),
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for StudyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_word_for_a_split_is_understood() {
        for (word, split) in [
            ("train", Split::Train),
            ("Training", Split::Train),
            ("valid", Split::Valid),
            ("validate", Split::Valid),
            ("VALIDATION", Split::Valid),
            ("val", Split::Valid),
            (" dev ", Split::Valid),
            ("test", Split::Test),
        ] {
            assert_eq!(word.parse(), Ok(split), "{word}");
        }
    }

    #[test]
    fn other_words_are_no_split_and_are_quoted() {
        let error = "tran".parse::<Split>().unwrap_err();
        assert!(error.to_string().starts_with("`tran` is no split"));
    }

    #[test]
    fn a_split_reads_back_from_its_name() {
        for split in [Split::Train, Split::Valid, Split::Test] {
            assert_eq!(split.to_string().parse(), Ok(split));
        }
    }

    #[test]
    fn a_report_keeps_its_text_and_only_the_sentences_long_enough() {
        let report = Report::new("FINDINGS: Normal.  The heart is\nnormal.", 3);
        assert_eq!(&*report.text, "FINDINGS: Normal.  The heart is\nnormal.");
        assert_eq!(report.sentences, ["The heart is normal."]);
        assert!(Report::new("Normal.", 3).sentences.is_empty());
    }
}
