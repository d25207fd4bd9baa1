//! Exports a trained model: as a folder that explains itself ([`Model::export`](crate::Model::export),
//! with the feature `train`), and to the formats of other libraries (the other `export_…` of
//! [`Model`](crate::Model) and [`ImageModel`](crate::ImageModel)).

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
