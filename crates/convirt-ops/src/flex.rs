//! Operations on Burn's CPU backend, Flex, with hand-written gradients.

mod pages;
mod buffer_pool;
pub(crate) mod simd;
mod math;
pub(crate) mod element;
pub(crate) mod tensor;
mod inputs;
pub(crate) mod matmul;
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

use crate::operation::{Operation, apply, plain};
pub(crate) use adam::adam_step;
pub(crate) use attention::attention;
pub(crate) use batch_norm::{batch_norm, batch_norm_train, conv2d_batch_norm};
pub(crate) use contrastive::{contrastive_loss, sigmoid_loss};
pub(crate) use conv2d::conv2d;
pub(crate) use dropout::dropout;
pub(crate) use gelu::gelu;
pub(crate) use inputs::{FlexTensor, float32_here, optional, present, runs_here};
pub(crate) use layer_norm::{add_layer_norm, layer_norm};
pub(crate) use linear::linear;
pub(crate) use matmul::{chosen_kernel, has_kernel};
pub(crate) use max_pool2d::max_pool2d;
pub(crate) use storage::{branch, cast};
pub(crate) use sum_of_squares::sum_of_squares;
