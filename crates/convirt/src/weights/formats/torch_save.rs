//! Writer of files for `torch.load`: an uncompressed zip of a pickle and the numbers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::store::burn_pack::AtomicFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::weights::saved_tensor::{SavedTensor, Values};

/// Maximum size of a zip entry without the 64-bit extension, in bytes.
const MAX_ZIP32_BYTES: usize = u32::MAX as usize;

/// Writes a state dict. An interrupted write leaves no partial file.
pub(in crate::weights) fn save(tensors: Vec<SavedTensor>, path: &Path) -> io::Result<()> {
    let (atomic, file) = AtomicFile::create(path).map_err(io::Error::other)?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() > MAX_ZIP32_BYTES);
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

/// Returns the pickle of a state dict in protocol 2, as `torch.save` writes it.
///
/// It is an `OrderedDict` from names to calls of `torch._utils._rebuild_tensor_v2` with the
/// arguments `(storage, 0, shape, strides, False, OrderedDict())`. Each storage is a persistent id.
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
        push_string(&mut out, &tensor.name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        push_string(&mut out, "storage");
        out.extend(storage);
        push_string(&mut out, &index.to_string());
        push_string(&mut out, "cpu");
        push_integer(&mut out, tensor.shape.iter().product());
        out.extend(b"tQ");
        push_integer(&mut out, 0);
        push_tuple(&mut out, &tensor.shape);
        push_tuple(&mut out, &strides(&tensor.shape));
        out.push(0x89); // False
        out.extend(ORDERED_DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

/// Appends a string, the opcode `BINUNICODE`.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Appends an integer of 8 bytes, the opcode `LONG1`; they hold any size.
fn push_integer(out: &mut Vec<u8>, number: usize) {
    out.extend([0x8a, 8]);
    out.extend((number as i64).to_le_bytes());
}

/// Appends a tuple of integers, the opcodes `MARK` and `TUPLE`.
fn push_tuple(out: &mut Vec<u8>, numbers: &[usize]) {
    out.push(b'(');
    for number in numbers {
        push_integer(out, *number);
    }
    out.push(b't');
}

/// Returns the strides of a row-major tensor, in elements.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len())
        .map(|dimension| shape[dimension..].iter().product())
        .collect()
}
