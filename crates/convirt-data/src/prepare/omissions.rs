//! Images and reports that were left out of a manifest, with reasons.

use std::collections::BTreeMap;
use std::fmt;

use crate::files::printable;

/// Examples stored for each reason.
const EXAMPLES: usize = 5;

/// Why an image or report was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Omission {
    /// The view of the image was not requested or is unknown.
    OtherView,
    /// The image is missing from the split table.
    NoSplit,
    /// The report has no image.
    NoImage,
    /// The image has no report.
    MissingReport,
    /// The report of the image cannot be read.
    UnreadableReport,
    /// The report of the image has no usable text.
    NoText,
    /// The image file does not exist.
    MissingImage,
    /// The image file cannot be decoded.
    UnreadableImage,
    /// Another report or row has the same name.
    Duplicate,
    /// A file name would lead out of the folder.
    UnsafeName,
}

/// The omissions, counted by reason, with the first few examples of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Omissions {
    by_reason: BTreeMap<Omission, Omitted>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Omitted {
    count: usize,
    examples: Vec<String>,
}

impl Omissions {
    pub(super) fn record(&mut self, reason: Omission, what: impl fmt::Display) {
        let omitted = self.by_reason.entry(reason).or_default();
        omitted.count += 1;
        if omitted.examples.len() < EXAMPLES {
            omitted.examples.push(what.to_string());
        }
    }

    /// Returns the number of omissions for `reason`.
    pub fn count(&self, reason: Omission) -> usize {
        self.by_reason
            .get(&reason)
            .map_or(0, |omitted| omitted.count)
    }

    /// Returns each reason that occurred, with its count and first examples.
    pub fn iter(&self) -> impl Iterator<Item = (Omission, usize, &[String])> {
        self.by_reason
            .iter()
            .map(|(&reason, omitted)| (reason, omitted.count, &omitted.examples[..]))
    }
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OtherView => "other view",
            Self::NoSplit => "no split",
            Self::NoImage => "report without image",
            Self::MissingReport => "no report",
            Self::UnreadableReport => "unreadable report",
            Self::NoText => "no findings, impression or last paragraph",
            Self::MissingImage => "missing image",
            Self::UnreadableImage => "unreadable image",
            Self::Duplicate => "duplicate",
            Self::UnsafeName => "name that leads out of the folder",
        })
    }
}

/// One line for each reason, and one for each example.
impl fmt::Display for Omissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_reason.is_empty() {
            return f.write_str("left out nothing");
        }
        f.write_str("left out")?;
        for (reason, count, examples) in self.iter() {
            write!(f, "\n  {reason}: {count}")?;
            for example in examples {
                write!(f, "\n    {}", printable(example))?;
            }
            if count > examples.len() {
                write!(f, "\n    and {} more", count - examples.len())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_shown_with_their_first_examples() {
        let mut omissions = Omissions::default();
        assert_eq!(omissions.to_string(), "left out nothing");
        for number in 1..=7 {
            omissions.record(Omission::NoImage, format!("CXR{number}"));
        }
        omissions.record(Omission::OtherView, "a.jpg (LATERAL)");
        assert_eq!(omissions.count(Omission::NoImage), 7);
        assert_eq!(omissions.count(Omission::NoText), 0);
        let text = omissions.to_string();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines[1..4],
            [
                "other view: 1",
                "a.jpg (LATERAL)",
                "report without image: 7"
            ]
        );
        assert_eq!((lines[8], lines[9]), ("CXR5", "and 2 more"));
    }
}
