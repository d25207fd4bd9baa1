//! How results are printed.

use std::fmt::Display;

use anyhow::{Context, Result};
use clap::Args;
use convirt::data::printable;
use log::{Level, info, log_enabled};
use serde::Serialize;

use crate::program::{keep_standard_output_for_results, print, print_exactly};

#[derive(Args)]
pub struct ResultsArguments {
    /// Print the results as one JSON document; all else goes to standard error
    #[arg(long)]
    json: bool,
}

/// Where a command's results go.
#[derive(Clone, Copy)]
pub struct Results {
    json: bool,
}

impl ResultsArguments {
    /// Makes standard output ready for results, before anything is said.
    pub fn begin(&self) -> Results {
        if self.json {
            keep_standard_output_for_results();
        }
        Results { json: self.json }
    }
}

impl Results {
    /// Whether standard output is for one document alone.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints what is about to be done, for people.
    pub fn announce(self, text: impl Display) {
        match self.json {
            true => info!("{text}"),
            false if log_enabled!(Level::Info) => print(text),
            false => {}
        }
    }

    /// Prints the result.
    pub fn print(self, result: &(impl Display + Serialize)) -> Result<()> {
        self.print_as(result, result)
    }

    /// Prints the result, as `text` for people or as the `document`.
    pub fn print_as(self, text: impl Display, document: impl Serialize) -> Result<()> {
        if self.json {
            let document = serde_json::to_string_pretty(&document);
            let document = document.context("the results cannot be written as JSON")?;
            print_exactly(&escaped(&document));
        } else {
            print(text)
        }
        Ok(())
    }
}

/// A document without characters that act on a terminal: they stand in its strings alone, where an
/// escape means the same.
fn escaped(document: &str) -> String {
    let mut text = String::new();
    for c in document.chars() {
        if c.is_ascii() || printable(c).to_string().starts_with(c) {
            text.push(c)
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
    fn what_acts_on_a_terminal_is_escaped_and_reads_back_the_same() {
        let name = "Süd \u{202e}gnp.exe \u{9b}2J \u{e0041} \u{1b}[1m \"x\"";
        let document = escaped(&serde_json::to_string(name).unwrap());
        assert_eq!(
            document,
            r#""Süd \u202egnp.exe \u009b2J \udb40\udc41 \u001b[1m \"x\"""#
        );
        assert_eq!(serde_json::from_str::<String>(&document).unwrap(), name);
    }
}
