//! Parses text into a tree of nodes with line numbers.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::config::{ConfigError, Location, Place};

/// Maximum length of a text, in bytes; a configuration has a few thousand.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Maximum depth of nesting; a configuration has three levels.
const MAX_DEPTH: usize = 16;
/// Maximum number of keys, values and list items in total.
const MAX_NODES: usize = 10_000;

/// A value and its place, which is the line of its key, or its own line if it has no key.
#[derive(Clone, Debug)]
pub(super) struct Node {
    place: Place,
    value: Value,
}

/// The value of a [`Node`].
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text without its quotes; `plain` says that there were no quotes.
    Scalar { text: String, plain: bool },
    /// A list: `[a, b]`, or lines that start with a dash.
    List(Vec<Node>),
    /// Keys and values in the order of the text.
    Section(Vec<(String, Node)>),
}

impl Node {
    pub fn new(place: Place, value: Value) -> Self {
        Self { place, value }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns whether the command line sets this value or one in it.
    pub fn is_overridden(&self) -> bool {
        let in_section = match &self.value {
            Value::Section(entries) => entries.iter().any(|(_, node)| node.is_overridden()),
            _ => false,
        };
        in_section || matches!(self.place, Place::Override { .. })
    }

    /// Returns the value of `key`, or `None` if this is not a section with this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Section(entries) => {
                let entry = entries.iter().find(|(name, _)| name == key);
                entry.map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// Returns the value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Section(entries) => {
                let entry = entries.iter_mut().find(|(name, _)| name == key);
                entry.map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// Returns the mutable entries of a section. Null becomes an empty section first.
    ///
    /// The result is `None` for any other value.
    pub fn section_mut(&mut self) -> Option<&mut Vec<(String, Node)>> {
        if self.is_null() {
            self.value = Value::Section(Vec::new());
        }
        match &mut self.value {
            Value::Section(entries) => Some(entries),
            _ => None,
        }
    }

    /// Removes the entries of a section for which `keep` returns false.
    pub fn retain(&mut self, keep: impl Fn(&str, &Node) -> bool) {
        if let Value::Section(entries) = &mut self.value {
            entries.retain(|(key, node)| keep(key, node));
        }
    }

    /// Returns whether this is YAML's null.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Returns whether this is YAML's null or Python's `None`.
    pub fn is_nothing(&self) -> bool {
        let none = |text: &str| matches!(text, "None" | "none");
        self.is_null() || matches!(&self.value, Value::Scalar { text, plain: true } if none(text))
    }
}

/// Parses `text`, which must be a single document. `place_of` returns the place of a line.
pub(super) fn parse(text: &str, place_of: &dyn Fn(usize) -> Place) -> Result<Node, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        place_of,
        open: Vec::new(),
        nodes: 0,
        root: None,
    };
    if text.len() > MAX_BYTES {
        return Err(builder.refuse(1, format!("longer than {MAX_BYTES} bytes")));
    }
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_error(&builder, text, &error))?;
        builder.handle(event, span.start.line())?;
    }
    let null = || {
        let value = Value::Section(Vec::new());
        Node::new(place_of(1), value)
    };
    Ok(builder.root.unwrap_or_else(null))
}

/// Converts an error of the parser; most tabs get a message of their own.
fn scan_error(builder: &Builder<'_>, text: &str, error: &ScanError) -> ConfigError {
    let line = error.marker().line();
    let indented_by_tab = |line: &str| {
        let content = line.trim_start();
        line[..line.len() - content.len()].contains('\t')
    };
    // For some tabs, the scanner reports the previous or the next line. It rarely says that a tab is
    // the problem.
    let lines = text
        .lines()
        .enumerate()
        .skip(line.saturating_sub(2))
        .take(3);
    for (index, content) in lines {
        if indented_by_tab(content) || (index + 1 == line && content.contains('\t')) {
            return builder.refuse(index + 1, "not YAML: a tab; use spaces");
        }
    }
    builder.refuse(line, format!("not YAML: {}", error.info()))
}

/// Builds the tree from the parser's events without recursion, and limits its depth.
struct Builder<'a> {
    place_of: &'a dyn Fn(usize) -> Place,
    /// Lists and sections that are not closed yet, from the outermost to the innermost.
    open: Vec<Open>,
    /// Number of keys, values and list items so far.
    nodes: usize,
    root: Option<Node>,
}

/// A list or section that is not closed yet.
enum Open {
    List {
        place: Place,
        items: Vec<Node>,
    },
    Section {
        place: Place,
        entries: Vec<(String, Node)>,
        /// The key of the next value, and its line.
        key: Option<(String, usize)>,
    },
}

impl Builder<'_> {
    /// Adds an event of the parser to the tree.
    fn handle(&mut self, event: Event<'_>, line: usize) -> Result<(), ConfigError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.refuse(line, "a second document; one is allowed"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(_) => Err(self.refuse(line, ALIAS)),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                Err(self.refuse(line, ALIAS))
            }
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag)) => {
                Err(self.refuse(line, format!("a tag, `{}`; leave it out", tag.suffix)))
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, line),
            Event::SequenceStart(..) => {
                let place = self.place_of_value(line)?;
                let items = Vec::new();
                self.enter(line, Open::List { place, items })
            }
            Event::MappingStart(..) => {
                let place = self.place_of_value(line)?;
                let entries = Vec::new();
                let key = None;
                self.enter(
                    line,
                    Open::Section {
                        place,
                        entries,
                        key,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    Some(Open::List { place, items }) => Node::new(place, Value::List(items)),
                    Some(Open::Section { place, entries, .. }) => {
                        Node::new(place, Value::Section(entries))
                    }
                    None => return Err(self.refuse(line, "not YAML: an end without a start")),
                };
                self.close(node);
                Ok(())
            }
        }
    }

    /// Adds a scalar, which is a key or a value.
    fn scalar(&mut self, text: &str, style: ScalarStyle, line: usize) -> Result<(), ConfigError> {
        self.count(line)?;
        let path = self.path();
        if let Some(Open::Section { entries, key, .. }) = self.open.last_mut()
            && key.is_none()
        {
            if let Some((_, first)) = entries.iter().find(|(name, _)| name == text) {
                return Err(ConfigError::DuplicateKey {
                    at: Location {
                        place: (self.place_of)(line),
                        key: join(&path, text),
                    },
                    first: first.place.clone(),
                });
            }
            *key = Some((text.to_string(), line));
            return Ok(());
        }
        let place = self.place_of_value(line)?;
        let text = text.to_string();
        let plain = style == ScalarStyle::Plain;
        self.close(Node::new(place, Value::Scalar { text, plain }));
        Ok(())
    }

    /// Returns the place of a value that starts in `line`: the place of its key, if it has one.
    fn place_of_value(&self, line: usize) -> Result<Place, ConfigError> {
        match self.open.last() {
            Some(Open::Section {
                key: Some((_, line)),
                ..
            }) => Ok((self.place_of)(*line)),
            Some(Open::Section { key: None, .. }) => {
                Err(self.refuse(line, "a list or section as a key; keys are words"))
            }
            _ => Ok((self.place_of)(line)),
        }
    }

    /// Opens a list or section.
    fn enter(&mut self, line: usize, open: Open) -> Result<(), ConfigError> {
        self.count(line)?;
        if self.open.len() == MAX_DEPTH {
            return Err(self.refuse(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    /// Adds a complete node to the innermost open list or section.
    fn close(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Section { entries, key, .. }) => {
                if let Some((key, _)) = key.take() {
                    entries.push((key, node));
                }
            }
            None => self.root = Some(node),
        }
    }

    /// Counts a key, value or list item.
    fn count(&mut self, line: usize) -> Result<(), ConfigError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.refuse(line, format!("more than {MAX_NODES} keys and values")));
        }
        Ok(())
    }

    /// Returns the keys of the open sections, joined by dots.
    fn path(&self) -> String {
        let keys = self.open.iter().filter_map(|open| match open {
            Open::Section {
                key: Some((key, _)),
                ..
            } => Some(key.as_str()),
            _ => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }

    fn refuse(&self, line: usize, problem: impl Into<String>) -> ConfigError {
        ConfigError::Syntax {
            at: Location {
                place: (self.place_of)(line),
                key: String::new(),
            },
            problem: problem.into(),
        }
    }
}

const ALIAS: &str = "an anchor (&) or alias (*); write the value out, or quote it if it is text";

/// Returns the full key of `key` inside the section `section`.
pub(super) fn join(section: &str, key: &str) -> String {
    match section {
        "" => key.to_string(),
        section => format!("{section}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let place_of = |line| Place::Text {
            source: "a.yaml".into(),
            line: Some(line),
        };
        let error = parse(text, &place_of).expect_err("refuses");
        error.to_string()
    }

    #[test]
    fn unsupported_yaml_is_rejected() {
        for (text, message) in [
            (
                "a: 1\nb: 2\na: 3",
                "a.yaml:3: a: given twice, first at a.yaml:1",
            ),
            (
                "a:\n  b: 1\n  b: 2",
                "a.yaml:3: a.b: given twice, first at a.yaml:2",
            ),
            ("a: &x 1", &format!("a.yaml:1: {ALIAS}")),
            ("a: !!float 1", "a.yaml:1: a tag, `float`; leave it out"),
            (
                "a: 1\n---\na: 2",
                "a.yaml:2: a second document; one is allowed",
            ),
            (
                "a: 1\n? [b]\n: 2",
                "a.yaml:2: a list or section as a key; keys are words",
            ),
            ("a:\n\tb: 1", "a.yaml:2: not YAML: a tab; use spaces"),
            ("a:\t1", "a.yaml:1: not YAML: a tab; use spaces"),
            (
                "a:\n  b: 1\n\tc: 1",
                "a.yaml:3: not YAML: a tab; use spaces",
            ),
        ] {
            assert_eq!(refusal(text), message);
        }
        for (text, beginning) in [
            ("a: *x", "a.yaml:1: not YAML: "),
            ("a: [1, 2", "a.yaml:2: not YAML: "),
            ("a: 1\n b: 2", "a.yaml:2: not YAML: "),
            ("a: 'open", "a.yaml:1: not YAML: "),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(beginning), "{error}");
        }
    }

    #[test]
    fn size_depth_and_number_of_nodes_are_limited() {
        let deep = format!("a: {}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(refusal(&deep), "a.yaml:1: nested deeper than 16 levels");
        let wide = format!("a: [{}]", "1,".repeat(MAX_NODES));
        assert_eq!(refusal(&wide), "a.yaml:1: more than 10000 keys and values");
        let long = format!("a: 1 #{}", "x".repeat(MAX_BYTES));
        assert_eq!(refusal(&long), "a.yaml:1: longer than 1048576 bytes");
    }

    #[test]
    fn values_have_the_line_of_their_key() {
        let place_of = |line| Place::Text {
            source: "a.yaml".into(),
            line: Some(line),
        };
        let text = "\u{feff}# first\r\nsection:\r\n\r\n  key:\r\n    value\r\n  list:\r\n  - 1\r\n";
        let root = parse(text, &place_of).expect("parses");
        let section = root.get("section").expect("is there");
        assert_eq!(*section.place(), place_of(2));
        assert_eq!(*section.get("key").expect("is there").place(), place_of(4));
        let list = section.get("list").expect("is there");
        assert_eq!(*list.place(), place_of(6));
        let Value::List(items) = list.value() else {
            panic!("not a list");
        };
        assert_eq!(*items[0].place(), place_of(7));
    }
}
