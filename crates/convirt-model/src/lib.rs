//! The networks of [ConVIRT](https://arxiv.org/abs/2010.00747) on [Burn](https://burn.dev):
//! tensors in, tensors out.
//!
//! - [`ConVirt`]: two encoders, their projections and the loss
//! - [`ResNet`]: image encoders, f_v
//! - [`Bert`]: text encoders, f_u, and [`Pooling`] of their token states
//! - [`ProjectionHead`]: g_v and g_u
//! - [`ImageClassifier`]: an [`ImageEncoder`] with a linear head, for tasks after pretraining
//! - [`ContrastiveLoss`]: Eq. 2–4, with learnable temperature and several positives as options
//! - [`SimClr`]: the image-only baseline, an image encoder and a projection under [`NtXentLoss`]
//!
//! Each follows Burn's grammar: a configuration's `init(&device)` gives a module with `forward`.
//! Modules train on an autodiff device and evaluate after [`valid`](burn::module::Module::valid).

mod error;
mod association;
mod linear;
mod dropout;
mod parameter_counts;
mod batch_norm;
mod resnet;
mod bert;
mod pooling;
mod projection;
mod loss;
mod convirt;
mod simclr;
mod image_encoder;
mod classifier;

pub use association::associate;
pub use batch_norm::{BatchNorm, BatchStatistics, set_statistics_aside};
pub use bert::{
    Activation, Bert, BertAttention, BertConfig, BertEmbeddings, BertFamily, BertKeys, BertLayer,
    FrozenStates, StateStorage, TextInput, TextKey,
};
pub use classifier::{ImageClassifier, ImageClassifierConfig};
pub use convirt::{ConVirt, ConVirtConfig, Encoded};
pub use error::ModelError;
pub use image_encoder::{ImageEncoder, ImageEncoderConfig, Pixels};
pub use loss::{
    ContrastiveLoss, ContrastiveLossConfig, ContrastiveOutput, LossKind, NtXentLoss,
    NtXentLossConfig, NtXentOutput,
};
pub use parameter_counts::{ParameterCount, ParameterCounts};
pub use pooling::{Pooled, Pooling};
pub use projection::{ProjectionHead, ProjectionHeadConfig};
pub use resnet::{Downsample, ResNet, ResNetConfig, ResNetDepth, ResidualBlock};
pub use simclr::{SimClr, SimClrConfig};

#[cfg(test)]
mod tests {
    pub(crate) mod reference;
}
