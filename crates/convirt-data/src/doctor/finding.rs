//! Findings and their severity.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use crate::files::printable;
use crate::image::Thumbnail;
use crate::skips::SkipReason;

/// Findings of a kind that are stored as examples; the others are only counted.
pub(super) const EXAMPLES: usize = 24;

/// Rows that a finding lists; the others are only counted.
const ROWS_NAMED: usize = 12;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A run would stop, skip the row, or report wrong scores.
    Error,
    /// The data is probably worse than it could be, or contains private information.
    Warning,
    /// For information.
    Note,
}

/// A kind of problem in a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A row cannot be used, with the reason.
    Unusable(SkipReason),
    /// A row has no side of the split, while others have one.
    NoSide,
    /// A required side of the split is empty.
    EmptySide,
    /// A group is on several sides of the split.
    LeakedGroup,
    /// All training texts are equal.
    EqualTexts,
    /// An image is on several sides of the split: one file, or files of equal pixels.
    LeakedImage,
    /// Nearly equal images are on several sides of the split.
    LeakedNearDuplicate,
    /// An image is blank.
    BlankImage,
    /// A text is on several sides of the split.
    LeakedText,
    /// Equal images belong to different groups.
    RepeatedImage,
    /// Nearly equal images belong to different groups.
    SimilarImage,
    /// One image file is in several rows with different texts.
    ConflictingTexts,
    /// The validation set has fewer rows than a batch.
    SmallValidation,
    /// A column is not used although its name is that of a split or of groups.
    UnusedColumn,
    /// An image's shorter side is less than half the network's input.
    TinyImage,
    /// An image seems to have black and white inverted.
    InvertedImage,
    /// An image is not a frontal view.
    OtherView,
    /// A text has headings of the history, the technique or other sections that do not describe the
    /// image.
    WholeReport,
    /// A text has more tokens than the text encoder reads.
    CutText,
    /// A text contains UTF-8 that was decoded in another encoding.
    Mojibake,
    /// Characters of a text were lost in a conversion of encodings.
    LostCharacters,
    /// A text contains control characters, byte order marks or private-use characters.
    StrayCharacters,
    /// A text may identify the patient.
    IdentifyingText,
    /// A DICOM header identifies the patient.
    IdentifyingHeader,
    /// A text contains the headings of findings or impression.
    Headings,
    /// A JPEG or PNG contains text metadata.
    ImageMetadata,
    /// An image was rotated or mirrored according to its EXIF orientation.
    TurnedImage,
    /// A few pixels are far outside the range of all others, in a file without a window; they were
    /// clipped.
    OutlyingLevels,
    /// Equal images belong to one group.
    RepeatedInGroup,
    /// Nearly equal images belong to one group.
    SimilarInGroup,
    /// One image file is in several rows with the same text.
    RepeatedPair,
    /// There is no group column.
    NoGroups,
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// Kind of the problem.
    pub kind: FindingKind,
    /// The first affected rows, counted like [`Study::row`](crate::manifest::Study::row); empty if
    /// the finding concerns the whole data set.
    pub rows: Vec<usize>,
    /// Number of further affected rows.
    pub more_rows: usize,
    /// The affected files: images, text files, or the CSV.
    pub files: Vec<PathBuf>,
    /// Description in one line, without anything that may identify a patient.
    pub detail: String,
    /// How bad it is among the findings of its kind: a larger number is worse.
    pub extent: f64,
    /// Thumbnails of the affected images that can be read, in the order of `files`.
    pub thumbnails: Vec<Thumbnail>,
    /// The beginnings of the affected texts, if the finding is about texts. Where a date, a number or
    /// an address may identify a patient, a remark replaces the text; names are not recognized.
    pub texts: Vec<String>,
}

/// All findings of a kind.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Findings {
    /// Kind of the problem.
    pub kind: FindingKind,
    /// Number of findings.
    pub count: usize,
    /// The affected rows.
    pub rows: BTreeSet<usize>,
    /// A remark about all of them; may be empty.
    pub remark: String,
    /// The worst few findings, the worst first.
    pub examples: Vec<Finding>,
}

/// A problem of a row, a text or an image: a finding without its rows.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) kind: FindingKind,
    pub(super) detail: String,
    /// As [`Finding::extent`].
    pub(super) extent: f64,
}

/// Collects findings by kind.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    by_kind: BTreeMap<FindingKind, Findings>,
}

impl Severity {
    /// All severities, the worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    /// Describes a number of findings, as in "1 error" and "2 notes".
    pub fn counted(self, findings: usize) -> String {
        let ending = if findings == 1 { "" } else { "s" };
        format!("{findings} {self}{ending}")
    }
}

impl FindingKind {
    /// Returns the severity.
    pub fn severity(self) -> Severity {
        match self {
            Self::Unusable(reason) if reason.is_bad_input() => Severity::Error,
            Self::NoSide
            | Self::EmptySide
            | Self::LeakedGroup
            | Self::EqualTexts
            | Self::LeakedImage
            | Self::LeakedNearDuplicate
            | Self::BlankImage => Severity::Error,
            Self::Unusable(_)
            | Self::LeakedText
            | Self::RepeatedImage
            | Self::SimilarImage
            | Self::ConflictingTexts
            | Self::SmallValidation
            | Self::UnusedColumn
            | Self::TinyImage
            | Self::InvertedImage
            | Self::OtherView
            | Self::WholeReport
            | Self::CutText
            | Self::Mojibake
            | Self::LostCharacters
            | Self::StrayCharacters
            | Self::IdentifyingText
            | Self::IdentifyingHeader => Severity::Warning,
            Self::Headings
            | Self::ImageMetadata
            | Self::TurnedImage
            | Self::OutlyingLevels
            | Self::RepeatedInGroup
            | Self::SimilarInGroup
            | Self::RepeatedPair
            | Self::NoGroups => Severity::Note,
        }
    }

    /// Returns whether the finding is about the texts of its rows.
    pub(super) fn is_about_texts(self) -> bool {
        matches!(
            self,
            Self::Unusable(SkipReason::TooShort)
                | Self::LeakedText
                | Self::ConflictingTexts
                | Self::WholeReport
                | Self::CutText
                | Self::Mojibake
                | Self::LostCharacters
                | Self::StrayCharacters
                | Self::Headings
        )
    }

    /// Returns the setting that [`advice`](Self::advice) mentions, if any.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::Unusable(SkipReason::TooShort) => Some("min_words"),
            Self::Unusable(SkipReason::OutsideRoots) => Some("allow_outside_roots"),
            Self::Unusable(_) => Some("max_bad_share"),
            Self::TurnedImage => Some("exif_orientation"),
            Self::NoGroups => Some("group_col"),
            _ => None,
        }
    }

    /// Explains the problem and what can be done.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unusable(SkipReason::TooShort) => {
                "Runs leave these rows out; min_words says how long a sentence must be."
            }
            Self::Unusable(SkipReason::OutsideRoots) => {
                "Runs stop at them. Give their folder as that of the images or texts, or, if the table is \
                 to be trusted, set allow_outside_roots."
            }
            Self::Unusable(_) => {
                "Runs leave these rows out, and stop when they are more than max_bad_share."
            }
            Self::NoSide => "Every row needs train, valid or test in the split column, or none.",
            Self::EmptySide => "A run needs pairs to train on and pairs to hold out.",
            Self::LeakedGroup => {
                "Held-out data is also in the training set. Put all rows of a group on one side."
            }
            Self::EqualTexts => "Training needs different texts. Is it the text column?",
            Self::LeakedImage => {
                "Held-out data is also in the training set. Keep one copy, or all copies on one side."
            }
            Self::LeakedNearDuplicate => {
                "The held-out image is also in the training set, re-encoded, resized or slightly cropped."
            }
            Self::BlankImage => "There is nothing to learn from it.",
            Self::LeakedText => {
                "Retrieval counts equal texts as correct, but a text seen in training is easier."
            }
            Self::RepeatedImage => {
                "One image belongs to two patients or reports; one of them is probably wrong."
            }
            Self::SimilarImage => {
                "Two patients or reports have nearly the same image; check whether it is one image."
            }
            Self::ConflictingTexts => {
                "Either an image has several captions, or a row has the wrong image."
            }
            Self::SmallValidation => {
                "The best model is chosen by the loss of few pairs, which is lower the fewer they \
                 are. Hold out more, or lower batch_size."
            }
            Self::UnusedColumn => {
                "Without it, images of one patient may be on both sides. Correct its cells, or name \
                 another column in the configuration."
            }
            Self::TinyImage => "It is scaled up more than twice for the network.",
            Self::InvertedImage => {
                "Air should be black. A MONOCHROME1 image exported without inversion looks like this."
            }
            Self::OtherView => {
                "ConVIRT trains on frontal images; reports rarely distinguish views."
            }
            Self::WholeReport => {
                "The paper reads findings and impression alone; history and technique are not in \
                 the image. `convirt prepare` cuts reports."
            }
            Self::CutText => {
                "The end is cut off. model.max_tokens and the text encoder set the maximum; \
                 random_sentence reads sentences instead."
            }
            Self::Mojibake => "Read the source as UTF-8, or let --fix decode it.",
            Self::LostCharacters => {
                "A replacement character or a question mark stands for what was there; only the \
                 source has it."
            }
            Self::StrayCharacters => {
                "They become unknown tokens or none; --fix removes them, except private-use characters."
            }
            Self::IdentifyingText => {
                "Dates, numbers and addresses belong to nobody's training data. Values are not \
                 shown here."
            }
            Self::IdentifyingHeader => {
                "Only pixels are read, but the files should not be shared as they are. Values are not \
                 shown here."
            }
            Self::Headings => {
                "Sentences are read without them, whole reports with them: the same words in every \
                 text."
            }
            Self::ImageMetadata => "Comments, EXIF and text chunks may hold names.",
            Self::TurnedImage => "exif_orientation=False leaves them as they are stored.",
            Self::OutlyingLevels => {
                "Dead pixels or markers. For more than 8 bits without a window, 0.5 % of the pixels at \
                 each end are clipped."
            }
            Self::RepeatedInGroup => "The same image counts several times.",
            Self::SimilarInGroup => "Neighbouring slices, or one image saved twice.",
            Self::RepeatedPair => "The same pair counts several times.",
            Self::NoGroups => {
                "Images of one patient may be on both sides; group_col names the column."
            }
        }
    }
}

impl Problem {
    /// A problem that is as bad as others of its kind.
    pub(super) fn new(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            extent: 0.0,
        }
    }

    /// Sets how bad it is among the problems of its kind.
    pub(super) fn with_extent(self, extent: f64) -> Self {
        Self { extent, ..self }
    }
}

impl Finding {
    /// Lists the affected rows, as in "rows 3, 9 and 40 more"; empty if there are none.
    pub fn place(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(usize::to_string).collect();
        let more = match self.more_rows {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match &rows[..] {
            [] => String::new(),
            [row] => format!("row {row}{more}"),
            _ => format!("rows {}{more}", rows.join(", ")),
        }
    }
}

impl Ledger {
    /// Adds a finding about rows, by number; `files` returns the files that it names.
    pub(super) fn add(
        &mut self,
        rows: &[usize],
        problem: Problem,
        files: impl FnOnce() -> Vec<PathBuf>,
    ) {
        let Problem {
            kind,
            detail,
            extent,
        } = problem;
        let findings = self.findings_mut(kind);
        findings.count += 1;
        findings.rows.extend(rows);
        // Those that are equally bad are in the order of the table.
        let examples = &mut findings.examples;
        let position = examples.partition_point(|example| example.extent >= extent);
        // Many similar pairs add nothing new about rows of which worse is shown already.
        let is_shown = |row| {
            let worse = examples[..position].iter();
            worse
                .map(|example| &example.rows)
                .any(|rows| rows.contains(row))
        };
        let is_new = rows.is_empty() || !rows.iter().all(is_shown);
        if !is_new || position >= EXAMPLES {
            return;
        }
        let finding = Finding {
            kind,
            rows: rows.iter().copied().take(ROWS_NAMED).collect(),
            more_rows: rows.len().saturating_sub(ROWS_NAMED),
            files: files(),
            detail,
            extent,
            thumbnails: Vec::new(),
            texts: Vec::new(),
        };
        examples.insert(position, finding);
        examples.truncate(EXAMPLES);
    }

    /// Sets the remark about all findings of a kind.
    pub(super) fn remark(&mut self, kind: FindingKind, remark: String) {
        self.findings_mut(kind).remark = remark;
    }

    /// Returns the findings so far.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Findings> {
        self.by_kind.values()
    }

    /// Returns the findings, the most severe kinds first.
    pub(super) fn finish(self) -> Vec<Findings> {
        let mut findings: Vec<_> = self.by_kind.into_values().collect();
        findings.sort_by_key(|findings| findings.kind.severity());
        findings
    }

    fn findings_mut(&mut self, kind: FindingKind) -> &mut Findings {
        self.by_kind.entry(kind).or_insert_with(|| Findings {
            kind,
            count: 0,
            rows: BTreeSet::new(),
            remark: String::new(),
            examples: Vec::new(),
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unusable(reason) => return reason.fmt(f),
            Self::NoSide => "no side of the split",
            Self::EmptySide => "empty side of the split",
            Self::LeakedGroup => "group on several sides",
            Self::EqualTexts => "equal texts everywhere",
            Self::LeakedImage => "image on several sides",
            Self::LeakedNearDuplicate => "near-duplicate on several sides",
            Self::BlankImage => "blank image",
            Self::LeakedText => "text on several sides",
            Self::RepeatedImage => "image in several groups",
            Self::SimilarImage => "near-duplicate in several groups",
            Self::ConflictingTexts => "one image with different texts",
            Self::SmallValidation => "few rows to validate on",
            Self::UnusedColumn => "column that is not used",
            Self::TinyImage => "tiny image",
            Self::InvertedImage => "inverted-looking image",
            Self::OtherView => "view that is not frontal",
            Self::WholeReport => "whole report",
            Self::CutText => "text beyond the maximum of tokens",
            Self::Mojibake => "text in a mixed-up encoding",
            Self::LostCharacters => "text with lost characters",
            Self::StrayCharacters => "text with stray characters",
            Self::IdentifyingText => "text that may identify",
            Self::IdentifyingHeader => "DICOM header that identifies",
            Self::Headings => "headings in a text",
            Self::ImageMetadata => "image file with text in it",
            Self::TurnedImage => "image turned by its EXIF",
            Self::OutlyingLevels => "levels far outside the others",
            Self::RepeatedInGroup => "image repeated in a group",
            Self::SimilarInGroup => "near-duplicate in a group",
            Self::RepeatedPair => "repeated pair",
            Self::NoGroups => "no groups",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            place if place.is_empty() => write!(f, "{}", printable(&self.detail)),
            place => write!(f, "{place}: {}", printable(&self.detail)),
        }
    }
}
