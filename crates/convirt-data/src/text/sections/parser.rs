//! The line-by-line parser of a report.

use super::heading::{self, Heading, Kind};
use super::run_on::findings_within;
use super::sign_off::without_sign_off;
use super::{Section, SectionName, Sections};
use crate::text::sentences::{blocks, is_rule};

/// Parses a report line by line.
pub(super) struct Parser<'a> {
    report: &'a str,
    drafts: Vec<Draft<'a>>,
    in_addendum: bool,
    /// Whether the report, from its title on, has a text of findings outside of an addendum.
    has_findings: bool,
}

/// A section under construction.
struct Draft<'a> {
    name: SectionName,
    heading: &'a str,
    /// Paragraphs, each a list of lines.
    paragraphs: Vec<Vec<&'a str>>,
    in_addendum: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(report: &'a str) -> Self {
        let mut parser = Self {
            report: report.strip_prefix('\u{feff}').unwrap_or(report),
            drafts: Vec::new(),
            in_addendum: false,
            has_findings: false,
        };
        parser.open(SectionName::Preamble, "");
        parser
    }

    pub(super) fn parse(mut self) -> Sections {
        let width = self.report.lines().map(|line| line.trim().chars().count());
        let width = width.max().unwrap_or(0);
        for line in self.report.lines() {
            self.line(line.trim());
        }
        self.divide_sign_offs();
        self.name_interpretation();
        self.drafts.retain(|draft| {
            draft.name != SectionName::Preamble || !draft.heading.is_empty() || draft.has_text()
        });
        Sections {
            last_paragraph: last_paragraph(&self.drafts, width),
            sections: self
                .drafts
                .into_iter()
                .map(|draft| draft.finish(width))
                .collect(),
        }
    }

    fn line(&mut self, line: &'a str) {
        if is_rule(line) {
            if self.in_addendum && self.current().has_text() {
                self.in_addendum = false;
                self.open(SectionName::Preamble, "");
            } else {
                self.gap();
            }
        } else if line.is_empty() {
            self.gap();
        } else {
            // A loop, since recursion on a line with very many headings would overflow the stack.
            let mut rest = line;
            while !rest.is_empty() {
                rest = match heading::at_start(rest) {
                    Some(heading) => self.heading(rest, heading),
                    None => self.text(rest),
                };
            }
        }
    }

    /// Processes a heading and returns the rest of the line.
    fn heading(&mut self, line: &'a str, heading: Heading<'a>) -> &'a str {
        use SectionName::{Addendum, Findings, Impression, Other, Preamble};
        let current = self.current().name;
        let name = match heading.kind {
            Kind::Title => {
                (self.in_addendum, self.has_findings) = (false, false);
                Preamble
            }
            Kind::Section(name) => {
                self.in_addendum |= name == Addendum;
                name
            }
            Kind::Views if !self.has_findings && !matches!(current, Findings | Impression) => {
                Findings
            }
            Kind::Views | Kind::Label => {
                if !matches!(current, Preamble | Findings | Impression | Addendum | Other) {
                    self.open(Other, "");
                }
                return self.text(line);
            }
        };
        self.open(name, heading.label);
        heading.rest
    }

    /// Adds text up to the next heading within the line; returns what follows that heading.
    fn text(&mut self, line: &'a str) -> &'a str {
        let Some((start, heading)) = heading::inside(line, self.current().name) else {
            self.push(line);
            return "";
        };
        let before = line[..start].trim();
        if !before.is_empty() {
            self.push(before);
        }
        self.heading(&line[start..], heading)
    }

    /// Moves a sign-off at the end of findings or impression into a section of its own, if a
    /// paragraph precedes it.
    fn divide_sign_offs(&mut self) {
        use SectionName::{Findings, Impression, SignOff};
        let drafts = std::mem::take(&mut self.drafts);
        for mut draft in drafts {
            let is_main = matches!(draft.name, Findings | Impression);
            let closing = draft.paragraphs.iter().skip(1).rev();
            let closing = closing
                .take_while(|lines| is_main && is_sign_off_paragraph(lines))
                .count();
            let paragraphs = draft.paragraphs.split_off(draft.paragraphs.len() - closing);
            let in_addendum = draft.in_addendum;
            self.drafts.push(draft);
            if paragraphs.iter().any(|lines| !lines.is_empty()) {
                self.drafts.push(Draft {
                    name: SignOff,
                    heading: "",
                    paragraphs,
                    in_addendum,
                });
            }
        }
    }

    /// Treats an interpretation as findings if the report also has an impression.
    fn name_interpretation(&mut self) {
        use SectionName::{Findings, Impression};
        let is_interpretation = |it: &Draft| it.heading.eq_ignore_ascii_case("interpretation");
        let has = |name| {
            self.drafts.iter().any(|it| {
                it.name == name && !it.in_addendum && it.has_text() && !is_interpretation(it)
            })
        };
        if !has(Findings) && has(Impression) {
            for draft in self.drafts.iter_mut().filter(|it| is_interpretation(it)) {
                draft.name = Findings;
            }
        }
    }

    fn open(&mut self, name: SectionName, heading: &'a str) {
        self.drafts.push(Draft {
            name,
            heading,
            paragraphs: vec![Vec::new()],
            in_addendum: self.in_addendum,
        });
    }

    fn push(&mut self, line: &'a str) {
        let current = self.current();
        current.push(line);
        let is_findings = current.name == SectionName::Findings && !current.in_addendum;
        self.has_findings |= is_findings;
    }

    fn gap(&mut self) {
        let current = self.current();
        if current.has_text() {
            current.paragraphs.push(Vec::new());
        }
    }

    fn current(&mut self) -> &mut Draft<'a> {
        self.drafts.last_mut().expect("a preamble is opened first")
    }
}

impl<'a> Draft<'a> {
    fn push(&mut self, line: &'a str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.push(line);
        }
    }

    fn has_text(&self) -> bool {
        self.paragraphs.iter().any(|lines| !lines.is_empty())
    }

    /// Returns the text, with each paragraph or list item on one line and blank lines between them.
    fn text(&self, width: usize) -> String {
        let filled = self.paragraphs.iter().filter(|lines| !lines.is_empty());
        let blocks: Vec<_> = filled.flat_map(|lines| blocks_of(lines, width)).collect();
        blocks.join("\n\n")
    }

    /// Returns the last paragraph, without the first one after a heading and without sign-offs; or
    /// else the sentences that read like findings.
    fn last_paragraph(&self, width: usize) -> Option<String> {
        let is_headed = !matches!(self.name, SectionName::Preamble | SectionName::Other);
        let own = self.paragraphs.iter().skip(usize::from(is_headed));
        let text = own
            .rev()
            .find_map(|lines| without_sign_off_text(blocks_of(lines, width)));
        text.or_else(|| findings_within(&self.text(width)))
    }

    /// Returns the text without the sign-off.
    fn text_without_sign_off(&self, width: usize) -> Option<String> {
        let blocks = self
            .paragraphs
            .iter()
            .flat_map(|lines| blocks_of(lines, width));
        without_sign_off_text(blocks.collect())
    }

    fn finish(self, width: usize) -> Section {
        Section {
            name: self.name,
            heading: self.heading.into(),
            text: self.text(width),
            in_addendum: self.in_addendum,
        }
    }
}

/// Joins the lines of a paragraph, except before items and labels and after short lines.
fn blocks_of(lines: &[&str], width: usize) -> Vec<String> {
    blocks(lines.iter().copied(), width)
}

/// Whether a paragraph consists only of a sign-off.
fn is_sign_off_paragraph(lines: &[&str]) -> bool {
    without_sign_off(blocks_of(lines, 0)).is_empty()
}

/// Returns the text of blocks without the sign-off, if any words remain.
fn without_sign_off_text(blocks: Vec<String>) -> Option<String> {
    let text = without_sign_off(blocks).join("\n\n");
    text.contains(char::is_alphabetic).then_some(text)
}

/// Returns the last paragraph of the report itself, or findings within the paragraph of another
/// heading; or else the recommendations or the preliminary reading.
fn last_paragraph(drafts: &[Draft], width: usize) -> Option<String> {
    use SectionName::{Addendum, Notification, Recommendations, WetRead};
    let secondary = [Addendum, Notification, Recommendations, WetRead];
    let (aside, report): (Vec<_>, Vec<_>) = drafts
        .iter()
        .filter(|draft| !draft.in_addendum)
        .partition(|draft| secondary.contains(&draft.name));
    let last = report
        .iter()
        .rev()
        .find_map(|draft| draft.last_paragraph(width));
    let substitute = |name| {
        let mut sections = aside.iter().rev().filter(|draft| draft.name == name);
        sections.find_map(|draft| draft.text_without_sign_off(width))
    };
    last.or_else(|| substitute(Recommendations))
        .or_else(|| substitute(WetRead))
}
