//! What `torch.save` writes, read without running any of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};

use crate::weights::WeightsError;
use crate::weights::file::{Data, ElementType, StoredTensor};

/// Reads names and shapes. Dictionaries within the saved one, such as `state_dict`, give their
/// names a prefix.
pub(super) fn open(path: &Path) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let read = |error| WeightsError::read(path)(error);
    let size = std::fs::metadata(path).map_err(read)?.len();
    let file = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(source) => read(source),
        other => WeightsError::damaged(path, other),
    })?;
    let path: Arc<Path> = Arc::from(path);
    file.into_tensors()
        .into_iter()
        .map(|(name, tensor)| {
            // Views may repeat their numbers as often as they like.
            if tensor.byte_len() as u64 > size {
                let detail = format!("tensor `{name}` is larger than the file");
                return Err(WeightsError::damaged(&path, detail));
            }
            Ok((name, stored(tensor, &path)))
        })
        .collect()
}

fn stored(tensor: Tensor, path: &Arc<Path>) -> StoredTensor {
    StoredTensor {
        element_type: match tensor.dtype() {
            DType::F64 => ElementType::F64,
            DType::F32 => ElementType::F32,
            DType::F16 => ElementType::F16,
            DType::BF16 => ElementType::BF16,
            other => ElementType::Other(format!("{other:?}").to_lowercase()),
        },
        shape: tensor.shape().to_vec(),
        data: Data::Torch {
            tensor,
            path: Arc::clone(path),
        },
    }
}
