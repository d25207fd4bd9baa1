//! A study: one image with its report.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::files::printable;
use crate::text::{sentences, word_count};

/// Identifies a patient (MIMIC-CXR `subject_id`, CheXpert `patientNNNNN`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub String);

/// Identifies one examination of a patient (MIMIC-CXR `study_id`, OpenI `uId`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StudyId(pub String);

/// One image with its report.
///
/// [`Manifest::read`](crate::Manifest::read) reads studies from a CSV.
///
/// # Examples
///
/// ```
/// use convirt_data::{Report, Study};
///
/// let study = Study {
///     row: 1,
///     image: "images/p10/chest.png".into(),
///     image_size: [256, 208],
///     image_content: 7,
///     report: Report::new("No effusion or pneumothorax. Normal heart.", 3),
///     group: "p10".into(),
///     split: None,
/// };
/// assert_eq!(study.report.sentences, ["No effusion or pneumothorax."]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Study {
    /// Row of the CSV, counted from 1 after the header. Blank lines do not count, and a row with
    /// quoted cells may span several lines.
    pub row: usize,
    /// Path of the image file.
    pub image: PathBuf,
    /// Width and height from the file's header, in pixels.
    pub image_size: [usize; 2],
    /// Hash of the file's content: equal for equal files.
    pub image_content: u64,
    /// Report of the image; empty where the CSV has no text column.
    pub report: Report,
    /// Group that is never divided by a split: the patient or the report.
    pub group: String,
    /// Side of the split, if the CSV has a split column.
    pub split: Option<Split>,
}

/// The text of a report and its sentences; empty by default.
///
/// # Examples
///
/// ```
/// use convirt_data::Report;
///
/// let report = Report::new("FINDINGS: The lungs are clear. Normal.", 3);
/// // "Normal." has fewer than 3 words.
/// assert_eq!(report.sentences, ["The lungs are clear."]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The text, unchanged.
    pub text: Arc<str>,
    /// The sentences that are long enough to train on, in order, with whitespace collapsed.
    pub sentences: Vec<String>,
}

/// Side of a split: training, validation or test.
///
/// # Examples
///
/// ```
/// use convirt_data::Split;
///
/// assert_eq!("validate".parse(), Ok(Split::Valid));
/// assert_eq!(Split::Valid.name(), "valid");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training: the weights are learned from it.
    Train,
    /// Validation: the best model is chosen by it.
    Valid,
    /// Test: unseen in training and validation.
    Test,
}

/// A word that is not a side of a split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` is no split; write train (training), valid (validate, validation, val, dev) or test",
    word = printable(word)
)]
pub struct UnknownSplit {
    /// The word.
    pub word: String,
}

impl Report {
    /// Cuts `text` into sentences and keeps those of at least `min_words` words.
    ///
    /// Words are counted by [`word_count`](crate::text::word_count). If no sentence is long enough,
    /// the report has no sentences.
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
    fn every_usual_word_for_a_split_is_parsed() {
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
    fn other_words_are_errors_that_quote_them() {
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
