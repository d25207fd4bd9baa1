//! Image files: decoding, resizing, normalization and caching.

mod error;
mod limits;
mod radiograph;
mod segments;
mod plausible;
mod jpeg;
mod resize;
pub(crate) mod dicom;
mod decode;
mod header;
mod normalize;
mod thumbnail;
mod store;
mod folder;
mod same_image;

pub(crate) use dicom::{identifying_elements, named_view, view_within};
pub use error::ImageError;
pub use folder::ImageFiles;
pub(crate) use folder::{FileContent, has_ending, has_image_name};
pub(crate) use header::{Fault, MAX_TEXT, probe_image, read_image, read_text, utf_8};
pub use limits::DecodeLimits;
pub(crate) use normalize::{CHANNELS, DEVIATION, MEAN, normalize};
pub(crate) use radiograph::DECODER_VERSION;
pub use radiograph::Radiograph;
pub use resize::CropBox;
pub(crate) use resize::{pad_to_square, resize, resize_shorter_side, shrink_longer_side};
pub use same_image::number_images;
pub(crate) use same_image::resolve_hash_collisions;
pub(crate) use segments::{Segment, segments};
pub use store::{ImageStore, ImageStoreConfig};
pub use thumbnail::Thumbnail;
