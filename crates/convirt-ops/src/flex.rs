//! Operations on Burn's CPU backend, Flex, with hand-written gradients.

mod adam;
mod attention;
mod batch_norm;
mod buffer_pool;
mod conv2d;
mod dropout;
pub(crate) mod element;
mod gelu;
mod layer_norm;
mod linear;
mod math;
pub(crate) mod matmul;
mod max_pool2d;
mod operation;
mod pages;
pub(crate) mod simd;
mod storage;
pub(crate) mod tensor;

pub(crate) use adam::adam_step;
pub(crate) use attention::attention;
pub(crate) use batch_norm::{batch_norm, batch_norm_train, conv2d_batch_norm};
pub(crate) use conv2d::conv2d;
pub(crate) use dropout::dropout;
pub(crate) use gelu::gelu;
pub(crate) use layer_norm::{add_layer_norm, layer_norm};
pub(crate) use linear::linear;
pub(crate) use matmul::{chosen_kernel, has_kernel};
pub(crate) use max_pool2d::max_pool2d;
pub(crate) use operation::{
    FlexTensor, Operation, apply, float32_here, optional, plain, present, runs_here,
};
pub(crate) use storage::{branch, cast};
