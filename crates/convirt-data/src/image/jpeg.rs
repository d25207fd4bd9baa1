//! Entropy decoding of JPEG: checks that a file is complete, and decoding at reduced size.

pub(crate) mod bits;
pub(crate) mod huffman;
mod segments;
mod complete;
pub(crate) mod reduced;

pub(crate) use complete::is_complete;
pub(crate) use segments::{Colours, colours, reaches_end_of_image};
