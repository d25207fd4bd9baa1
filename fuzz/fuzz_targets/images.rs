//! Decodes anything as a JPEG, PNG or DICOM file. Nothing may panic, not even behind the guard that
//! turns a panic into an error, an image is as large as it says and within the limits, and what can
//! be decoded can stand in a manifest and have its view looked up.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz -s none images -- \
//!     -max_len=16384 -rss_limit_mb=512 -timeout=10
//! ```
//!
//! Put small images of each kind into `fuzz/corpus/images` first. An input that begins with `D` is a
//! DICOM data set in explicit little endian, without the 132 bytes and the header before it.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use convirt::data::{DecodeLimits, Manifest, ManifestConfig, OpenIConfig, Radiograph};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const LIMITS: DecodeLimits = DecodeLimits {
    max_side: 512,
    max_bytes: 4 << 20,
    exif_orientation: true,
};

/// A manifest of one row and a report of OpenI, both for the image `1_1.dcm`; in memory where there
/// is such a folder.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    let report = "<eCitation><uId id='CXR1'/><MedlineCitation><Article><Abstract>\
                  <AbstractText Label='FINDINGS'>The lungs are clear.</AbstractText>\
                  </Abstract></Article></MedlineCitation><parentImage id='CXR1_1'/></eCitation>";
    fs::create_dir(folder.path().join("root")).unwrap();
    fs::write(folder.path().join("root/1.xml"), report).unwrap();
    let row = "image,text\n1_1.dcm,The lungs are clear.\n";
    fs::write(folder.path().join("root/pairs.csv"), row).unwrap();
    folder
});

/// Preamble, mark, and the transfer syntax.
const HEADER: &[u8] = b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0";

fuzz_target!(|input: &[u8]| {
    let bytes = match input.split_first() {
        Some((b'D', rest)) => [&[0; 128], &b"DICM"[..], HEADER, rest].concat(),
        _ => input.to_vec(),
    };
    let decoded = Radiograph::decode(&bytes, Path::new("image"), &LIMITS);
    if let Ok(image) = &decoded {
        let sides = 1..=LIMITS.max_side as usize;
        assert!(sides.contains(&image.width()) && sides.contains(&image.height()));
    }
    let root = FOLDER.path().join("root");
    fs::write(root.join("1_1.dcm"), &bytes).unwrap();
    let manifest = Manifest::read(&ManifestConfig {
        limits: LIMITS,
        ..ManifestConfig::new(root.join("pairs.csv"))
    });
    assert!(decoded.is_err() || manifest.is_ok());
    let openi = OpenIConfig {
        images: None,
        split: None,
        ..OpenIConfig::new(root, FOLDER.path().join("out"))
    };
    assert_eq!(openi.prepare(|_| ()).unwrap().pairs, 1);
});
