//! The subcommands, in the order of a user's work.

pub mod config;
pub mod init;
pub mod prepare;
pub mod doctor;
pub mod train;
pub mod resume;
pub mod runs;
pub mod report;
pub mod embed;
pub mod index;
pub mod retrieve;
pub mod zero_shot;
pub mod transfer;
pub mod inspect;
pub mod export;
pub mod completions;
