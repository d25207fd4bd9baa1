//! The option `--force`: without it, no existing output is replaced.

use std::fs;
use std::path::Path;

use clap::Args;

use crate::program::Misuse;

/// Whether an existing output is replaced.
#[derive(Args)]
pub struct OverwriteArguments {
    /// Replace an existing --out
    #[arg(long)]
    force: bool,
}

impl OverwriteArguments {
    /// Checks, before any work is done, that an output does not exist yet or may be replaced.
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

/// Returns whether there is nothing at a path, or only an empty folder.
fn is_free(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => path.symlink_metadata().is_err(),
    }
}
