//! `convirt completions`: prints completions for a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::command_line::CommandLine;
use crate::program::{Ending, print_exactly};

/// Print completions for a shell
#[derive(Args)]
#[command(after_help = "Examples:
  convirt completions bash > ~/.local/share/bash-completion/completions/convirt
  convirt completions fish > ~/.config/fish/completions/convirt.fish
  convirt completions zsh > \"${fpath[1]}/_convirt\"")]
pub struct Arguments {
    /// Shell
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let mut script = Vec::new();
    let mut command = CommandLine::command();
    generate(arguments.shell, &mut command, "convirt", &mut script);
    print_exactly(String::from_utf8_lossy(&script).trim_end());
    Ok(Ending::Done)
}
