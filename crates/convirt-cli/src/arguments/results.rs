//! The option `--json`, and the printing of results.

use std::fmt::Display;

use anyhow::{Context, Result};
use clap::Args;
use convirt::data::printable;
use log::{Level, info, log_enabled};
use serde::Serialize;

use crate::program::{print, print_exactly, reserve_standard_output};

#[derive(Args)]
pub struct ResultsArguments {
    /// Print the results as one JSON document; everything else goes to standard error
    #[arg(long)]
    json: bool,
}

/// A printer of a command's results, as text or as JSON.
#[derive(Clone, Copy)]
pub struct Results {
    json: bool,
}

impl ResultsArguments {
    /// Reserves standard output for the results if they are JSON; call it before any output.
    pub fn begin(&self) -> Results {
        if self.json {
            reserve_standard_output();
        }
        Results { json: self.json }
    }
}

impl Results {
    /// Returns whether standard output is reserved for one JSON document.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints text that is not part of the results; it is logged if the results are JSON.
    pub fn announce(self, text: impl Display) {
        if self.json {
            info!("{text}");
        } else if log_enabled!(Level::Info) {
            print(text);
        }
    }

    /// Prints the result.
    pub fn print(self, result: &(impl Display + Serialize)) -> Result<()> {
        self.print_as(result, result)
    }

    /// Prints the result as `text`, or as the JSON `document`.
    pub fn print_as(self, text: impl Display, document: impl Serialize) -> Result<()> {
        if self.json {
            let document = serde_json::to_string_pretty(&document);
            let document = document.context("the results cannot be written as JSON")?;
            print_exactly(&escaped(&document));
        } else {
            print(text);
        }
        Ok(())
    }
}

/// Replaces characters that control a terminal by JSON escapes. They occur only in strings, where
/// an escape has the same meaning.
fn escaped(document: &str) -> String {
    let mut text = String::new();
    for c in document.chars() {
        if c.is_ascii() || printable(c).to_string().starts_with(c) {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text += &format!("\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_parse_to_the_same_string() {
        let name = "Süd \u{202e}gnp.exe \u{9b}2J \u{e0041} \u{1b}[1m \"x\"";
        let document = escaped(&serde_json::to_string(name).unwrap());
        assert_eq!(
            document,
            r#""Süd \u202egnp.exe \u009b2J \udb40\udc41 \u001b[1m \"x\"""#
        );
        assert_eq!(serde_json::from_str::<String>(&document).unwrap(), name);
    }
}
