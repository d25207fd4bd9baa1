//! Burn's CPU backend: operations with a gradient of their own.

pub(crate) mod buffer;
mod operation;
pub(crate) mod product;
pub(crate) mod simd;

pub(crate) use operation::{FlexTensor, Operation, apply, runs_here};
