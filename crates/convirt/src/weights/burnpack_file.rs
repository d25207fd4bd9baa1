//! Burn's own files, which a training's checkpoints are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::store::burn_pack::{Reader, Tensor};
use burn::tensor::DType;

use crate::weights::WeightsError;
use crate::weights::file::{Data, ElementType, StoredTensor};

/// Reads names and shapes.
pub(super) fn open(path: &Path) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let tensors = Reader::from_file_exact(path)
        .and_then(Reader::into_tensors)
        .map_err(|error| WeightsError::damaged(path, error))?;
    let path: Arc<Path> = Arc::from(path);
    tensors
        .into_iter()
        .map(|tensor| {
            let numbers = tensor
                .shape
                .iter()
                .try_fold(tensor.dtype.size(), |size, &side| size.checked_mul(side));
            if numbers != Some(tensor.byte_len()) {
                let detail = format!("tensor `{}` has another size than its shape", tensor.name);
                return Err(WeightsError::damaged(&path, detail));
            }
            Ok((tensor.name.clone(), stored(tensor, &path)))
        })
        .collect()
}

fn stored(tensor: Tensor, path: &Arc<Path>) -> StoredTensor {
    StoredTensor {
        element_type: match tensor.dtype {
            DType::F64 => ElementType::F64,
            DType::F32 | DType::Flex32 => ElementType::F32,
            DType::F16 => ElementType::F16,
            DType::BF16 => ElementType::BF16,
            other => ElementType::Other(other.name().to_string()),
        },
        shape: tensor.shape.to_vec(),
        data: Data::Burnpack {
            tensor,
            path: Arc::clone(path),
        },
    }
}
