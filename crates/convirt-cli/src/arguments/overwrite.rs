//! Outputs that replace nothing unless they are told to.

use std::fs;
use std::path::Path;

use clap::Args;

use crate::program::Misuse;

/// What becomes of an output that is there already.
#[derive(Args)]
pub struct OverwriteArguments {
    /// Replace what is at --out already
    #[arg(long)]
    force: bool,
}

impl OverwriteArguments {
    /// Checks that nothing is at the place of an output, or may be replaced: before any work is
    /// done for it.
    pub fn check(&self, out: &Path) -> Result<(), Misuse> {
        if self.force || is_free(out) {
            Ok(())
        } else {
            Err(Misuse(format!(
                "{}: is there already; choose another --out, or replace it with --force",
                out.display()
            )))
        }
    }
}

/// Whether there is nothing at a path, or an empty folder, which may be filled.
fn is_free(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => path.symlink_metadata().is_err(),
    }
}
