//! Writes any `serde` type as YAML.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Returns `value` as YAML with one key per line.
///
/// `value` is a struct of numbers, strings, lists and further structs. Strings are quoted and
/// floating-point numbers have a decimal point, so that YAML 1.1 and YAML 1.2 interpret the text in
/// the same way.
///
/// # Errors
///
/// An error of `value`'s own serialization, for example for a path that is not Unicode.
pub(crate) fn to_yaml<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Yaml::default()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}

/// Formats JSON with the layout of YAML. The scalars and lists of JSON are valid YAML.
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

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.in_key = true;
        let indent = 2 * (self.depth - 1);
        if first && indent == 0 {
            return Ok(());
        }
        write!(writer, "\n{:indent$}", "")
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            return Ok(());
        }
        writer.write_all(b", ")
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.in_key {
            return Ok(());
        }
        writer.write_all(b"\"")
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin_string(writer)
    }

    /// Writes a decimal point into every number: YAML 1.1 interprets `1e-6` as a string.
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let text = format!("{value:?}");
        match text.split_once('e') {
            Some((digits, exponent)) => {
                let point = if digits.contains('.') { "" } else { ".0" };
                let sign = if exponent.starts_with('-') { "" } else { "+" };
                write!(writer, "{digits}{point}e{sign}{exponent}")
            }
            None => writer.write_all(text.as_bytes()),
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
    fn sections_are_indented_and_scalars_are_unambiguous() {
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
