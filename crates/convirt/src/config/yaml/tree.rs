//! Text to a tree of nodes that know their lines.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::config::{ConfigError, Location, Place};

/// Longest text that is read, in bytes; a configuration has a few thousand.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting; a configuration has three levels.
const MAX_DEPTH: usize = 16;
/// Most keys, values and list items.
const MAX_NODES: usize = 10_000;

/// A value and where it stands: the line of its key, or its own where it has none.
#[derive(Clone, Debug)]
pub(super) struct Node {
    place: Place,
    value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text as written, without quotes; `plain` when there were none.
    Scalar { text: String, plain: bool },
    /// `[a, b]` or lines that start with a dash.
    List(Vec<Node>),
    /// Keys and values, in order.
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

    /// The value of `key`, if this is a section that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Section(entries) => {
                let entry = entries.iter().find(|(name, _)| name == key);
                entry.map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// The entries, for changes; `None` where this is neither a section nor null.
    pub fn section_mut(&mut self) -> Option<&mut Vec<(String, Node)>> {
        if self.is_null() {
            self.value = Value::Section(Vec::new());
        }
        match &mut self.value {
            Value::Section(entries) => Some(entries),
            _ => None,
        }
    }

    /// Keeps the entries of a section for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(&str, &Node) -> bool) {
        if let Value::Section(entries) = &mut self.value {
            entries.retain(|(key, node)| keep(key, node));
        }
    }

    /// Whether this is YAML's null.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Whether this is null, or Python's word for it.
    pub fn is_nothing(&self) -> bool {
        let none = |text: &str| matches!(text, "None" | "none");
        self.is_null() || matches!(&self.value, Value::Scalar { text, plain: true } if none(text))
    }
}

/// Parses `text`, one document; `place_of` tells where a line is.
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
        builder.take(event, span.start.line())?;
    }
    let null = || {
        let value = Value::Section(Vec::new());
        Node::new(place_of(1), value)
    };
    Ok(builder.root.unwrap_or_else(null))
}

fn scan_error(builder: &Builder<'_>, text: &str, error: &ScanError) -> ConfigError {
    let line = error.marker().line();
    let indented_by_tab = |line: &str| {
        let content = line.trim_start();
        line[..line.len() - content.len()].contains('\t')
    };
    // The scanner stumbles over some tabs in the line before or after, and calls few by their name.
    let lines = text
        .lines()
        .enumerate()
        .skip(line.saturating_sub(2))
        .take(3);
    for (index, written) in lines {
        if indented_by_tab(written) || (index + 1 == line && written.contains('\t')) {
            return builder.refuse(index + 1, "not YAML: a tab; use spaces");
        }
    }
    builder.refuse(line, format!("not YAML: {}", error.info()))
}

/// Builds the tree from the parser's events; not recursive, so that depth is bounded here.
struct Builder<'a> {
    place_of: &'a dyn Fn(usize) -> Place,
    open: Vec<Open>,
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
        /// The key whose value comes next, and its line.
        key: Option<(String, usize)>,
    },
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), ConfigError> {
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

    /// Where the value is that begins in `line`.
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

    fn enter(&mut self, line: usize, open: Open) -> Result<(), ConfigError> {
        self.count(line)?;
        if self.open.len() == MAX_DEPTH {
            return Err(self.refuse(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(open);
        Ok(())
    }

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

    fn count(&mut self, line: usize) -> Result<(), ConfigError> {
        self.nodes += 1;
        match self.nodes > MAX_NODES {
            true => Err(self.refuse(line, format!("more than {MAX_NODES} keys and values"))),
            false => Ok(()),
        }
    }

    /// Keys of the sections that are open.
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

/// The key `key` inside the section `section`.
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
    fn what_a_configuration_has_no_need_of_is_refused() {
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
            let found = refusal(text);
            assert!(found.starts_with(beginning), "{found}");
        }
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let deep = format!("a: {}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(refusal(&deep), "a.yaml:1: nested deeper than 16 levels");
        let wide = format!("a: [{}]", "1,".repeat(MAX_NODES));
        assert_eq!(refusal(&wide), "a.yaml:1: more than 10000 keys and values");
        let long = format!("a: 1 #{}", "x".repeat(MAX_BYTES));
        assert_eq!(refusal(&long), "a.yaml:1: longer than 1048576 bytes");
    }

    #[test]
    fn values_stand_in_the_line_of_their_key() {
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
