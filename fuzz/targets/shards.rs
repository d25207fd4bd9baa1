//! WebDataset shards. The index that is kept beside one is JSON behind its own checksum.

#![no_main]

use std::fs;

use convirt_data::{DecodeLimits, Manifest, ManifestConfig, Radiograph};
use convirt_fuzz::{count_own_panics, folder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    count_own_panics();
    let folder = folder().join("shards");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the files");
    fs::write(folder.join("0.tar"), data).expect("a file for the input");
    let manifest = Manifest::read(&ManifestConfig {
        max_bad_share: 1.0,
        ..ManifestConfig::new(folder.join("{0..0}.tar"))
    });
    for study in manifest.iter().flat_map(|manifest| &manifest.studies) {
        let _ = Radiograph::read(&study.image, &DecodeLimits::default());
    }
});
