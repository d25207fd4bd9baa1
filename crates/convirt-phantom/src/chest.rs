//! The findings of a chest, drawn at random for the first study and changed for each next one.

mod side;
mod findings;
pub(crate) mod draws;
pub(crate) mod course;

pub(crate) use findings::{Access, Extent, Finding, Severity, Spot, Volume, Zone};
pub(crate) use side::Side;
