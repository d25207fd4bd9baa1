//! What `torch.load` reads, written without PyTorch: a zip of a pickle and the numbers, stored.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::store::burn_pack::AtomicFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::weights::saved_tensor::{SavedTensor, Values};

/// Entries above it need the zip's 64-bit sizes.
const LARGE: usize = u32::MAX as usize;

/// Writes a state dict, whole or not at all.
pub(in crate::weights) fn save(tensors: Vec<SavedTensor>, path: &Path) -> io::Result<()> {
    let (atomic, file) = AtomicFile::create(path).map_err(io::Error::other)?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() > LARGE);
        zip.start_file(format!("archive/{name}"), options)?;
        zip.write_all(bytes)
    };
    entry("data.pkl", &pickle(&tensors))?;
    entry("byteorder", b"little")?;
    for (index, tensor) in tensors.iter().enumerate() {
        entry(&format!("data/{index}"), &tensor.bytes())?;
    }
    entry("version", b"3\n")?;
    let file: File = zip
        .finish()?
        .into_inner()
        .map_err(|error| error.into_error())?;
    file.sync_all()?;
    drop(file);
    atomic.commit().map_err(io::Error::other)
}

/// An `OrderedDict` of names and `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides,
/// False, OrderedDict())`, each storage a persistent id; protocol 2, as `torch.save` writes it.
fn pickle(tensors: &[SavedTensor]) -> Vec<u8> {
    const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = b"\x80\x02".to_vec();
    out.extend(ORDERED_DICT);
    out.push(b'(');
    for (index, tensor) in tensors.iter().enumerate() {
        let storage: &[u8] = match tensor.values {
            Values::Floats(_) => b"ctorch\nFloatStorage\n",
            Values::Integer(_) => b"ctorch\nLongStorage\n",
        };
        string(&mut out, &tensor.name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        string(&mut out, "storage");
        out.extend(storage);
        string(&mut out, &index.to_string());
        string(&mut out, "cpu");
        integer(&mut out, tensor.shape.iter().product());
        out.extend(b"tQ");
        integer(&mut out, 0);
        tuple(&mut out, &tensor.shape);
        tuple(&mut out, &strides(&tensor.shape));
        out.push(0x89); // False
        out.extend(ORDERED_DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// As 8 bytes, which hold any size.
fn integer(out: &mut Vec<u8>, number: usize) {
    out.extend([0x8a, 8]);
    out.extend((number as i64).to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, numbers: &[usize]) {
    out.push(b'(');
    for number in numbers {
        integer(out, *number);
    }
    out.push(b't');
}

/// Distances between neighbours along each side of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len())
        .map(|side| shape[side..].iter().product())
        .collect()
}
