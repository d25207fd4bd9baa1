//! `convirt prepare`: converts a public data set into pairs.

mod mimic;
mod openi;
mod outcome;

use anyhow::Result;
use clap::Subcommand;

use crate::program::Ending;
use outcome::finish;

/// Make a manifest of pairs, with small images, from a public data set
#[derive(Subcommand)]
pub enum Source {
    Mimic(mimic::Arguments),
    #[command(name = "openi")]
    OpenI(openi::Arguments),
}

pub fn run(source: Source) -> Result<Ending> {
    match source {
        Source::Mimic(arguments) => mimic::run(arguments),
        Source::OpenI(arguments) => openi::run(arguments),
    }
}

/// Returns the views to select; an empty list, if `all` is among them, selects every view.
fn view_filter(views: Vec<String>) -> Vec<String> {
    if views.iter().any(|view| view.eq_ignore_ascii_case("all")) {
        Vec::new()
    } else {
        views
    }
}
