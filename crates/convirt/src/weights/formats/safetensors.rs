//! Reader of safetensors files, and their header.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::weights::WeightsError;
use crate::weights::tensor::{Data, ElementType, StoredTensor};

/// Size of the integer before the header, which is the header's length.
const LENGTH_BYTES: u64 = 8;

/// Maximum length of a header in the safetensors format, in bytes.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads the names and shapes of a file of `size` bytes.
pub(in crate::weights) fn open(
    path: &Path,
    file: File,
    size: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let (header, header_end) = read_header(path, &file, size)?;
    let (file, path) = (Arc::new(Mutex::new(file)), Arc::from(path));
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let data = Data::File {
            file: Arc::clone(&file),
            path: Arc::clone(&path),
            offset: header_end + info.data_offsets.0 as u64,
        };
        let tensor = StoredTensor {
            element_type: element_type(info.dtype),
            shape: info.shape.clone(),
            data,
        };
        (name, tensor)
    });
    Ok(tensors.collect())
}

/// Reads the header of a file of `size` bytes; returns it and the position of its end.
///
/// The crate `safetensors` checks that the tensors cover the data without gaps or overlaps.
pub(crate) fn read_header(
    path: &Path,
    mut file: &File,
    size: u64,
) -> Result<(Metadata, u64), WeightsError> {
    let read = |error| WeightsError::read(path)(error);
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(read)?;
    let header_end = u64::from_le_bytes(length)
        .checked_add(LENGTH_BYTES)
        .filter(|end| *end <= size)
        .ok_or_else(|| WeightsError::damaged(path, "its header reaches beyond its end"))?;
    if header_end > LENGTH_BYTES + MAX_HEADER_BYTES {
        return Err(WeightsError::damaged(path, "its header is above 100 MB"));
    }

    let mut header = vec![0; (header_end - LENGTH_BYTES) as usize];
    file.read_exact(&mut header).map_err(read)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| WeightsError::damaged(path, format!("its header: {error}")))?;
    let (expected, actual) = (header.data_len() as u64, size - header_end);
    if expected != actual {
        let detail = format!("{expected} bytes of numbers announced, {actual} there");
        return Err(WeightsError::damaged(path, detail));
    }
    Ok((header, header_end))
}

/// Returns the start of a file: the length of the header and the header itself.
///
/// Spaces pad the header, so that the result has at least `min_bytes` bytes and the numbers after
/// it start at a multiple of 8.
pub(crate) fn header_bytes(header: &serde_json::Value, min_bytes: usize) -> Vec<u8> {
    let json = header.to_string();
    let total_bytes = (LENGTH_BYTES as usize + json.len())
        .next_multiple_of(8)
        .max(min_bytes);
    let mut bytes = (total_bytes as u64 - LENGTH_BYTES).to_le_bytes().to_vec();
    bytes.extend(json.bytes());
    bytes.resize(total_bytes, b' ');
    bytes
}

fn element_type(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F64 => ElementType::F64,
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        other => ElementType::Other(other.to_string().to_lowercase()),
    }
}
