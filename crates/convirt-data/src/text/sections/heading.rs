//! Recognition of section headings.

use super::SectionName::{self, *};
use crate::text::heading_names::{KEYWORDS, exact, is_capitals, is_nearly, misspelt, normalized};

/// Words of headings that name the view in place of "FINDINGS".
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

/// Titles of a report, which are not section headings.
const TITLES: [&str; 5] = [
    "final report",
    "preliminary report",
    "radiology report",
    "final radiology report",
    "provisional findings impression (pfi) report",
];

/// Sections whose heading is recognized without a colon before text ("IMPRESSION No effusion.").
const KNOWN_WITHOUT_COLON: [SectionName; 4] = [Findings, Impression, Addendum, WetRead];

/// Characters between a heading and its text in place of the colon.
const SEPARATORS: [char; 6] = ['.', ';', '-', '–', ',', ' '];

/// Characters that may precede a heading within a line without a space.
const GLUED_TO: [char; 5] = ['.', ';', ':', ',', ')'];

/// Adjectives before the name of a heading.
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

/// End marks of a report; in capitals, any text may follow them.
const ENDS: [&str; 6] = [
    "end of impression",
    "end of report",
    "end of findings",
    "end of dictation",
    "end of addendum",
    "end of exam",
];

/// Headings of signatures and dates.
const SIGNATURE_HEADINGS: [&str; 16] = [
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

/// Longest heading that is recognized within a line, in words.
const MAX_NAME_WORDS: usize = 4;

/// Longest heading, in words.
const MAX_WORDS: usize = 10;

/// Longest heading, in characters.
const MAX_LENGTH: usize = 80;

/// A heading and the rest of its line.
pub(super) struct Heading<'a> {
    pub(super) kind: Kind,
    /// The heading as written, without the colon.
    pub(super) label: &'a str,
    pub(super) rest: &'a str,
}

/// The effect of a heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Starts a section.
    Section(SectionName),
    /// Starts the findings; is a label in the impression and where there are findings ("CHEST:").
    Views,
    /// Starts an unnamed section after a section other than findings or impression.
    Label,
    /// Starts the report.
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
        // The colon of "EXAM AT 10:15" does not end a heading, that of "IMPRESSION:1. Normal" does.
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

/// Returns a main heading in capitals and without a colon, before text that is not in capitals.
fn before_text(line: &str) -> Option<Heading<'_>> {
    let ends = line.match_indices(SEPARATORS).map(|(end, _)| end);
    let ends: Vec<_> = ends.take(MAX_NAME_WORDS).collect();
    ends.into_iter().rev().find_map(|end| {
        let label = line[..end].trim_end();
        let name = is_capitals(label).then(|| exact(label)).flatten()?;
        let rest = line[end..].trim_start_matches(SEPARATORS);
        // A preliminary reading is followed by a name and a time: "WET READ ___ 8:04 AM".
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

/// Returns the first heading within a line and its position.
///
/// Headings in capitals before a colon are recognized. "Findings:" and "Impression:" are also
/// recognized without capitals after a full stop ("Impression:" not in a preamble), and within
/// sections that do not describe the image even without a full stop. `under` is the current
/// section.
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
                && let Some(heading) = ending_at(line, &starts, end, under)
            {
                return Some(heading);
            }
            // A heading without a space before it: "view.FINDINGS:Clear".
            if GLUED_TO.contains(&sign) && !line[end + 1..].starts_with(char::is_whitespace) {
                starts.push(end + 1);
            }
        }
    }
    None
}

/// Returns the heading whose colon is at `end`, if it begins at one of the last `starts`.
fn ending_at<'a>(
    line: &'a str,
    starts: &[usize],
    end: usize,
    under: SectionName,
) -> Option<(usize, Heading<'a>)> {
    // The longest name first: "CLINICAL HISTORY" instead of "HISTORY".
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

/// Whether a section does not describe the image, so that findings may begin anywhere in it.
fn is_aside(section: SectionName) -> bool {
    !matches!(
        section,
        Preamble | Findings | Impression | Addendum | WetRead | Other | SignOff
    )
}

/// Returns the start of a heading at `start` including its adjectives: "FINAL IMPRESSION".
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

/// Whether findings end before `start` without a full stop, and the word is not part of a name
/// ("Clinical Impression").
fn follows_findings(line: &str, start: usize, under: SectionName) -> bool {
    let word = line[..start].split_whitespace().next_back().unwrap_or("");
    let is_article = ["a", "an", "and", "of", "or", "the", "this"].contains(&word);
    under == Findings && word.starts_with(char::is_lowercase) && !is_article
}

/// Whether the word before `start` may belong to the same heading: "ABNORMAL FINDINGS".
fn is_in_capitals(line: &str, start: usize) -> bool {
    let word = line[..start].split_whitespace().next_back().unwrap_or("");
    is_capitals(word) && !word.starts_with("NONE") && !word.ends_with([',', '-'])
}

/// Returns an end mark at the start of a line, within any punctuation.
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

/// Whether `start` follows the end of a sentence or is the start of the line.
fn is_after_stop(line: &str, start: usize) -> bool {
    let before = line[..start].trim_end();
    before.is_empty() || before.ends_with(['.', '!', '?', ':', ';'])
}

/// Recognizes a usual name alone on its line, or the title of a report.
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
    if SIGNATURE_HEADINGS.contains(&name.as_str()) {
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
    let keyword = KEYWORDS
        .iter()
        .find(|(keyword, _)| words.iter().any(|word| is_nearly(word, keyword)));
    Some(match keyword {
        Some(&(_, section)) => Kind::Section(section),
        None if words.iter().any(|word| VIEW_WORDS.contains(word)) => Kind::Views,
        None => Kind::Label,
    })
}

/// Returns the position of the name after the adjectives of a heading.
fn bare_start(label: &str) -> usize {
    let words = label.split_whitespace();
    let bare = words
        .into_iter()
        .find(|word| !ADJECTIVES.contains(&word.to_uppercase().as_str()));
    bare.map_or(0, |word| word.as_ptr() as usize - label.as_ptr() as usize)
}

/// Whether a heading is a usual section name, or contains one in capitals.
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
