//! Weights in files: what this crate, PyTorch and Hugging Face write, in and out.
//!
//! [`WeightsFile`] opens safetensors (one file or many with an index), what `torch.save` writes
//! (zip, the older pickles, tar), and Burn's checkpoints; nothing in them is executed. The key map,
//! from our parameters' paths to the names that torchvision, timm, `transformers` and ConVIRT-Colab
//! use, stands in `names.rs`. A load first matches all names and shapes and tells what it found
//! ([`LoadReport`]); only when they fit is anything read.

mod architecture;
mod burnpack_file;
pub(crate) mod checksums;
mod error;
mod file;
#[cfg(test)]
mod hostile;
mod inspect;
mod load;
mod names;
mod parameters;
mod pickle_size;
mod report;
mod safetensors_file;
mod save;
mod scope;
mod sharded;
mod tar_size;
mod torch_file;
mod torch_save;
#[cfg(test)]
mod truth;

pub use error::WeightsError;
pub use file::{ElementType, StoredTensor, WeightsFile, WeightsFormat};
pub use inspect::{Inspection, LoadedNetworks};
pub use load::{load_image_encoder, load_network, load_simclr, load_text_encoder};
pub use report::{Fate, LoadCounts, LoadReport, TensorReport};

pub(crate) use file::OF_HUGGING_FACE;
pub(crate) use inspect::image_encoder_config;
pub(crate) use load::{check_loaded, load_classifier_head};
pub(crate) use names::{Layout, Naming};
pub(crate) use safetensors_file::{
    LONGEST as LONGEST_HEADER, header_bytes as safetensors_header,
    read_header as read_safetensors_header,
};
pub(crate) use save::{SavedTensor, save, tensors, with_batch_counters};
pub(crate) use scope::{Part, prefixes as encoder_prefixes};
pub(crate) use sharded::parts;
