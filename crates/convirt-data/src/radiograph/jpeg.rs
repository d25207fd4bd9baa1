//! What the readers of JPEG share: its codes, and whether they hold all of the image.

pub(super) mod bits;
pub(super) mod huffman;
mod whole;

pub(super) use whole::{Colours, colours, is_whole, reaches_end_of_image};
