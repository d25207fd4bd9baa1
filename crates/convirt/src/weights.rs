//! Reads and writes weight files of this crate, PyTorch, Hugging Face and ONNX.
//!
//! [`WeightsFile`] opens safetensors files (a single file, or several with an index), the files of
//! `torch.save` (the zip format and the older pickle and tar formats), Burn's checkpoints and ONNX
//! files. It never executes anything in them. `matching/names.rs` maps the paths of our parameters
//! to the names that torchvision, timm, `transformers` and ConVIRT-Colab use. A load first matches
//! all names and shapes and lists the result in a [`LoadReport`]. It reads numbers only if
//! everything fits.

mod error;
mod tensor;
mod report;
pub(crate) mod checksums;
pub(crate) mod own_checksum;
mod saved_tensor;
mod formats;
mod file;
mod matching;
mod load;
mod inspect;
mod save;
mod exported;
mod locate;

pub use error::WeightsError;
pub use file::WeightsFile;
pub use formats::WeightsFormat;
pub use inspect::{Inspection, LoadedNetworks};
pub use load::{load_image_encoder, load_network, load_simclr, load_text_encoder};
pub use report::{LoadCounts, LoadReport, LoadStatus, TensorReport};
pub use tensor::{ElementType, StoredTensor};

pub(crate) use checksums::append_crc32c;
pub(crate) use exported::{ModelType, read_exported_config};
#[cfg(feature = "onnx")]
pub(crate) use formats::onnx::proto as onnx_proto;
pub(crate) use formats::safetensors::{
    MAX_HEADER_BYTES as MAX_SAFETENSORS_HEADER_BYTES, header_bytes as safetensors_header,
    read_header as read_safetensors_header,
};
pub(crate) use inspect::image_encoder_config;
pub(crate) use load::{check_loaded, load_classifier_head};
#[cfg(feature = "hub")]
pub use locate::HubError;
pub(crate) use locate::locate_model;
#[cfg(feature = "train")]
pub(crate) use locate::{WeightsKind, locate_local_weights, locate_weights};
pub(crate) use matching::{ChosenEncoder, EncoderKind, Layout, Naming};
pub(crate) use save::{save, tensors, with_batch_counters};
pub(crate) use saved_tensor::SavedTensor;

#[cfg(test)]
mod tests {
    mod malformed;
    #[cfg(feature = "onnx")]
    mod onnx;
    mod parity;
}
