//! What can go wrong between the files and the batches.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{NotUtf8, PassedOver, few, path_text, printable};
use crate::manifest::{Split, UnknownSplit};
use crate::skips::Skip;

/// What can go wrong between the files and the batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be read.
    #[error("{}: cannot be read", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A file cannot be written.
    #[error("{}: cannot be written", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A setting is out of range.
    #[error("`{setting}` is {value}; it must be {allowed}")]
    OutOfRange {
        /// The setting, as its configuration calls it.
        setting: &'static str,
        /// The value given.
        value: f64,
        /// The values allowed.
        allowed: &'static str,
    },

    /// A file is no text in UTF-8.
    #[error("{}: cannot be read as text", shown(path))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        source: NotUtf8,
    },

    /// The header row of a table has several signs that may separate cells.
    #[error(
        "{}: the header row has {signs}, and the rows do not tell which of them separates cells; \
         put names that hold one in quotes",
        shown(path)
    )]
    AmbiguousSeparator {
        /// The table.
        path: PathBuf,
        /// The signs.
        signs: String,
    },

    /// The CSV cannot be read to its end.
    #[error("{}: cannot be read as CSV", shown(path))]
    Csv {
        /// The CSV.
        path: PathBuf,
        /// Where and why.
        source: csv::Error,
    },

    /// A quote in the CSV is never closed, so that the rest of the file is one cell.
    #[error(
        "{}: row {row} (line {line}): a quote is opened and never closed, so that the rest of \
         the file became one cell",
        shown(path)
    )]
    UnclosedQuote {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The line of the file where the row begins, from 1.
        line: u64,
    },

    /// A cell of the CSV is longer than any text.
    #[error(
        "{}: row {row} (line {line}), column {column}: {bytes} bytes, more than the {max_bytes} \
         of the longest text; is a quote amiss?",
        shown(path)
    )]
    LongCell {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header; 0 is the header.
        row: usize,
        /// The line of the file where the row begins, from 1.
        line: u64,
        /// Position of the column, from 0.
        column: usize,
        /// Bytes of the cell.
        bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },

    /// A line of a file is too long for a table or a list.
    #[error(
        "{}: line {line} has {bytes} bytes, more than the {max_bytes} of the longest line; is this \
         the right file?",
        shown(path)
    )]
    LongLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Bytes of the line.
        bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },

    /// The folder to prepare into holds something else.
    #[error(
        "{}: holds something else than prepared pairs; choose another folder",
        shown(path)
    )]
    NotAPreparation {
        /// The folder.
        path: PathBuf,
    },

    /// The folder holds pairs prepared from other data or at another size.
    #[error(
        "{}: holds {found} and not {wanted}; delete it or choose another folder",
        shown(path)
    )]
    OtherPreparation {
        /// The folder.
        path: PathBuf,
        /// What there is.
        found: String,
        /// What was asked for.
        wanted: String,
    },

    /// Another process prepares pairs in the folder.
    #[error("{}: another preparation is at work in this folder", shown(path))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },

    /// A folder holds no reports.
    #[error("{}: no reports; looked for {looked_for} there and below", shown(path))]
    NoReports {
        /// The folder.
        path: PathBuf,
        /// The files that would have done.
        looked_for: &'static str,
    },

    /// A table that comes with a data set is not there.
    #[error("{}: no {looked_for}; {hint}", shown(folder))]
    NoTable {
        /// The folder.
        folder: PathBuf,
        /// The file that would have done.
        looked_for: &'static str,
        /// What it is needed for, and what can be done without it.
        hint: &'static str,
    },

    /// A table has no column of the name that its format gives it.
    #[error("{}: no column `{column}`; found {}", shown(path), few(found))]
    TableColumn {
        /// The table.
        path: PathBuf,
        /// The name.
        column: String,
        /// The columns there are.
        found: Vec<String>,
    },

    /// A cell of a table is not what its format says.
    #[error(
        "{}: row {row}, column `{column}`: `{cell}` is not {expected}",
        shown(path), cell = printable(cell)
    )]
    TableCell {
        /// The table.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The column.
        column: String,
        /// What stands there.
        cell: String,
        /// What should.
        expected: &'static str,
    },

    /// No image is of the views asked for.
    #[error(
        "{}: no image of the views {asked:?}; found {}",
        shown(path),
        few(found)
    )]
    NoSuchView {
        /// The table that names the views, or the data set whose images do.
        path: PathBuf,
        /// The views asked for.
        asked: Vec<String>,
        /// The views there are.
        found: Vec<String>,
    },

    /// Views are asked for, and no image tells its own.
    #[error(
        "{}: no image tells its view, so that {asked:?} cannot be chosen: DICOM files do, PNG and \
         JPEG files do not; take all views",
        shown(path)
    )]
    UnknownViews {
        /// The data set.
        path: PathBuf,
        /// The views asked for.
        asked: Vec<String>,
    },

    /// Nothing of a data set can be used.
    #[error("{}: not one pair could be made; {summary}", shown(path))]
    NothingPrepared {
        /// The data set.
        path: PathBuf,
        /// What was left out, by reason.
        summary: String,
    },

    /// The CSV has no header row: it is empty.
    #[error("{}: empty; a header row is needed", shown(path))]
    NoHeader {
        /// The CSV.
        path: PathBuf,
    },

    /// The CSV begins with data where the header should be.
    #[error(
        "{}: the first row must be a header, but its image cell `{cell}` is an image file; add a \
         header row", shown(path), cell = printable(cell)
    )]
    DataInHeader {
        /// The CSV.
        path: PathBuf,
        /// The cell that names an existing file.
        cell: String,
    },

    /// The header row is not UTF-8.
    #[error(
        "{}: the header row is not UTF-8; save the file as CSV in UTF-8",
        shown(path)
    )]
    HeaderNotUtf8 {
        /// The CSV.
        path: PathBuf,
    },

    /// The CSV has no column of the name asked for.
    #[error(
        "{}: no column `{column}` (`{key}`){}; found {}",
        shown(path),
        suggest(nearest),
        few(found)
    )]
    MissingColumn {
        /// The CSV.
        path: PathBuf,
        /// The configuration key that asks for it.
        key: &'static str,
        /// The name asked for.
        column: String,
        /// The column that may have been meant.
        nearest: Option<String>,
        /// The columns there are.
        found: Vec<String>,
    },

    /// Several columns have the name asked for.
    #[error(
        "{}: columns {} are all called `{column}` (`{key}`); give the position instead",
        shown(path),
        few(positions)
    )]
    AmbiguousColumn {
        /// The CSV.
        path: PathBuf,
        /// The configuration key that asks for it.
        key: &'static str,
        /// The name asked for.
        column: String,
        /// Where it stands, from 0.
        positions: Vec<usize>,
    },

    /// The CSV has fewer columns than the position asked for.
    #[error(
        "{}: no column {position} (`{key}`), counted from 0; found the {} columns {}",
        shown(path), found.len(), few(found)
    )]
    ColumnOutOfRange {
        /// The CSV.
        path: PathBuf,
        /// The configuration key that asks for it.
        key: &'static str,
        /// The position asked for, from 0.
        position: usize,
        /// The columns there are.
        found: Vec<String>,
    },

    /// A cell of the split column names no side of a split.
    #[error("{}: row {row}", shown(path))]
    SplitCell {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The word, and those that are understood.
        source: UnknownSplit,
    },

    /// Too many rows are bad input.
    #[error(
        "{}: {bad_rows} of {rows} rows are bad input ({:.2} %), more than \
         `max_bad_share` = {max_bad_share} allows; mend the data or raise that share. \
         The first: {}",
        shown(manifest), 100.0 * *bad_rows as f64 / (*rows).max(1) as f64, listed(first)
    )]
    TooManyBadRows {
        /// The CSV.
        manifest: PathBuf,
        /// Bad rows found up to now.
        bad_rows: usize,
        /// Rows of the CSV.
        rows: usize,
        /// The share that is borne, from 0 to 1.
        max_bad_share: f64,
        /// The first few bad rows, in the order of the CSV.
        first: Vec<Skip>,
    },

    /// A cleaned manifest would take the place of the one it is made of.
    #[error("{}: is the manifest itself; choose another name", shown(path))]
    OverwritesInput {
        /// The path.
        path: PathBuf,
    },

    /// The CSV has a header and no rows, or none that can be used.
    #[error("{}: none of the {rows} rows can be used. {summary}", shown(path))]
    NoStudies {
        /// The CSV.
        path: PathBuf,
        /// Rows of the CSV.
        rows: usize,
        /// The rows left out, by reason.
        summary: String,
    },

    /// Some rows name their side of the split and this one does not.
    #[error("row {row} ({}): no split, while other rows have one", shown(image))]
    RowWithoutSplit {
        /// The row, counted from 1 after the header.
        row: usize,
        /// Its image.
        image: PathBuf,
    },

    /// The split column puts one group on two sides, which leaks it.
    #[error(
        "{count} groups are on more than one side of the split column, which leaks them into the \
         evaluation; the first: {}", printable(examples.join("; "))
    )]
    LeakedGroups {
        /// How many.
        count: usize,
        /// The first few groups, each with a row on either side.
        examples: Vec<String>,
    },

    /// The split column puts rows of one image on two sides, which leaks it.
    #[error(
        "{count} images are on more than one side of the split column, which leaks them into the \
         evaluation; the first: {}", examples.join("; ")
    )]
    LeakedImages {
        /// How many.
        count: usize,
        /// The first few images, each with a row on either side.
        examples: Vec<String>,
    },

    /// The split leaves a side empty that is needed.
    #[error("the split column marks no row as {split}")]
    EmptySplit {
        /// The empty side.
        split: Split,
    },

    /// There is nothing to divide.
    #[error(
        "{pairs} pairs in {groups} groups cannot be divided into training and validation: at \
         least two groups are needed (`dataset.group_col` says what a group is)"
    )]
    TooFewGroups {
        /// Groups there are.
        groups: usize,
        /// Pairs there are.
        pairs: usize,
    },

    /// All texts to train on are equal.
    #[error(
        "all {texts} texts are equal: there is nothing to tell images apart by; is \
         `dataset.text_col` the column of texts?"
    )]
    EqualTexts {
        /// How many.
        texts: usize,
    },

    /// A word is none of those that a setting knows.
    #[error("`{setting}` is `{word}`; it must be {known}")]
    UnknownWord {
        /// The setting.
        setting: &'static str,
        /// The word given.
        word: String,
        /// The words there are.
        known: &'static str,
    },

    /// The column of classes has the same one everywhere.
    #[error(
        "{}: column `{column}` holds only the class `{class}`; there is nothing to tell apart",
        shown(path), class = printable(class)
    )]
    OneClass {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The class.
        class: String,
    },

    /// A cell of the column of classes seems to list several findings.
    #[error(
        "{}: column `{column}`: `{cell}` seems to list findings that other cells name too; say \
         what separates them (`--label-separator '{separator}'`), or write classes without a \
         `{separator}`",
        shown(path), cell = printable(cell)
    )]
    ListedClasses {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The cell.
        cell: String,
        /// What seems to separate them.
        separator: &'static str,
    },

    /// The column of classes does not have the one that is to be positive.
    #[error(
        "{}: column `{column}` has no class `{class}`; found {}",
        shown(path),
        few(found)
    )]
    UnknownClass {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The class asked for.
        class: String,
        /// The classes there are.
        found: Vec<String>,
    },

    /// A label is the same for all images, as far as it is known.
    #[error(
        "not one of {images} images is known to be {} for `{label}`: there is nothing to tell \
         apart; leave the label out", outcome(*holds), label = printable(label)
    )]
    OneSided {
        /// The label.
        label: String,
        /// Which outcome is missing.
        holds: bool,
        /// Images there are.
        images: usize,
    },

    /// A fraction of the training data has no example of a label's outcome.
    #[error(
        "a fraction of {fraction} keeps none of the {groups} groups in which `{label}` is {}; the \
         smallest that keeps one is {}", outcome(*holds), rounded_up(0.5 / *groups as f64), label = printable(label)
    )]
    FractionTooSmall {
        /// The fraction, of 1.
        fraction: f64,
        /// The label.
        label: String,
        /// Which outcome is missing.
        holds: bool,
        /// Groups with that outcome.
        groups: usize,
    },

    /// An outcome of a label is in too few groups to be on both sides of a division.
    #[error(
        "`{label}` is {} in {groups} {} only, too few to have some to learn from and some held \
         out", outcome(*holds), if *groups == 1 { "group" } else { "groups" }, label = printable(label)
    )]
    TooFewWithLabel {
        /// The label.
        label: String,
        /// Which outcome.
        holds: bool,
        /// Groups with that outcome.
        groups: usize,
    },

    /// A folder holds no tokenizer.
    #[error("{}: no tokenizer; looked for {}", shown(folder), looked_for.join(", "))]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// The files that would have done.
        looked_for: Vec<&'static str>,
    },

    /// A file of a tokenizer cannot be understood.
    #[error("{}: no valid tokenizer file", shown(path))]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A vocabulary lacks a token that encoders of this kind need.
    #[error("{}: the vocabulary lacks the special token {token}", shown(path))]
    MissingSpecialToken {
        /// The file or folder of the vocabulary.
        path: PathBuf,
        /// The token, or the ones of which one would do.
        token: String,
    },

    /// There is no text to learn a vocabulary from.
    #[error("no vocabulary can be learned: there are no words in the texts")]
    NoWords,

    /// The vocabulary asked for does not hold the single characters of the texts.
    #[error(
        "a vocabulary of {asked} tokens is too small: the special tokens and the characters of \
         the texts alone are {needed}"
    )]
    VocabularyTooSmall {
        /// Tokens asked for.
        asked: usize,
        /// Tokens needed at the least.
        needed: usize,
    },

    /// A text cannot be encoded.
    #[error("text `{excerpt}` cannot be encoded", excerpt = printable(excerpt))]
    Tokenize {
        /// The beginning of the text.
        excerpt: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The maximum of tokens leaves no room for text between the special ones.
    #[error(
        "a maximum of {max_tokens} tokens leaves no room for text beside {special} special ones"
    )]
    NoRoomForText {
        /// The maximum asked for.
        max_tokens: usize,
        /// Special tokens that every text gets.
        special: usize,
    },

    /// An image file has no bytes, or its image no pixels.
    #[error("{}: empty image", shown(path))]
    EmptyImage {
        /// The image.
        path: PathBuf,
    },

    /// A JPEG has no end-of-image marker, or one before all of its image, or codes that are none.
    #[error(
        "{}: truncated jpeg: its data ends before its image does, or is damaged",
        shown(path)
    )]
    TruncatedImage {
        /// The image.
        path: PathBuf,
    },

    /// An image is larger than the decoder may go.
    #[error(
        "{}: larger than {max_side} pixels a side or {max_bytes} bytes; `max_image_side` and \
         `max_image_mb` set these limits",
        shown(path)
    )]
    ImageTooLarge {
        /// The image.
        path: PathBuf,
        /// Longest side allowed, in pixels.
        max_side: u32,
        /// Largest file and decoded image allowed.
        max_bytes: u64,
    },

    /// The header of an image promises more pixels than the file can hold.
    #[error(
        "{}: {bytes} bytes cannot hold as many pixels as its header promises; a damaged or \
         truncated file",
        shown(path)
    )]
    ImplausibleImage {
        /// The image.
        path: PathBuf,
        /// Size of the file, or of what of it is compressed.
        bytes: u64,
    },

    /// A file is no JPEG, PNG or DICOM, or a damaged one.
    #[error("{}: cannot be decoded", shown(path))]
    DecodeImage {
        /// The image.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },

    /// A DICOM file is damaged, or of a kind that is not read.
    #[error("{}: cannot be decoded", shown(path))]
    DecodeDicom {
        /// The image.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A file is damaged in a way that the decoder did not foresee.
    #[error("{}: the decoder gave up in a panic", shown(path))]
    DecoderPanicked {
        /// The image.
        path: PathBuf,
    },

    /// A folder holds no images.
    #[error(
        "{}: no images, JPEG, PNG or DICOM, there or below; {passed_over}",
        shown(folder)
    )]
    NoImages {
        /// The folder.
        folder: PathBuf,
        /// What there is instead.
        passed_over: PassedOver,
    },

    /// Too many images cannot be read.
    #[error(
        "{unreadable} of {images} images cannot be read ({:.2} %), more than the {:.2} % allowed; \
         mend them or allow more. The first: {}",
        100.0 * *unreadable as f64 / (*images).max(1) as f64, 100.0 * max_bad_share,
        first.join("; ")
    )]
    TooManyUnreadable {
        /// Images that could not be read up to now.
        unreadable: usize,
        /// Images in all.
        images: usize,
        /// The share that is borne, from 0 to 1.
        max_bad_share: f64,
        /// The first few of them, each with its path and the reason.
        first: Vec<String>,
    },

    /// There are no studies or images to make batches of.
    #[error("nothing to load: no studies or images")]
    NothingToLoad,

    /// A batch is larger than the whole set.
    #[error(
        "a batch of {batch_size} is larger than the training set of {studies} pairs; lower \
         `batch_size`"
    )]
    BatchTooLarge {
        /// Pairs asked for in a batch.
        batch_size: usize,
        /// Pairs there are.
        studies: usize,
    },

    /// Threads for the loader cannot be started.
    #[error("{num_workers} loader threads cannot be started")]
    Workers {
        /// Threads asked for.
        num_workers: usize,
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },

    /// A loader thread panicked: a defect of the program.
    #[error("a loader thread panicked in batch {batch}")]
    WorkerPanicked {
        /// The step, or the number of the batch in the evaluation.
        batch: usize,
    },
}

/// A path as a terminal may show it.
fn shown(path: &Path) -> impl Display {
    printable(path_text(path))
}

fn suggest(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| {
        format!(", did you mean `{}`?", printable(name))
    })
}

fn outcome(holds: bool) -> &'static str {
    if holds { "positive" } else { "negative" }
}

/// A number above 0, rounded up to two figures.
fn rounded_up(number: f64) -> f64 {
    let scale = 10f64.powf(1.0 - number.log10().floor());
    // What is exact but for its last bits stays as it is.
    (number * scale - 1e-9).ceil() / scale
}

fn listed(skips: &[Skip]) -> String {
    let skips: Vec<_> = skips.iter().map(Skip::to_string).collect();
    skips.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_cells_do_not_act_on_a_terminal() {
        let error = DataError::TableCell {
            path: "a\u{1b}[2J.csv".into(),
            row: 1,
            column: "Edema".into(),
            cell: "1\nerror: \u{202e}".into(),
            expected: "1, 0, -1 or nothing",
        };
        let message = error.to_string();
        assert!(
            !message.contains(['\u{1b}', '\n', '\u{202e}']),
            "{message:?}"
        );
        assert!(message.starts_with("a\\u{1b}[2J.csv: row 1"), "{message}");
    }

    #[test]
    fn a_table_of_very_many_columns_makes_no_long_message() {
        let found: Vec<String> = (100_000..300_000).map(|it| it.to_string()).collect();
        let path = PathBuf::from("pairs.csv");
        for error in [
            DataError::TableColumn {
                path: path.clone(),
                column: "image".into(),
                found: found.clone(),
            },
            DataError::MissingColumn {
                path: path.clone(),
                key: "image_col",
                column: "image".into(),
                nearest: None,
                found: found.clone(),
            },
            DataError::AmbiguousColumn {
                path: path.clone(),
                key: "image_col",
                column: "image".into(),
                positions: (100_000..300_000).collect(),
            },
            DataError::ColumnOutOfRange {
                path: path.clone(),
                key: "image_col",
                position: 300_000,
                found: found.clone(),
            },
            DataError::UnknownClass {
                path,
                column: "label".into(),
                class: "Edema".into(),
                found,
            },
        ] {
            let message = error.to_string();
            assert!(message.contains("100000") && message.contains("199980 more"));
            assert!(message.len() < 500, "{message}");
        }
    }
}
