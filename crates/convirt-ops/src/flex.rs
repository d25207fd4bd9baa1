//! Burn's CPU backend: operations with a gradient of their own.

mod adam;
mod attention;
mod batch_norm;
pub(crate) mod buffer;
mod conv2d;
mod dropout;
pub(crate) mod element;
mod gelu;
mod layer_norm;
mod linear;
mod math;
pub(crate) mod matmul;
mod max_pool2d;
mod memory;
mod operation;
mod pages;
pub(crate) mod simd;
mod storage;

pub(crate) use adam::adam_step;
pub(crate) use attention::attention;
pub(crate) use batch_norm::{batch_norm, batch_norm_train, conv2d_batch_norm};
pub(crate) use conv2d::conv2d;
pub(crate) use dropout::dropout;
pub(crate) use gelu::gelu;
pub(crate) use layer_norm::{add_layer_norm, layer_norm};
pub(crate) use linear::linear;
pub(crate) use matmul::{has_kernel, kernel_of};
pub(crate) use max_pool2d::max_pool2d;
pub(crate) use operation::{FlexTensor, Operation, apply, float32_here, plain, runs_here};
pub(crate) use storage::{branch, cast};
