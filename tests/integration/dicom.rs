//! Agreement with pydicom on its own files, which `tests/interop/dicom.py` lays out.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use convirt::data::{DecodeLimits, Radiograph};
use serde_json::{Map, Value, json};

/// Decodes the files of the folder that the environment variable `CONVIRT_DICOM` names, for
/// `dicom.py` to compare.
#[test]
fn dicom_files_decode_or_say_why_not() {
    let Some(folder) = std::env::var_os("CONVIRT_DICOM").map(PathBuf::from) else {
        eprintln!("skipped: CONVIRT_DICOM does not name a folder");
        return;
    };
    let mut decoded = Map::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "dcm") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            decoded.insert(name, decode(&path));
        }
    }
    let decoded = Value::Object(decoded).to_string();
    fs::write(folder.join("decoded.json"), decoded).unwrap();
}

/// Writes the brightness of each pixel beside the file.
fn decode(path: &Path) -> Value {
    match Radiograph::read(path, &DecodeLimits::default()) {
        Ok(image) => {
            let pixels = image.pixels().iter().flat_map(|it| it.to_le_bytes());
            fs::write(path.with_extension("f32"), pixels.collect::<Vec<_>>()).unwrap();
            json!({ "shape": [image.channels(), image.height(), image.width()] })
        }
        Err(error) => {
            assert!(error.to_string().contains(&*path.to_string_lossy()));
            let reason = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            json!({ "refused": reason })
        }
    }
}
