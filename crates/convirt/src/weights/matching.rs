//! Assigns the tensors of a file to the parameters of a network.

mod architecture;
mod names;
mod scope;
mod chosen_encoder;
mod parameters;

pub(crate) use chosen_encoder::ChosenEncoder;
pub(super) use names::matches_pattern;
pub(crate) use names::{Layout, Naming};
pub(super) use parameters::{Layer, Position, parameters, renamed_end};
pub(crate) use scope::EncoderKind;
pub(super) use scope::Scope;
