//! Reader of the files of `torch.save`. It never executes their pickles.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use convirt_data::open_regular;
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader, Tensor};
use zip::ZipArchive;

use super::TAR_MAGIC_RANGE;
use super::pickle_size::{PICKLE_TOO_LARGE, pickle_size};
use super::tar_size;
use crate::weights::WeightsError;
use crate::weights::tensor::{Data, ElementType, StoredTensor};

/// The key under which the training scripts of MoCo, SimSiam, timm and PyTorch's examples save a
/// network's name beside its `state_dict`.
///
/// Other scripts save the name inside the Python object `args`, which is not read.
pub(in crate::weights) const ARCHITECTURE: &str = "arch";

/// Memory that a pickle may need in a file of any size, in bytes. A pickle of PyTorch needs about
/// 12 kB per tensor.
const MAX_PICKLE_MEMORY: u64 = 128 << 20;

/// Additional memory that a pickle may need for each byte of the file, in bytes.
const PICKLE_MEMORY_PER_FILE_BYTE: u64 = 4;

/// Number of pickles in a file of the legacy pickle format: the magic number, the version, the
/// system, the dictionary and the list of storages.
const LEGACY_PICKLES: usize = 5;

/// Reads the names and shapes of a file of `size` bytes.
///
/// The key of a nested dictionary, for example `state_dict`, becomes a prefix of the names in it.
pub(in crate::weights) fn open(
    path: &Path,
    size: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let read = |error| WeightsError::read(path)(error);
    if let Some(detail) = find_excessive_memory(path, size).map_err(read)? {
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
            // A view with stride 0 can repeat one number arbitrarily often.
            if tensor.byte_len() as u64 > size {
                let detail = format!("tensor `{name}` is larger than the file");
                return Err(WeightsError::damaged(&path, detail));
            }
            Ok((name, stored(tensor, &path)))
        })
        .collect()
}

/// Reads the architecture that a file names under [`ARCHITECTURE`], if any.
///
/// The file has already been opened once.
pub(in crate::weights) fn architecture(path: &Path) -> Result<Option<String>, WeightsError> {
    match PytorchReader::read_pickle_data(path, Some(ARCHITECTURE)) {
        Ok(PickleValue::String(name)) => Ok(Some(name)),
        // `InvalidFormat`: the path of an index is that of a JSON file.
        Ok(_) | Err(PytorchError::KeyNotFound(_) | PytorchError::InvalidFormat(_)) => Ok(None),
        Err(PytorchError::Io(source)) => Err(WeightsError::read(path)(source)),
        Err(other) => Err(WeightsError::damaged(path, other)),
    }
}

/// Returns the part of a file of `size` bytes that would need far more memory than the file's size.
///
/// Unreadable parts give `None`, because `pytorch-reader` reports them.
fn find_excessive_memory(path: &Path, size: u64) -> io::Result<Option<&'static str>> {
    let limit = MAX_PICKLE_MEMORY.saturating_add(size.saturating_mul(PICKLE_MEMORY_PER_FILE_BYTE));
    let mut file = BufReader::new(open_regular(path)?);
    let start = file.fill_buf()?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(find_excessive_zip_entry(file, size, limit));
    }
    if start.get(TAR_MAGIC_RANGE) == Some(b"ustar") {
        return Ok(tar_size::check(file, limit).err());
    }
    let mut sizes = (0..LEGACY_PICKLES).map_while(|_| pickle_size(&mut file, limit));
    Ok(sizes
        .any(|size| size.memory_bytes > limit)
        .then_some(PICKLE_TOO_LARGE))
}

/// Returns the part of a zip that would need far more memory than the file's size.
fn find_excessive_zip_entry(file: BufReader<File>, size: u64, limit: u64) -> Option<&'static str> {
    let mut zip = ZipArchive::new(file).ok()?;
    for index in 0..zip.len() {
        let entry = zip.by_index_data(index).ok()?;
        if entry.size() > size {
            return Some("a part of it unpacks to more than the file");
        }
        if entry.name().is_ok_and(|name| name.ends_with("data.pkl"))
            && let Ok(pickle) = zip.by_index(index)
            && let Some(size) = pickle_size(&mut BufReader::new(pickle.take(size)), limit)
            && size.memory_bytes > limit
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
