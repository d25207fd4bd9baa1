//! Untrusted text, made safe to show in a terminal or on a page.

use std::fmt::{self, Display, Write};
use std::path::Path;

use super::path_text::path_text;

/// Shows untrusted text on one line, with control characters escaped as in Rust: `\u{1b}`.
///
/// Escaped are control characters, including line ends, marks and overrides of the writing
/// direction (UAX 9), and invisible characters that belong to no script. U+200C and U+200D, which
/// Persian and Indic words need, and variation selectors are kept.
///
/// ```
/// let name = convirt_data::printable("a\u{1b}[2Jb\u{202e}gnp.exe").to_string();
/// assert_eq!(name, "a\\u{1b}[2Jb\\u{202e}gnp.exe");
/// ```
pub fn printable(shown: impl Display) -> impl Display {
    Printable {
        shown,
        keeps_lines: false,
    }
}

/// Shows untrusted text as [`printable`] does, but keeps line ends and tabs.
///
/// ```
/// let text = convirt_data::printable_lines("FINDINGS:\n\tclear\u{7}").to_string();
/// assert_eq!(text, "FINDINGS:\n\tclear\\u{7}");
/// ```
pub fn printable_lines(shown: impl Display) -> impl Display {
    Printable {
        shown,
        keeps_lines: true,
    }
}

/// Shows a path with control characters escaped; the folder of a file without one is `.`.
pub(crate) fn shown(path: &Path) -> impl Display {
    let is_here = path.as_os_str().is_empty();
    printable(path_text(if is_here { Path::new(".") } else { path }))
}

struct Printable<T> {
    shown: T,
    keeps_lines: bool,
}

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keeps_lines = self.keeps_lines;
        write!(Filter { f, keeps_lines }, "{}", self.shown)
    }
}

/// Writes printable characters unchanged and the others as escapes.
struct Filter<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    keeps_lines: bool,
}

impl Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((start, c)) = self.first_unprintable(rest) {
            write!(self.f, "{}{}", &rest[..start], c.escape_default())?;
            rest = &rest[start + c.len_utf8()..];
        }
        self.f.write_str(rest)
    }
}

impl Filter<'_, '_> {
    fn first_unprintable(&self, text: &str) -> Option<(usize, char)> {
        let is_line_end = |start, c| match c {
            '\n' | '\t' => true,
            _ => text[start..].starts_with("\r\n"),
        };
        text.char_indices()
            .find(|&(start, c)| is_unprintable(c) && !(self.keeps_lines && is_line_end(start, c)))
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unprintable_is_shown_and_not_sent() {
        for (text, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
            ("\u{9b}31m and \u{7f}", "\\u{9b}31m and \\u{7f}"),
            ("\u{202e}txt.exe\u{2069}", "\\u{202e}txt.exe\\u{2069}"),
            ("\u{200f}\u{feff}a", "\\u{200f}\\u{feff}a"),
        ] {
            assert_eq!(printable(text).to_string(), shown);
        }
        let lines = printable_lines("one\r\n\ttwo\rthree\u{1b}\n").to_string();
        assert_eq!(lines, "one\r\n\ttwo\\rthree\\u{1b}\n");
    }

    #[test]
    fn a_path_is_never_shown_as_nothing() {
        let folder = Path::new("a.csv").parent().unwrap();
        assert_eq!(shown(folder).to_string(), ".");
        assert_eq!(
            shown(Path::new("data/a\tb.csv")).to_string(),
            "data/a\\tb.csv"
        );
    }

    #[test]
    fn characters_that_scripts_need_are_kept() {
        for text in [
            "نمی\u{200c}شود",
            "ශ්\u{200d}රී 👩\u{200d}⚕\u{fe0f}",
            "Œdème, 心影正常。\\ \"'",
            "e\u{301}",
        ] {
            assert_eq!(printable(text).to_string(), text);
        }
    }
}
