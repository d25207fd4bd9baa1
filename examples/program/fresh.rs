//! Outputs that take nobody's place.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;

/// What becomes of an output that is there already.
#[derive(Args)]
pub struct FreshArguments {
    /// Replace what is at --out already
    #[arg(long)]
    force: bool,
}

impl FreshArguments {
    /// Checks that nothing is at the place of an output, or may be replaced: before any work is
    /// done for it.
    pub fn check(&self, out: &Path) -> Result<()> {
        let is_there = match fs::read_dir(out) {
            // An empty folder may be filled.
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => out.symlink_metadata().is_ok(),
        };
        if is_there && !self.force {
            bail!(
                "{}: is there already; choose another --out, or replace it with --force",
                out.display()
            );
        }
        Ok(())
    }
}
