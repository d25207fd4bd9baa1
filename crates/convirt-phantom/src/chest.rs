//! What a chest shows: findings, by chance and from one study to the next.

mod side;
mod findings;
pub(crate) mod draws;
pub(crate) mod course;

pub(crate) use findings::{Access, Extent, Finding, Severity, Spot, Volume, Zone};
pub(crate) use side::Side;
