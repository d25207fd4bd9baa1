//! The operations of ConVIRT's networks, one function each.
//!
//! On most devices an operation is composed of Burn's own operations, some with gradients composed by
//! hand. On Burn's CPU backend (feature `flex`), in float32 and bfloat16, it is one pass over memory
//! with a hand-written gradient, on all threads, in AVX-512 or AVX2 where the processor has them.
//! Matrix products have the [`Precision`] of the current [`autocast`] and are computed by the fastest
//! [`Kernel`] of the machine; a [`Profile`] shows where the time goes.
//!
//! Feature maps are channels-last, `[batch, height, width, channels]`: a convolution is then a
//! matrix product, and a normalization is one pass over rows.

#[cfg(feature = "test-devices")]
#[doc(hidden)]
pub mod test_devices;
#[cfg(test)]
mod testing;
mod scope;
mod device;
mod kernel;
mod precision;
mod profile;
mod operation;
mod composition;
#[cfg(feature = "flex")]
mod flex;
mod storage;
mod conv2d;
mod batch_norm;
mod max_pool2d;
mod linear;
mod gelu;
mod dropout;
mod layer_norm;
mod attention;
mod adam;
mod sum_of_squares;
mod contrastive;

pub use adam::{AdamStep, adam_step};
pub use attention::{AttentionOptions, attention};
pub use batch_norm::{
    BatchNormalized, Epilogue, Normalization, batch_norm, batch_norm_train, conv2d_batch_norm,
};
pub use contrastive::{Contrast, ContrastiveOptions, contrastive_loss, sigmoid_loss};
pub use conv2d::{Window, conv2d};
pub use device::is_flex;
pub use dropout::{
    TokenDropout, dropout, mixed_seed, next_dropout_seed, token_dropout, with_dropout_seed,
};
pub use gelu::gelu;
pub use kernel::{KERNEL_VARIABLE, Kernel, KernelError, forced_kernel};
pub use layer_norm::{add_layer_norm, layer_norm};
pub use linear::linear;
pub use max_pool2d::max_pool2d;
pub use precision::{Precision, autocast};
pub use profile::Profile;
pub use scope::with_setting;
pub use storage::{branch, from_storage, to_storage};
pub use sum_of_squares::sum_of_squares;
