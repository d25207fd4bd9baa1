//! The program `convirt`: one subcommand for each step of the work, on the library of that name.

mod arguments;
mod command_line;
mod commands;
mod program;

use std::process::ExitCode;

use clap::Parser;
use command_line::CommandLine;

fn main() -> ExitCode {
    CommandLine::parse().run()
}
