//! Which words are the heading of which section.

use super::SectionName::{self, *};
use crate::text::heading_names::{
    TELLING_WORDS, exact, is_capitals, is_nearly, misspelt, normalized,
};

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

/// What is put in front of the name of a heading.
const ADJECTIVES: [&str; 8] = [
    "FINAL",
    "OVERALL",
    "PRELIMINARY",
    "RADIOGRAPHIC",
    "RADIOLOGIC",
    "RADIOLOGICAL",
    "RADIOLOGIST'S",
    "RADIOLOGISTS",
];

/// Marks of the end of a report, with anything behind them if in capitals.
const ENDS: [&str; 6] = [
    "end of impression",
    "end of report",
    "end of findings",
    "end of dictation",
    "end of addendum",
    "end of exam",
];

/// Headings over names and dates.
const SIGNING: [&str; 16] = [
    "approved",
    "approved by",
    "authenticated by",
    "dictated",
    "dictated by",
    "electronically approved by",
    "electronically signed by",
    "electronically verified by",
    "report status",
    "reported by",
    "signed",
    "signed by",
    "submitted by",
    "transcribed by",
    "verified by",
    "workstation",
];

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
    if let Some(end) = end_mark(line) {
        return Some(end);
    }
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
/// findings after a full stop, or impression where the text has a heading; what is seen may stand
/// before it otherwise. Text `under` a heading of neither needs no full stop before them.
pub(super) fn inside(line: &str, under: SectionName) -> Option<(usize, Heading<'_>)> {
    let mut starts = Vec::new();
    for word in line.split_whitespace() {
        let start = word.as_ptr() as usize - line.as_ptr() as usize;
        starts.push(start);
        let name = word.split(SEPARATORS).next().unwrap_or(word);
        if start > 0 && word.starts_with(['E', '*', '-', '=', '(']) {
            let end = end_mark(&line[start..]);
            if let Some(end) = end {
                return Some((start, end));
            }
        }
        let may_begin =
            || is_after_stop(line, start) || is_aside(under) && !is_in_capitals(line, start);
        if start > 0 && is_capitals(name) && may_begin() {
            let heading = before_text(&line[start..]);
            if let Some(heading) = heading {
                return Some((start, heading));
            }
        }
        for (at, sign) in word.char_indices() {
            let end = start + at;
            if sign == ':'
                && let Some(found) = ending_at(line, &starts, end, under)
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
    under: SectionName,
) -> Option<(usize, Heading<'a>)> {
    // The longest name first: "CLINICAL HISTORY" and not "HISTORY".
    let first = starts.len().saturating_sub(MAX_NAME_WORDS);
    starts[first..].iter().find_map(|&start| {
        let label = line[start..end].trim();
        let is_main = |name| name == Findings || name == Impression && under != Preamble;
        let name = exact(label).or_else(|| misspelt(&normalized(label)))?;
        let is_heading = is_capitals(label)
            || is_main(name)
                && label.starts_with(char::is_uppercase)
                && (is_aside(under)
                    || is_after_stop(line, start)
                    || follows_findings(line, start, under));
        let start = before_adjectives(line, start);
        is_heading.then_some((
            start,
            Heading {
                kind: Kind::Section(name),
                label: line[start..end].trim(),
                rest: line[end + 1..].trim(),
            },
        ))
    })
}

/// Whether a section says nothing of the image, so that findings begin wherever they are named.
fn is_aside(section: SectionName) -> bool {
    !matches!(
        section,
        Preamble | Findings | Impression | Addendum | WetRead | Other | SignOff
    )
}

/// Where the adjectives of a heading at `start` begin: "FINAL IMPRESSION".
fn before_adjectives(line: &str, mut start: usize) -> usize {
    loop {
        let before = line[..start].trim_end();
        let word = before.rsplit(char::is_whitespace).next().unwrap_or("");
        let is_capital = word.starts_with(char::is_uppercase);
        if !is_capital || !ADJECTIVES.contains(&word.to_uppercase().as_str()) {
            return start;
        }
        start = before.len() - word.len();
    }
}

/// Whether findings without a full stop end before `start`, and no name ("Clinical Impression").
fn follows_findings(line: &str, start: usize, under: SectionName) -> bool {
    let word = line[..start].split_whitespace().next_back().unwrap_or("");
    let is_article = ["a", "an", "and", "of", "or", "the", "this"].contains(&word);
    under == Findings && word.starts_with(char::is_lowercase) && !is_article
}

/// Whether the word before `start` may be of the same heading: "ABNORMAL FINDINGS".
fn is_in_capitals(line: &str, start: usize) -> bool {
    let word = line[..start].split_whitespace().next_back().unwrap_or("");
    is_capitals(word) && !word.starts_with("NONE") && !word.ends_with([',', '-'])
}

/// A mark of the end with which a line starts, whatever signs surround it.
fn end_mark(line: &str) -> Option<Heading<'_>> {
    let is_sign = |c: char| !c.is_alphanumeric() && c != '_';
    let text = line.trim_start_matches(is_sign);
    let label = ENDS.iter().find_map(|end| {
        let label = text.get(..end.len())?;
        label.eq_ignore_ascii_case(end).then_some(label)
    })?;
    let rest = &text[label.len()..];
    let is_whole = rest.trim_start_matches(is_sign).is_empty();
    let ends_name = !rest.starts_with(char::is_alphanumeric);
    (ends_name && (is_whole || is_capitals(label) || rest.starts_with(':'))).then_some(Heading {
        kind: Kind::Section(SignOff),
        label,
        rest: rest.trim_start_matches(is_sign),
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
    if SIGNING.contains(&name.as_str()) {
        return is_capitals(label).then_some(Kind::Section(SignOff));
    }
    let bare = &label[bare_start(label)..];
    let section = exact(label)
        .or_else(|| misspelt(&name))
        .or_else(|| exact(bare));
    if let Some(section) = section {
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

/// Where the name begins behind the adjectives of a heading.
fn bare_start(label: &str) -> usize {
    let words = label.split_whitespace();
    let bare = words
        .into_iter()
        .find(|word| !ADJECTIVES.contains(&word.to_uppercase().as_str()));
    bare.map_or(0, |word| word.as_ptr() as usize - label.as_ptr() as usize)
}

/// Whether a heading is one of the usual names of a section, or holds one in capitals.
pub(super) fn is_usual(label: &str) -> bool {
    matches!(kind(label), Some(Kind::Section(name)) if name != SignOff) && end_mark(label).is_none()
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= MAX_LENGTH
        && text.split_whitespace().count() <= MAX_WORDS
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || " \t()/,&-_'.#:".contains(c))
}
