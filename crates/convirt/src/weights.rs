//! Weights in files: what this crate, PyTorch and Hugging Face write, in and out.
//!
//! [`WeightsFile`] opens safetensors (one file or many with an index), what `torch.save` writes
//! (zip, the older pickles, tar), Burn's checkpoints and ONNX files; nothing in them is executed. The key map,
//! from our parameters' paths to the names that torchvision, timm, `transformers` and ConVIRT-Colab
//! use, stands in `names.rs`. A load first matches all names and shapes and tells what it found
//! ([`LoadReport`]); only when they fit is anything read.

mod error;
mod tensor;
mod report;
pub(crate) mod checksums;
mod saved_tensor;
mod formats;
mod file;
mod matching;
mod load;
mod inspect;
mod save;
#[cfg(feature = "train")]
mod located;

pub use error::WeightsError;
pub use file::WeightsFile;
pub use formats::WeightsFormat;
pub use inspect::{Inspection, LoadedNetworks};
pub use load::{load_image_encoder, load_network, load_simclr, load_text_encoder};
pub use report::{LoadCounts, LoadReport, LoadStatus, TensorReport};
pub use tensor::{ElementType, StoredTensor};

pub(crate) use checksums::append_crc32c;
#[cfg(feature = "onnx")]
pub(crate) use formats::onnx::proto as onnx_proto;
pub(crate) use formats::safetensors::{
    LONGEST as LONGEST_HEADER, header_bytes as safetensors_header,
    read_header as read_safetensors_header,
};
pub(crate) use inspect::image_encoder_config;
pub(crate) use load::{check_loaded, load_classifier_head};
#[cfg(feature = "hub")]
pub use located::HubError;
#[cfg(feature = "train")]
pub(crate) use located::{WeightsKind, located, located_here};
pub(crate) use matching::{ChosenEncoder, Layout, Naming, Part};
pub(crate) use save::{save, tensors, with_batch_counters};
pub(crate) use saved_tensor::SavedTensor;

#[cfg(test)]
mod tests {
    mod malformed;
    #[cfg(feature = "onnx")]
    mod onnx;
    mod parity;
}
