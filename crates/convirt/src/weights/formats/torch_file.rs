//! What `torch.save` writes, read without running any of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use convirt_data::open_regular;
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader, Tensor};
use zip::ZipArchive;

use super::TAR_MARK;
use super::pickle_size::{PICKLE_TOO_LARGE, pickle_size};
use super::tar_size;
use crate::weights::WeightsError;
use crate::weights::tensor::{Data, ElementType, StoredTensor};

/// Under what the training scripts of MoCo, SimSiam, timm and PyTorch's examples save a network's
/// name beside its `state_dict`. Where others put it, among `args` as an object of Python's, it is
/// not read.
pub(in crate::weights) const ARCHITECTURE: &str = "arch";

/// Bytes of memory that a pickle may take in any file. PyTorch's takes about 12 kB a tensor.
const PICKLE: u64 = 128 << 20;

/// Bytes that it may take besides, for each byte of the file.
const PICKLE_SHARE: u64 = 4;

/// Pickles in a file before the zips: a mark, a version, the system, the dictionary, the storages.
const PICKLES: usize = 5;

/// Reads names and shapes of a file of `size` bytes. Dictionaries within the saved one, such as
/// `state_dict`, give their names a prefix.
pub(in crate::weights) fn open(
    path: &Path,
    size: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let read = |error| WeightsError::read(path)(error);
    if let Some(detail) = disproportion(path, size).map_err(read)? {
        return Err(WeightsError::damaged(path, detail));
    }
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

/// Reads what a file that has been opened says its network is; `None` if it does not say.
pub(in crate::weights) fn architecture(path: &Path) -> Result<Option<String>, WeightsError> {
    match PytorchReader::read_pickle_data(path, Some(ARCHITECTURE)) {
        Ok(PickleValue::String(name)) => Ok(Some(name)),
        // Of an index, the file is JSON.
        Ok(_) | Err(PytorchError::KeyNotFound(_) | PytorchError::InvalidFormat(_)) => Ok(None),
        Err(PytorchError::Io(source)) => Err(WeightsError::read(path)(source)),
        Err(other) => Err(WeightsError::damaged(path, other)),
    }
}

/// What in a file of `size` bytes would take memory out of proportion to them. What cannot be read
/// is left to `pytorch-reader` to tell.
fn disproportion(path: &Path, size: u64) -> io::Result<Option<&'static str>> {
    let limit = PICKLE.saturating_add(size.saturating_mul(PICKLE_SHARE));
    let mut file = BufReader::new(open_regular(path)?);
    let start = file.fill_buf()?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(in_zip(file, size, limit));
    }
    if start.get(TAR_MARK) == Some(b"ustar") {
        return Ok(tar_size::check(file, limit).err());
    }
    let mut sizes = (0..PICKLES).map_while(|_| pickle_size(&mut file, limit));
    Ok(sizes
        .any(|size| size.bytes > limit)
        .then_some(PICKLE_TOO_LARGE))
}

fn in_zip(file: BufReader<File>, size: u64, limit: u64) -> Option<&'static str> {
    let mut zip = ZipArchive::new(file).ok()?;
    for index in 0..zip.len() {
        let entry = zip.by_index_data(index).ok()?;
        if entry.size() > size {
            return Some("a part of it unpacks to more than the file");
        }
        if entry.name().is_ok_and(|name| name.ends_with("data.pkl"))
            && let Ok(pickle) = zip.by_index(index)
            && let Some(size) = pickle_size(&mut BufReader::new(pickle.take(size)), limit)
            && size.bytes > limit
        {
            return Some(PICKLE_TOO_LARGE);
        }
    }
    None
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
