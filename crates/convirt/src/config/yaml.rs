//! Reads and writes YAML.
//!
//! Text is parsed into a tree with line numbers, and the tree is converted to any `serde` type. Any
//! `serde` type can be written as text.
//!
//! The requested type decides how a scalar is interpreted, so that values of YAML 1.1 and YAML 1.2
//! both work. For a number, `1e-4` is accepted with or without quotes. For a boolean, `True` and
//! `yes` are accepted. For a string, every scalar is text. The parser is the crate `saphyr-parser`;
//! this module adds the line and the key to every error.
//!
//! `serde-saphyr` 2.2 was tried as a replacement:
//!
//! - Its errors have lines, and keys with `serde_path_to_error`. But they do not name the value
//!   (`invalid u64`), and the line is wrong for a list of the wrong length.
//! - It rejects `(224, 224, 3)`, `None` and an empty section. Preprocessing cannot solve this,
//!   because only the type decides whether `None` is text.
//! - It accepts anchors, tags and infinite numbers.
//! - It has no tree. Most of the code here would still be needed for `--set` and for the line of a
//!   key that contradicts another key.
//! - It adds nine crates instead of one.

mod tree;
mod read_error;
mod overrides;
mod deserializer;
mod serializer;

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{ConfigError, Location, Place};
use deserializer::NodeDeserializer;
use read_error::Problem;
use tree::Node;

pub use overrides::overridden;
pub(crate) use serializer::to_yaml;
pub(crate) use tree::MAX_BYTES;

/// A parsed configuration that is not converted to a type yet.
#[derive(Debug)]
pub(crate) struct Document {
    source: Arc<str>,
    root: Node,
}

impl Document {
    /// Parses `text` and applies the `overrides`, each of the form `a.b=value`.
    ///
    /// Errors use `source` as the name of the text.
    pub fn parse(source: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let source: Arc<str> = source.into();
        let place_of = |line| Place::Text {
            source: source.clone(),
            line: Some(line),
        };
        let mut root = tree::parse(text, &place_of)?;
        for argument in overrides {
            overrides::apply(&mut root, argument)?;
        }
        Ok(Self { source, root })
    }

    /// Converts the document to a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let root = NodeDeserializer::root(&self.root);
        root.read(PhantomData::<T>).map_err(|error| {
            let at = error.at.unwrap_or_else(|| self.locate(""));
            match error.problem {
                Problem::UnknownKey { key, known } => ConfigError::UnknownKey {
                    at,
                    nearest: nearest(&key, known).map(str::to_string),
                    known: known.iter().map(ToString::to_string).collect(),
                },
                Problem::Unexpected { expected, found } => ConfigError::Unexpected {
                    at,
                    expected,
                    found,
                },
                Problem::Other(problem) => ConfigError::Contradiction { at, problem },
            }
        })
    }

    /// Returns the location of `key`, or of its innermost existing section if the key is missing.
    pub fn locate(&self, key: &str) -> Location {
        let mut innermost = None;
        for part in key.split('.') {
            match innermost.unwrap_or(&self.root).get(part) {
                Some(node) => innermost = Some(node),
                None => break,
            }
        }
        let whole_text = || Place::Text {
            source: self.source.clone(),
            line: None,
        };
        Location {
            place: innermost.map_or_else(whole_text, |node| node.place().clone()),
            key: key.to_string(),
        }
    }

    /// Removes the keys `others` of the same section of the text if the command line sets `key`.
    /// Keys that the command line also sets, or a key below them, are kept.
    pub fn prefer_override(&mut self, section: Option<&str>, key: &str, others: &[&str]) {
        let node = match section {
            None => Some(&mut self.root),
            Some(name) => self.root.get_mut(name),
        };
        let Some(node) = node else { return };
        if node.get(key).is_some_and(Node::is_overridden) {
            node.retain(|name, node| !others.contains(&name) || node.is_overridden());
        }
    }
}

/// Returns the known key that `key` most likely misspells, or `None` if none is similar.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let key = key.to_lowercase().replace(['-', ' '], "_");
    known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&key, known), *known))
        .filter(|(similarity, _)| *similarity >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Top {
        count: usize,
        rate: f64,
        text: String,
        flag: bool,
        choice: Option<Choice>,
        list: Vec<usize>,
        pair: [f64; 2],
        inner: Inner,
        extra: Option<Inner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        small: u8,
        column: Option<Column>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        First,
        SecondOne,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged, expecting = "a position or a name")]
    enum Column {
        Position(usize),
        Name(String),
    }

    fn read(text: &str) -> Top {
        match Document::parse("a.yaml", text, &[]).and_then(|document| document.read()) {
            Ok(top) => top,
            Err(error) => panic!("{text:?}: {error}"),
        }
    }

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
        Document::parse("a.yaml", text, &overrides)
            .and_then(|document| document.read::<Top>())
            .expect_err(text)
            .to_string()
    }

    fn read_with(text: &str, overrides: &[&str]) -> Top {
        let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
        let document = Document::parse("a.yaml", text, &overrides).unwrap();
        document.read().unwrap()
    }

    #[test]
    fn the_type_decides_how_a_scalar_is_interpreted() {
        for text in ["1e-4", "'1e-4'", "\"1e-4\"", "0.0001", "1.0E-4", "+1e-4"] {
            assert_eq!(read(&format!("rate: {text}")).rate, 1e-4, "{text}");
        }
        for text in ["5000", "'5000'", "5_000", "+5000"] {
            assert_eq!(read(&format!("count: {text}")).count, 5000, "{text}");
        }
        for text in ["True", "true", "TRUE", "yes", "On", "'True'"] {
            assert!(read(&format!("flag: {text}")).flag, "{text}");
        }
        for text in ["12", "1e-4", "True", "no", "None", "(a, b)"] {
            assert_eq!(read(&format!("text: {text}")).text, text);
        }
    }

    #[test]
    fn null_is_read_as_absent_or_empty() {
        for text in ["", "~", "null", "Null", "None", "none # yet"] {
            assert_eq!(read(&format!("choice: {text}")).choice, None, "{text}");
            assert_eq!(read(&format!("list: {text}")).list, [0; 0], "{text}");
        }
        assert_eq!(read("inner:\n  # small: 1\n"), Top::default());
        assert_eq!(read("# only this\n"), Top::default());
        assert_eq!(read(""), Top::default());
        assert_eq!(read("extra: {}").extra, Some(Inner::default()));
        assert_eq!(read("extra:").extra, None);
    }

    #[test]
    fn lists_can_be_written_in_all_common_ways() {
        for text in ["[1, 2, 3]", "(1,2,3)", "'(1, 2, 3,)'", "\n- 1\n- 2\n- '3'"] {
            assert_eq!(read(&format!("list: {text}")).list, [1, 2, 3], "{text}");
        }
        assert_eq!(read("pair: [0.5, 1]").pair, [0.5, 1.0]);
        assert_eq!(read("list: ()").list, [0; 0]);
    }

    #[test]
    fn values_of_untagged_types_are_interpreted_by_their_form() {
        let column = |text: &str| read(&format!("inner: {{column: {text}}}")).inner.column;
        assert_eq!(column("0"), Some(Column::Position(0)));
        for name in ["image", "no", "1st"] {
            assert_eq!(column(name), Some(Column::Name(name.to_string())));
        }
        assert_eq!(column("'0'"), Some(Column::Name("0".to_string())));
        assert_eq!(column("null"), None);
    }

    #[test]
    fn errors_for_wrong_types_name_the_line_and_the_key() {
        for (text, message) in [
            (
                "flag: yes\ncount: many",
                "a.yaml:2: count: expected a whole number from 0, found \"many\"",
            ),
            (
                "count: -1",
                "a.yaml:1: count: expected a whole number from 0, found \"-1\"",
            ),
            (
                "count: 1.5",
                "a.yaml:1: count: expected a whole number from 0, found \"1.5\"",
            ),
            (
                "rate: .inf",
                "a.yaml:1: rate: expected a number, found \".inf\"",
            ),
            (
                "rate: nan",
                "a.yaml:1: rate: expected a number, found \"nan\"",
            ),
            ("rate:", "a.yaml:1: rate: expected a number, found nothing"),
            ("text: ~", "a.yaml:1: text: expected text, found nothing"),
            (
                "flag: 1",
                "a.yaml:1: flag: expected True or False, found \"1\"",
            ),
            (
                "count: [1]",
                "a.yaml:1: count: expected a whole number from 0, found a list",
            ),
            (
                "inner: 3",
                "a.yaml:1: inner: expected a section of keys, found \"3\"",
            ),
            (
                "list: 3",
                "a.yaml:1: list: expected a list such as [0, 1], found \"3\"",
            ),
            (
                "list:\n- 1\n- x",
                "a.yaml:3: list[1]: expected a whole number from 0, found \"x\"",
            ),
            (
                "pair: [1]",
                "a.yaml:1: pair: expected a list of 2, found a list of 1",
            ),
            (
                "pair: [1, 2, 3]",
                "a.yaml:1: pair: expected a list of 2, found a list of 3",
            ),
            (
                "inner:\n  small: 256",
                "a.yaml:2: inner.small: expected a whole number from 0 to 255, found \"256\"",
            ),
            (
                "choice: frist",
                "a.yaml:1: choice: expected first or second_one, found \"frist\"",
            ),
            (
                "choice: [first]",
                "a.yaml:1: choice: expected first or second_one, found a list",
            ),
            (
                "inner: {column: true}",
                "a.yaml:1: inner.column: a position or a name",
            ),
            ("- 1", "a.yaml:1: expected a section of keys, found a list"),
            (
                "hello",
                "a.yaml:1: expected a section of keys, found \"hello\"",
            ),
        ] {
            assert_eq!(error(text, &[]), message);
        }
    }

    #[test]
    fn errors_for_unknown_keys_suggest_a_key_or_list_all() {
        assert_eq!(
            error("\ninner:\n  smal: 1", &[]),
            "a.yaml:3: inner.smal: unknown key; did you mean `small`?"
        );
        assert_eq!(
            error("Count: 1", &[]),
            "a.yaml:1: Count: unknown key; did you mean `count`?"
        );
        assert_eq!(
            error("inner: {x: 1}", &[]),
            "a.yaml:1: inner.x: unknown key; known here: small, column"
        );
    }

    #[test]
    fn overrides_change_and_add_keys_and_the_last_one_wins() {
        let text = "count: 1\ninner:\n  small: 2\nextra:";
        let top = read_with(
            text,
            &[
                "count=7",
                "count=8",
                "inner.small=9",
                "extra.column=#5 a: b",
                "list=[4, 5]",
                "text=",
                "text='x'",
            ],
        );
        assert_eq!((top.count, top.inner.small), (8, 9));
        assert_eq!(
            top.extra.unwrap().column,
            Some(Column::Name("#5 a: b".to_string()))
        );
        assert_eq!(top.list, [4, 5]);
        assert_eq!(top.text, "x");
        assert_eq!(read_with("", &["inner={small: 3}"]).inner.small, 3);
    }

    #[test]
    fn errors_in_overrides_name_the_argument() {
        for (argument, message) in [
            (
                "count=x",
                "--set count: expected a whole number from 0, found \"x\"",
            ),
            ("coumt=1", "--set coumt: unknown key; did you mean `count`?"),
            (
                "iner.small=1",
                "--set iner.small: iner: unknown key; did you mean `inner`?",
            ),
            (
                "inner={small: x}",
                "--set inner: inner.small: expected a whole number from 0, found \"x\"",
            ),
            ("count", "--set count: not of the form key=value"),
            ("=1", "--set =1: not of the form key=value"),
            (
                "inner..small=1",
                "--set inner..small=1: not of the form key=value",
            ),
            ("count.x=1", "--set count.x=1: `count` is not a section"),
            ("list=[1, 2", "--set list: not YAML: "),
        ] {
            let error = error("count: 5", &[argument]);
            assert!(
                error == message || (message.ends_with(": ") && error.starts_with(message)),
                "{error}"
            );
        }
    }

    #[test]
    fn a_key_on_the_command_line_removes_its_alternatives_from_the_text() {
        let read_rate = |overrides: &[&str]| {
            let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
            let mut document = Document::parse("a.yaml", "count: 1\nrate: 2", &overrides).unwrap();
            document.prefer_override(None, "count", &["rate"]);
            document.read::<Top>().unwrap().rate
        };
        assert_eq!(read_rate(&[]), 2.0);
        assert_eq!(read_rate(&["count=3"]), 0.0);
        assert_eq!(read_rate(&["count=3", "rate=4"]), 4.0);
    }

    #[test]
    fn keys_are_located_at_their_own_line_or_that_of_their_section() {
        let document = Document::parse("a.yaml", "count: 1\ninner:\n  small: 2", &[]).unwrap();
        let locate = |key: &str| document.locate(key).to_string();
        assert_eq!(locate("inner.small"), "a.yaml:3: inner.small");
        assert_eq!(locate("inner.column"), "a.yaml:2: inner.column");
        assert_eq!(locate("count"), "a.yaml:1: count");
        assert_eq!(locate("rate"), "a.yaml: rate");
        assert_eq!(locate("extra.small"), "a.yaml: extra.small");
    }
}
