//! The layout of an index file.

use std::fs::File;
use std::path::Path;

use convirt_data::FileError;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::json;

use super::IndexDescription;
use super::error::IndexError;
use crate::error::Error;
use crate::weights::own_checksum::{NO_CHECKSUM, OWN_CHECKSUM, own_checksum};
use crate::weights::{read_safetensors_header, safetensors_header};

/// Key of the description in the file's metadata.
const DESCRIPTION: &str = "convirt_index";

/// Bytes of a float16 number.
pub(super) const HALF: usize = 2;

/// The content of an index file, and the positions of its parts.
#[derive(Debug)]
pub(super) struct Layout {
    pub description: IndexDescription,
    pub len: usize,
    pub width: usize,
    /// First byte of the embeddings.
    pub embeddings: u64,
    pub names: Strings,
    pub texts: Strings,
}

/// The positions of concatenated strings, one for each embedding.
#[derive(Debug)]
pub(super) struct Strings {
    /// Position of the first string in the file.
    pub start: u64,
    /// Length of all strings together, in bytes.
    pub bytes: u64,
    /// Position in the file of the ends of the strings: 8 bytes each, counted from `start`.
    pub ends: u64,
}

impl Layout {
    /// Reads and checks the header of an index file.
    pub fn read(path: &Path, file: &File) -> Result<Self, Error> {
        let size = file.metadata().map_err(FileError::read(path))?.len();
        let (header, start) = read_safetensors_header(path, file, size)?;
        let not_an_index = |detail: String| {
            let path = path.to_path_buf();
            Error::from(IndexError::NotAnIndex { path, detail })
        };
        let metadata = header.metadata().as_ref();
        let description = metadata
            .and_then(|metadata| metadata.get(DESCRIPTION))
            .ok_or_else(|| not_an_index(format!("no `{DESCRIPTION}` in its metadata")))?;
        let description = serde_json::from_str(description)
            .map_err(|error| not_an_index(format!("`{DESCRIPTION}`: {error}")))?;
        let find = |name: &str, dtype: Dtype, dimensions: usize| -> Result<&TensorInfo, Error> {
            header
                .info(name)
                .filter(|info| info.dtype == dtype && info.shape.len() == dimensions)
                .ok_or_else(|| {
                    let shape = format!("{dtype:?} with {dimensions} dimensions");
                    not_an_index(format!("no tensor `{name}` of {shape}"))
                })
        };
        let embeddings = find("embeddings", Dtype::F16, 2)?;
        let [len, width] = embeddings.shape[..] else {
            return Err(not_an_index("its embeddings are not a matrix".to_string()));
        };
        if len == 0 || width == 0 {
            return Err(not_an_index("it is empty".to_string()));
        }
        if let Some(recorded) = metadata.and_then(|metadata| metadata.get(OWN_CHECKSUM)) {
            let computed = own_checksum(file, start).map_err(FileError::read(path))?;
            if *recorded != computed {
                return Err(not_an_index("it changed since it was written".to_string()));
            }
        }
        let position = |info: &TensorInfo| start + info.data_offsets.0 as u64;
        let strings = |name: &str, ends_name: &str| -> Result<Strings, Error> {
            let bytes = find(name, Dtype::U8, 1)?;
            let ends = find(ends_name, Dtype::U64, 1)?;
            if ends.shape != [len] {
                let detail = format!("{len} embeddings and {:?} `{ends_name}`", ends.shape);
                return Err(not_an_index(detail));
            }
            Ok(Strings {
                start: position(bytes),
                bytes: bytes.shape[0] as u64,
                ends: position(ends),
            })
        };
        Ok(Self {
            description,
            len,
            width,
            embeddings: position(embeddings),
            names: strings("names", "name_ends")?,
            texts: strings("texts", "text_ends")?,
        })
    }
}

/// Returns the header of an index file, padded to at least `length` bytes, with zeros for the
/// checksum.
///
/// The embeddings come first, then the ends of the names and of the texts, then the names and the
/// texts. `names` and `texts` are their lengths in bytes.
pub(super) fn header(
    description: &IndexDescription,
    len: usize,
    width: usize,
    [names, texts]: [usize; 2],
    length: usize,
) -> Vec<u8> {
    let description = serde_json::to_string(description).expect("a description is plain data");
    let mut end = 0;
    let mut tensor = |dtype: &str, shape: &[usize], bytes: usize| {
        let start = end;
        end += bytes;
        json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]})
    };
    safetensors_header(
        &json!({
            "__metadata__": {DESCRIPTION: description, OWN_CHECKSUM: NO_CHECKSUM},
            "embeddings": tensor("F16", &[len, width], len * width * HALF),
            "name_ends": tensor("U64", &[len], len * 8),
            "text_ends": tensor("U64", &[len], len * 8),
            "names": tensor("U8", &[names], names),
            "texts": tensor("U8", &[texts], texts),
        }),
        length,
    )
}
