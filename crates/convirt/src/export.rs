//! Exports a trained model: as a folder that explains itself, and to the formats of other libraries.

mod parts;
#[cfg(feature = "onnx")]
mod onnx;
mod preprocessing;
#[cfg(feature = "train")]
mod card;
#[cfg(feature = "train")]
mod folder;

#[cfg(feature = "train")]
pub use card::ModelCard;
