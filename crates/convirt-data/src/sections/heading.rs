//! Which words are the heading of which section.

use super::SectionName::{self, *};
use crate::sentences::is_capitals;

/// Headings by their whole name, in lower case.
const NAMES: [(&str, SectionName); 60] = [
    ("findings", Findings),
    ("finding", Findings),
    ("reference findings", Findings),
    ("report", Findings),
    ("impression", Impression),
    ("impressions", Impression),
    ("conclusion", Impression),
    ("conclusions", Impression),
    ("interpretation", Impression),
    ("opinion", Impression),
    ("summary", Impression),
    ("findings and impression", Impression),
    ("findings/impression", Impression),
    ("indication", Indication),
    ("indications", Indication),
    ("history", Indication),
    ("clinical history", Indication),
    ("patient history", Indication),
    ("clinical indication", Indication),
    ("clinical information", Indication),
    (
        "clinical information & questions to be answered",
        Indication,
    ),
    ("clinical data", Indication),
    ("clinical statement", Indication),
    ("reason for exam", Indication),
    ("reason for examination", Indication),
    ("reason for study", Indication),
    ("reason", Indication),
    ("pfi", Indication),
    ("comparison", Comparison),
    ("comparisons", Comparison),
    ("comparison exam", Comparison),
    ("comparison film", Comparison),
    ("comparison study", Comparison),
    ("reference exam", Comparison),
    ("technique", Technique),
    ("procedure", Technique),
    ("dose", Technique),
    ("contrast", Technique),
    ("examination", Examination),
    ("exam", Examination),
    ("exam type", Examination),
    ("type of exam", Examination),
    ("type of examination", Examination),
    ("study", Examination),
    ("exam date", Examination),
    ("date", Examination),
    ("recommendation", Recommendations),
    ("recommendations", Recommendations),
    ("notification", Notification),
    ("notifications", Notification),
    ("communication", Notification),
    ("wet read", WetRead),
    ("wetread", WetRead),
    ("preliminary read", WetRead),
    ("provisional findings impression", WetRead),
    ("provisional findings impression (pfi)", WetRead),
    ("addendum", Addendum),
    ("addenda", Addendum),
    ("final addendum", Addendum),
    ("addendum end", Addendum),
];

/// Words that name the section of a longer heading in capitals, the most telling first.
const TELLING_WORDS: [(&str, SectionName); 20] = [
    ("addendum", Addendum),
    ("impression", Impression),
    ("impressions", Impression),
    ("conclusion", Impression),
    ("findings", Findings),
    ("recommendation", Recommendations),
    ("recommendations", Recommendations),
    ("notification", Notification),
    ("comparison", Comparison),
    ("comparisons", Comparison),
    ("technique", Technique),
    ("indication", Indication),
    ("history", Indication),
    ("reason", Indication),
    ("examination", Examination),
    ("exam", Examination),
    ("exams", Examination),
    ("procedure", Examination),
    ("study", Examination),
    ("read", WetRead),
];

/// Words of headings that say which image was taken in place of "FINDINGS".
const VIEW_WORDS: [&str; 16] = [
    "ap",
    "chest",
    "film",
    "frontal",
    "lateral",
    "pa",
    "portable",
    "radiograph",
    "radiographs",
    "ribs",
    "semi-upright",
    "supine",
    "upright",
    "view",
    "views",
    "x-ray",
];

/// Lines that stand above a report and head no section.
const TITLES: [&str; 5] = [
    "final report",
    "preliminary report",
    "radiology report",
    "final radiology report",
    "provisional findings impression (pfi) report",
];

/// Length from which one slip of the pen is forgiven ("IMPERSSION", "FINDNINGS").
const FORGIVING_LENGTH: usize = 7;

/// Words of the longest name that is looked for inside a line.
const MAX_NAME_WORDS: usize = 4;

/// Words of the longest heading.
const MAX_WORDS: usize = 10;

/// Letters of the longest heading.
const MAX_LENGTH: usize = 80;

/// A heading, and what stands behind it on its line.
pub(super) struct Heading<'a> {
    pub(super) kind: Kind,
    /// As written, without the colon.
    pub(super) label: &'a str,
    pub(super) rest: &'a str,
}

/// What a heading does to the sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Opens a section.
    Section(SectionName),
    /// Opens the findings, or is a label in them ("CHEST:").
    Views,
    /// Opens a section of its own after one that is neither findings nor impression.
    Label,
    /// Begins the report.
    Title,
}

/// Returns the heading that a trimmed line starts with.
pub(super) fn at_start(line: &str) -> Option<Heading<'_>> {
    if let Some(kind) = without_colon(line) {
        return Some(Heading {
            kind,
            label: line,
            rest: "",
        });
    }
    for (colon, _) in line.match_indices(':') {
        let (label, rest) = (line[..colon].trim_end(), &line[colon + 1..]);
        if !is_label(label) {
            return None;
        }
        let kind = kind(label);
        let ends_cleanly = rest.is_empty() || rest.starts_with(char::is_whitespace);
        let is_name = matches!(kind, Some(Kind::Section(_)));
        if ends_cleanly || is_name && !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return kind.map(|kind| Heading {
                kind,
                label,
                rest: rest.trim(),
            });
        }
    }
    None
}

/// Returns the first heading in capitals inside a line, and where it begins.
pub(super) fn inside(line: &str) -> Option<(usize, Heading<'_>)> {
    let start_of = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
    let mut starts = Vec::new();
    for word in line.split_whitespace() {
        starts.push(start_of(word));
        if !word.ends_with(':') {
            continue;
        }
        let end = start_of(word) + word.len() - 1;
        // The longest name first: "CLINICAL HISTORY" and not "HISTORY".
        let first = starts.len().saturating_sub(MAX_NAME_WORDS);
        for &start in &starts[first..] {
            let label = &line[start..end];
            if let Some(name) = exact(label).filter(|_| is_capitals(label)) {
                let heading = Heading {
                    kind: Kind::Section(name),
                    label,
                    rest: line[end + 1..].trim(),
                };
                return Some((start, heading));
            }
        }
    }
    None
}

/// A usual name alone on its line, or the title of a report.
fn without_colon(line: &str) -> Option<Kind> {
    if line.chars().nth(MAX_LENGTH).is_some() {
        return None;
    }
    if TITLES.contains(&normalized(line).as_str()) {
        return Some(Kind::Title);
    }
    let name = exact(line)?;
    let is_main = matches!(name, Findings | Impression);
    let is_title_case = line.starts_with(char::is_uppercase);
    (is_capitals(line) || is_main && is_title_case).then_some(Kind::Section(name))
}

fn kind(label: &str) -> Option<Kind> {
    let name = normalized(label);
    if TITLES.contains(&name.as_str()) {
        return Some(Kind::Title);
    }
    if let Some(section) = exact(label).or_else(|| misspelt(&name)) {
        return Some(Kind::Section(section));
    }
    if !is_capitals(label) {
        return None;
    }
    let words: Vec<_> = name
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .collect();
    let telling = TELLING_WORDS
        .iter()
        .find(|(telling, _)| words.iter().any(|word| is_nearly(word, telling)));
    Some(match telling {
        Some(&(_, section)) => Kind::Section(section),
        None if words.iter().any(|word| VIEW_WORDS.contains(word)) => Kind::Views,
        None => Kind::Label,
    })
}

/// Whether a heading is one of the usual names of a section, or holds one in capitals.
pub(super) fn is_usual(label: &str) -> bool {
    matches!(kind(label), Some(Kind::Section(_)))
}

fn exact(label: &str) -> Option<SectionName> {
    let label = normalized(label);
    let entry = NAMES.iter().find(|(name, _)| *name == label)?;
    Some(entry.1)
}

fn misspelt(label: &str) -> Option<SectionName> {
    let entry = NAMES.iter().find(|(name, _)| is_nearly(label, name))?;
    Some(entry.1)
}

fn is_nearly(word: &str, name: &str) -> bool {
    word == name
        || name.len() >= FORGIVING_LENGTH
            && word.len().abs_diff(name.len()) <= 2
            && strsim::damerau_levenshtein(word, name) <= 1
}

/// Lower case, single spaces, none around slashes, no plural in brackets.
fn normalized(label: &str) -> String {
    let words: Vec<_> = label.split_whitespace().collect();
    let joined = words.join(" ").to_lowercase();
    let joined = joined.replace(" /", "/").replace("/ ", "/");
    joined.trim_end_matches("(s)").trim().to_owned()
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= MAX_LENGTH
        && text.split_whitespace().count() <= MAX_WORDS
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || " \t()/,&-_'.#:".contains(c))
}
