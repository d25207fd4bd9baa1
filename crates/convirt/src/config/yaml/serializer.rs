//! From any `serde` type to YAML.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Writes `value`, a struct of numbers, strings, lists and further structs, a key a line.
///
/// YAML 1.1 and 1.2 read the same in it: strings are quoted and numbers have a point.
///
/// # Errors
///
/// What `value` itself refuses to write, such as a path that is not Unicode.
pub(crate) fn to_yaml<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Yaml::default()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}

/// JSON's values in YAML's layout. JSON is YAML, but for what it looks like.
#[derive(Default)]
struct Yaml {
    depth: usize,
    in_key: bool,
}

impl Formatter for Yaml {
    fn begin_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.depth += 1;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.depth -= 1;
        Ok(())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.in_key = true;
        let indent = 2 * (self.depth - 1);
        match first && indent == 0 {
            true => Ok(()),
            false => write!(to, "\n{:indent$}", ""),
        }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        match first {
            true => Ok(()),
            false => to.write_all(b", "),
        }
    }

    fn begin_string<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        match self.in_key {
            true => Ok(()),
            false => to.write_all(b"\""),
        }
    }

    fn end_string<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.begin_string(to)
    }

    /// YAML 1.1 knows `1.0e-6`, but takes `1e-6` for a string.
    fn write_f64<W: ?Sized + Write>(&mut self, to: &mut W, value: f64) -> io::Result<()> {
        let text = format!("{value:?}");
        match text.split_once('e') {
            Some((digits, exponent)) => {
                let point = if digits.contains('.') { "" } else { ".0" };
                let sign = if exponent.starts_with('-') { "" } else { "+" };
                write!(to, "{digits}{point}e{sign}{exponent}")
            }
            None => to.write_all(text.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Outer {
        small: f64,
        large: f64,
        one: f64,
        text: &'static str,
        nothing: Option<u8>,
        inner: Inner,
        last: bool,
    }

    #[derive(Serialize)]
    struct Inner {
        list: Vec<usize>,
        empty: [f64; 0],
        deeper: Deeper,
    }

    #[derive(Serialize)]
    struct Deeper {
        count: i64,
    }

    #[test]
    fn sections_are_indented_and_what_looks_ambiguous_is_not() {
        let value = Outer {
            small: 1e-6,
            large: 1.5e20,
            one: 1.0,
            text: "no: \"way\"\n",
            nothing: None,
            inner: Inner {
                list: vec![0, 1],
                empty: [],
                deeper: Deeper { count: -3 },
            },
            last: true,
        };
        let expected = r#"small: 1.0e-6
large: 1.5e+20
one: 1.0
text: "no: \"way\"\n"
nothing: null
inner:
  list: [0, 1]
  empty: []
  deeper:
    count: -3
last: true
"#;
        assert_eq!(to_yaml(&value).expect("writes"), expected);
    }
}
