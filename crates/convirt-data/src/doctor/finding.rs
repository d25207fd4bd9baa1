//! What an examination finds, and how bad it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use crate::files::printable;
use crate::image::Thumbnail;
use crate::skips::SkipReason;

/// Findings of a kind that are described; more are counted.
pub(super) const EXAMPLES: usize = 24;

/// Rows that a finding names; more are counted.
const ROWS_NAMED: usize = 12;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A run would stop, leave the row out, or report scores that are not true.
    Error,
    /// Pairs are probably worse than they could be, or should not leave the hospital.
    Warning,
    /// Good to know.
    Note,
}

/// What can be wrong with a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A row cannot be used, for the reason that a run gives.
    Unusable(SkipReason),
    /// A row names no side of the split, while others do.
    NoSide,
    /// A side of the split is empty that is needed.
    EmptySide,
    /// A group is on several sides of the split.
    LeakedGroup,
    /// All texts to train on are equal.
    EqualTexts,
    /// An image is on several sides of the split: one file, or files of equal pixels.
    LeakedImage,
    /// Nearly equal images are on several sides of the split.
    LeakedNearDuplicate,
    /// An image shows nothing.
    BlankImage,
    /// A text is on several sides of the split.
    LeakedText,
    /// Equal images belong to different groups.
    RepeatedImage,
    /// Nearly equal images belong to different groups.
    SimilarImage,
    /// One image file stands in rows of different texts.
    ConflictingTexts,
    /// There are fewer rows to validate on than pairs in a batch.
    SmallValidation,
    /// An image's shorter side is less than half the network's input.
    TinyImage,
    /// An image looks as if black and white were exchanged.
    InvertedImage,
    /// An image is of another view than frontal.
    OtherView,
    /// A text has headings of the history, the technique or other sections that say nothing about
    /// the image.
    WholeReport,
    /// A text has more tokens than the text encoder reads.
    CutText,
    /// A text has UTF-8 in it that was read as another encoding.
    Mojibake,
    /// Characters of a text were lost in a change of encodings.
    LostCharacters,
    /// A text has control characters, byte-order marks or characters without a meaning in it.
    StrayCharacters,
    /// A text has something in it that may tell who the patient is.
    IdentifyingText,
    /// A DICOM header says who the patient is.
    IdentifyingHeader,
    /// A text has the headings of findings or impression in it.
    Headings,
    /// A JPEG or PNG carries text beside its pixels.
    ImageMetadata,
    /// An image was turned or mirrored, as its EXIF asks.
    TurnedImage,
    /// A few pixels are far outside the levels of all others, in a file that does not say which are
    /// black and white; they were left out.
    OutlyingLevels,
    /// Equal images belong to one group.
    RepeatedInGroup,
    /// Nearly equal images belong to one group.
    SimilarInGroup,
    /// One image file stands in several rows with one text.
    RepeatedPair,
    /// Nothing says which rows belong together.
    NoGroups,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The first rows concerned, counted like [`Study::row`](crate::manifest::Study::row); none
    /// where it concerns the data set as a whole.
    pub rows: Vec<usize>,
    /// Rows concerned beyond those.
    pub more_rows: usize,
    /// The files concerned: images, text files, or the CSV.
    pub files: Vec<PathBuf>,
    /// What was found, in a line; nothing that may identify a patient.
    pub detail: String,
    /// The images concerned that can be read, in the order of `files`.
    pub thumbnails: Vec<Thumbnail>,
}

/// All that was found of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// What it is.
    pub kind: FindingKind,
    /// How often it was found.
    pub count: usize,
    /// The rows concerned.
    pub rows: BTreeSet<usize>,
    /// What is to be said of all of them; may be empty.
    pub remark: String,
    /// The first few.
    pub examples: Vec<Finding>,
}

/// Where the findings are gathered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    by_kind: BTreeMap<FindingKind, Findings>,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    /// Puts a number of findings into words, as "1 error" and "2 notes".
    pub fn counted(self, findings: usize) -> String {
        let ending = if findings == 1 { "" } else { "s" };
        format!("{findings} {self}{ending}")
    }
}

impl FindingKind {
    /// How bad it is.
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

    /// The setting that [`advice`](Self::advice) names, if it names one.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::Unusable(SkipReason::TooShort) => Some("min_words"),
            Self::Unusable(_) => Some("max_bad_share"),
            Self::TurnedImage => Some("exif_orientation"),
            Self::NoGroups => Some("group_col"),
            _ => None,
        }
    }

    /// What it means, and what can be done, in a sentence or two.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unusable(SkipReason::TooShort) => {
                "Runs leave these rows out; min_words says how long a sentence must be."
            }
            Self::Unusable(_) => {
                "Runs leave these rows out, and stop when they are more than max_bad_share."
            }
            Self::NoSide => "Every row needs train, valid or test in the split column, or none.",
            Self::EmptySide => "A run needs pairs to train on and pairs to hold out.",
            Self::LeakedGroup => {
                "What is held out is known from training. Put all rows of a group on one side."
            }
            Self::EqualTexts => "Pairs are told apart by their texts. Is it the column of texts?",
            Self::LeakedImage => {
                "What is held out is known from training. Keep one copy, or all on one side."
            }
            Self::LeakedNearDuplicate => {
                "Saved again, resized or cut by a little, the image is known from training."
            }
            Self::BlankImage => "There is nothing to learn from it.",
            Self::LeakedText => {
                "Retrieval counts equal texts as correct, yet a text known from training is easier."
            }
            Self::RepeatedImage => {
                "One image under two patients or reports: one of them is probably not its own."
            }
            Self::SimilarImage => {
                "One image, saved again, under two patients or reports; look whether it is one."
            }
            Self::ConflictingTexts => "Captions of one image, or a row whose image is not its own?",
            Self::SmallValidation => {
                "The best model is chosen by the loss of few pairs, which is lower the fewer they \
                 are. Hold out more, or lower batch_size."
            }
            Self::TinyImage => "It is scaled up more than twice for the network.",
            Self::InvertedImage => {
                "Air should be black. MONOCHROME1 that was exported without inversion looks so."
            }
            Self::OtherView => "ConVIRT trains on frontal images; reports rarely tell views apart.",
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
                "They become unknown tokens or none; --fix drops them, but for those of private use."
            }
            Self::IdentifyingText => {
                "Dates, numbers and addresses belong to nobody's training data. Values are not \
                 shown here."
            }
            Self::IdentifyingHeader => {
                "Pixels alone are read, but the files should not travel so. Values are not shown \
                 here."
            }
            Self::Headings => {
                "Sentences are read without them, whole reports with them: the same words in every \
                 text."
            }
            Self::ImageMetadata => "Comments, EXIF and text chunks may hold names.",
            Self::TurnedImage => "exif_orientation=False leaves them as they are stored.",
            Self::OutlyingLevels => {
                "Dead pixels or markers. Of more than 8 bits without a window, 0.5 % of the pixels at \
                 each end do not count."
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

impl Finding {
    /// Names the rows concerned, as "rows 3, 9 and 40 more"; empty where there are none.
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
    /// Adds a finding about rows, by number; `describe` gives the files and the line.
    pub(super) fn add(
        &mut self,
        kind: FindingKind,
        rows: &[usize],
        describe: impl FnOnce() -> (Vec<PathBuf>, String),
    ) {
        let findings = self.of(kind);
        let is_new = rows.is_empty() || rows.iter().any(|row| !findings.rows.contains(row));
        findings.count += 1;
        findings.rows.extend(rows);
        // Pairs of many alike say nothing new about rows that were shown.
        if is_new && findings.examples.len() < EXAMPLES {
            let (files, detail) = describe();
            findings.examples.push(Finding {
                kind,
                rows: rows.iter().copied().take(ROWS_NAMED).collect(),
                more_rows: rows.len().saturating_sub(ROWS_NAMED),
                files,
                detail,
                thumbnails: Vec::new(),
            });
        }
    }

    /// Says something about all findings of a kind.
    pub(super) fn remark(&mut self, kind: FindingKind, remark: String) {
        self.of(kind).remark = remark;
    }

    /// Returns the findings up to now.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Findings> {
        self.by_kind.values()
    }

    /// Returns the findings, the worst kinds first.
    pub(super) fn finish(self) -> Vec<Findings> {
        let mut findings: Vec<_> = self.by_kind.into_values().collect();
        findings.sort_by_key(|findings| findings.kind.severity());
        findings
    }

    fn of(&mut self, kind: FindingKind) -> &mut Findings {
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
