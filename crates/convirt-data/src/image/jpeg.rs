//! What the readers of JPEG share: its codes, and whether they hold all of the image.

pub(crate) mod bits;
pub(crate) mod huffman;
mod whole;
pub(crate) mod reduced;

pub(crate) use whole::{Colours, colours, is_whole, reaches_end_of_image};
