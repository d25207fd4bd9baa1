//! Reader of Burn's own format, in which a training writes its checkpoints.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use burn::store::burn_pack::{HEADER_SIZE, Header, Reader, Tensor};
use burn::tensor::DType;

use crate::weights::WeightsError;
use crate::weights::tensor::{Data, ElementType, StoredTensor};

/// Reads the names and shapes of a file of `size` bytes.
pub(in crate::weights) fn open(
    path: &Path,
    mut file: File,
    size: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut header = [0; HEADER_SIZE];
    file.read_exact(&mut header)
        .map_err(WeightsError::read(path))?;
    let header = Header::from_bytes(&header).map_err(|error| WeightsError::damaged(path, error))?;
    // `Reader` allocates memory for the names without checking that the file contains them.
    if u64::from(header.metadata_size) > size {
        return Err(WeightsError::damaged(
            path,
            "its names reach beyond its end",
        ));
    }
    let tensors = Reader::from_file_exact(path)
        .and_then(Reader::into_tensors)
        .map_err(|error| WeightsError::damaged(path, error))?;
    let numbers: u64 = tensors.iter().map(|tensor| tensor.byte_len() as u64).sum();
    if numbers > size {
        return Err(WeightsError::damaged(path, "its tensors overlap"));
    }
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
