//! The folder of a phantom: complete or not there, and recognized.

mod draft;
pub(crate) mod marker;

pub(crate) use draft::Draft;
pub(crate) use marker::Marker;
