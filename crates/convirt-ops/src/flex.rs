//! Burn's CPU backend: operations with a gradient of their own.

mod batch_norm;
pub(crate) mod buffer;
mod conv2d;
mod max_pool2d;
mod operation;
pub(crate) mod product;
pub(crate) mod simd;

pub(crate) use batch_norm::{batch_norm, batch_norm_train};
pub(crate) use conv2d::conv2d;
pub(crate) use max_pool2d::max_pool2d;
pub(crate) use operation::{FlexTensor, Operation, apply, runs_here};
