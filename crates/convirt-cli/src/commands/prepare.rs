//! `convirt prepare`: pairs of a public data set.

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

/// Returns the views as the library wants them: none where `all` is among them.
fn asked_views(views: Vec<String>) -> Vec<String> {
    if views.iter().any(|view| view.eq_ignore_ascii_case("all")) {
        Vec::new()
    } else {
        views
    }
}
