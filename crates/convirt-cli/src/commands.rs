//! The subcommands, in the order of a user's work.

pub mod completions;
pub mod config;
pub mod doctor;
pub mod embed;
pub mod export;
pub mod index;
pub mod inspect;
pub mod prepare;
pub mod report;
pub mod resume;
pub mod retrieve;
pub mod train;
pub mod transfer;
pub mod zero_shot;
