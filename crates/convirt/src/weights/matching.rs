//! Which tensor of a file belongs to which parameter of a network.

mod architecture;
mod names;
mod scope;
mod chosen_encoder;
mod parameters;

pub(crate) use chosen_encoder::ChosenEncoder;
pub(super) use names::matches;
pub(crate) use names::{Layout, Naming};
pub(super) use parameters::{Layer, Position, parameters, renamed_end};
pub(crate) use scope::Part;
pub(super) use scope::Scope;
