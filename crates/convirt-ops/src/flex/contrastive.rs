//! Contrastive losses whose logits stay in the cache: each [strip](crate::contrastive) is a matrix
//! product, then passes over its rows and columns.

mod strips;
mod positives;
mod softmax;
mod sigmoid;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub(crate) use sigmoid::sigmoid_loss;
pub(crate) use softmax::contrastive_loss;

use crate::Contrast;

/// The output of a loss on a device, and the best candidates of rows and columns.
fn contrast(loss: Tensor<1>, best_columns: &[u32], best_rows: &[u32], device: &Device) -> Contrast {
    let indices = |indices: &[u32]| {
        let shape = [indices.len()];
        let indices = indices.iter().map(|index| i64::from(*index)).collect();
        Tensor::<1, Int>::from_data(TensorData::new::<i64, _>(indices, shape), device)
    };
    Contrast {
        loss,
        best_columns: indices(best_columns),
        best_rows: indices(best_rows),
    }
}
