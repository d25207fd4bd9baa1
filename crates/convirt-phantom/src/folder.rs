//! The folder of a phantom: it appears only when complete, and a marker file identifies it.

mod draft;
pub(crate) mod marker;

pub(crate) use draft::Draft;
pub(crate) use marker::Marker;
