//! Which words are the heading of which section.

use super::SectionName::{self, *};
use crate::heading_names::{TELLING_WORDS, exact, is_capitals, is_nearly, misspelt, normalized};

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

/// Sections whose heading is known without its colon in front of text ("IMPRESSION No effusion.").
const KNOWN_WITHOUT_COLON: [SectionName; 4] = [Findings, Impression, Addendum, WetRead];

/// What stands between a heading and its text in place of the colon, or by mistake.
const SEPARATORS: [char; 6] = ['.', ';', '-', '–', ',', ' '];

/// Signs that a heading may be glued to inside a line.
const GLUING: [char; 5] = ['.', ';', ':', ',', ')'];

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
        // "EXAM AT 10:15" ends at no colon, "IMPRESSION:1. Normal" does.
        let is_time = || exact(label).is_none() && rest.starts_with(|c: char| c.is_ascii_digit());
        if ends_cleanly || is_name && !is_time() {
            return kind.map(|kind| Heading {
                kind,
                label,
                rest: rest.trim(),
            });
        }
    }
    before_text(line)
}

/// A main heading in capitals, without its colon, before text that is not all in capitals.
fn before_text(line: &str) -> Option<Heading<'_>> {
    let ends = line.match_indices(SEPARATORS).map(|(end, _)| end);
    let ends: Vec<_> = ends.take(MAX_NAME_WORDS).collect();
    ends.into_iter().rev().find_map(|end| {
        let label = line[..end].trim_end();
        let name = is_capitals(label).then(|| exact(label)).flatten()?;
        let rest = line[end..].trim_start_matches(SEPARATORS);
        // A first reading is signed and timed: "WET READ ___ 8:04 AM".
        let is_text = name == WetRead
            || rest.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
                && rest.chars().take(MAX_LENGTH).any(char::is_lowercase);
        (KNOWN_WITHOUT_COLON.contains(&name) && is_text).then_some(Heading {
            kind: Kind::Section(name),
            label,
            rest,
        })
    })
}

/// Returns the first heading inside a line, and where it begins: one in capitals before a colon, or
/// findings after a full stop, or impression where the text `is_headed`; what is seen may stand
/// before it otherwise.
pub(super) fn inside(line: &str, is_headed: bool) -> Option<(usize, Heading<'_>)> {
    let mut starts = Vec::new();
    for word in line.split_whitespace() {
        let start = word.as_ptr() as usize - line.as_ptr() as usize;
        starts.push(start);
        if start > 0 && is_after_stop(line, start) && is_capitals(word.trim_end_matches(SEPARATORS))
        {
            let heading = before_text(&line[start..]);
            if let Some(heading) = heading {
                return Some((start, heading));
            }
        }
        for (at, sign) in word.char_indices() {
            let end = start + at;
            if sign == ':'
                && let Some(found) = ending_at(line, &starts, end, is_headed)
            {
                return Some(found);
            }
            // What was glued to the text before it: "view.FINDINGS:Clear".
            if GLUING.contains(&sign) && !line[end + 1..].starts_with(char::is_whitespace) {
                starts.push(end + 1);
            }
        }
    }
    None
}

/// The heading whose colon is at `end` of a line, if it begins at one of the last `starts`.
fn ending_at<'a>(
    line: &'a str,
    starts: &[usize],
    end: usize,
    is_headed: bool,
) -> Option<(usize, Heading<'a>)> {
    // The longest name first: "CLINICAL HISTORY" and not "HISTORY".
    let first = starts.len().saturating_sub(MAX_NAME_WORDS);
    starts[first..].iter().find_map(|&start| {
        let label = line[start..end].trim();
        let is_main = |name| name == Findings || name == Impression && is_headed;
        let name = exact(label).or_else(|| misspelt(&normalized(label)))?;
        let is_heading = is_capitals(label)
            || is_main(name) && label.starts_with(char::is_uppercase) && is_after_stop(line, start);
        is_heading.then_some((
            start,
            Heading {
                kind: Kind::Section(name),
                label,
                rest: line[end + 1..].trim(),
            },
        ))
    })
}

/// Whether a sentence ends before `start`, or the line begins there.
fn is_after_stop(line: &str, start: usize) -> bool {
    let before = line[..start].trim_end();
    before.is_empty() || before.ends_with(['.', '!', '?', ':', ';'])
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

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= MAX_LENGTH
        && text.split_whitespace().count() <= MAX_WORDS
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || " \t()/,&-_'.#:".contains(c))
}
