//! Files and folders that a recursive listing skipped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::path_text::path_text;

/// Names stored for each kind.
const EXAMPLES: usize = 5;

/// Why a file or folder was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PassedOverKind {
    /// Neither the name nor the content of the file is that of a supported image.
    NoImage,
    /// A DICOM object without an image: a structured report, a presentation state.
    NoPixels,
    /// The name begins with a dot.
    Hidden,
    /// Another image has the same name and is used instead.
    SameName,
    /// The file cannot be opened.
    UnreadableFile,
    /// The folder cannot be listed.
    UnreadableFolder,
    /// The link leads nowhere.
    BrokenLink,
    /// A named pipe, a socket or a device.
    Special,
}

/// Files and folders that were skipped, counted by kind, with the first few names of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    by_kind: BTreeMap<PassedOverKind, (usize, Vec<String>)>,
}

impl PassedOver {
    pub(crate) fn record(&mut self, kind: PassedOverKind, path: &Path) {
        let (count, names) = self.by_kind.entry(kind).or_default();
        *count += 1;
        if names.len() < EXAMPLES {
            names.push(path_text(path).into_owned());
        }
    }

    /// Adds the entries of another listing.
    pub fn extend(&mut self, other: Self) {
        for (kind, (count, names)) in other.by_kind {
            let (total, examples) = self.by_kind.entry(kind).or_default();
            *total += count;
            let room = EXAMPLES - examples.len();
            examples.extend(names.into_iter().take(room));
        }
    }

    /// Counts the skipped entries of a kind.
    pub fn count(&self, kind: PassedOverKind) -> usize {
        self.by_kind.get(&kind).map_or(0, |(count, _)| *count)
    }

    /// Counts all skipped entries.
    pub fn total(&self) -> usize {
        self.by_kind.values().map(|(count, _)| count).sum()
    }
}

impl fmt::Display for PassedOverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoImage => "no JPEG, PNG or DICOM file",
            Self::NoPixels => "DICOM object without an image",
            Self::Hidden => "hidden, by a name that begins with a dot",
            Self::SameName => "image of a name that another has",
            Self::UnreadableFile => "cannot be opened",
            Self::UnreadableFolder => "folder that cannot be listed",
            Self::BrokenLink => "link that leads nowhere",
            Self::Special => "named pipe, socket or device",
        })
    }
}

/// A line for each kind, with its first names.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_kind.is_empty() {
            return f.write_str("passed over nothing");
        }
        f.write_str("passed over")?;
        for (kind, (count, names)) in &self.by_kind {
            write!(f, "\n  {kind}: {count} ({}", names.join(", "))?;
            if *count > names.len() {
                write!(f, " and {} more", count - names.len())?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_shown_with_their_first_names() {
        let mut all = PassedOver::default();
        assert_eq!(all.to_string(), "passed over nothing");
        all.record(PassedOverKind::Special, Path::new("pipe"));
        let mut others = PassedOver::default();
        for number in 1..=7 {
            let name = format!("{number}.txt");
            others.record(PassedOverKind::NoImage, Path::new(&name));
        }
        all.extend(others);
        assert_eq!((all.count(PassedOverKind::NoImage), all.total()), (7, 8));
        let expected = "passed over\
             \n  no JPEG, PNG or DICOM file: 7 (1.txt, 2.txt, 3.txt, 4.txt, 5.txt and 2 more)\
             \n  named pipe, socket or device: 1 (pipe)";
        assert_eq!(all.to_string(), expected);
    }
}
