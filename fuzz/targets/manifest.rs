//! Tables of pairs and of labels.
//!
//! The first byte chooses how the table is read, the rest is the CSV.

#![no_main]

use std::sync::Once;

use convirt_data::{
    BlankPolicy, Column, ColumnChoices, LabelColumns, LabelledConfig, LabelledManifest, Manifest,
    ManifestConfig, SplitConfig, UncertainPolicy, split, split_labelled,
};
use convirt_fuzz::{folder, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static IMAGES: Once = Once::new();
    IMAGES.call_once(|| {
        for name in ["a.png", "b.png"] {
            let image = image::GrayImage::new(8, 8);
            image.save(folder().join(name)).expect("an image");
        }
        write("a.txt", b"The lungs are clear.");
    });
    let Some((&mode, csv)) = data.split_first() else {
        return;
    };
    let path = write("pairs.csv", csv);
    let split_config = SplitConfig {
        valid_size: 0.3,
        seed: 0,
    };
    if mode & 1 == 0 {
        let columns = ColumnChoices::new(&path).recognize();
        let config = match &columns {
            Ok(columns) => ManifestConfig::with_columns(&path, columns),
            Err(_) => ManifestConfig::new(&path),
        };
        let config = ManifestConfig {
            text_from_files: config.text_from_files ^ (mode & 2 != 0),
            max_bad_share: 1.0,
            ..config
        };
        if let Ok(manifest) = Manifest::read(&config) {
            let _ = split(manifest.studies, &split_config);
        }
        return;
    }
    let labels = match mode >> 1 & 3 {
        0 => LabelColumns::Class {
            column: Column::Position(1),
            positive: None,
        },
        1 => LabelColumns::Findings {
            columns: vec![Column::Position(1), Column::Position(2)],
            uncertain: UncertainPolicy::Ignore,
            blank: BlankPolicy::Zeros,
        },
        _ => LabelColumns::List {
            column: Column::Position(1),
            separator: "|".into(),
        },
    };
    let config = LabelledConfig {
        max_bad_share: 1.0,
        group: (mode & 16 != 0).then_some(Column::Position(2)),
        split: (mode & 32 != 0).then_some(Column::Position(3)),
        ..LabelledConfig::new(&path, labels)
    };
    if let Ok(manifest) = LabelledManifest::read(&config) {
        let _ = split_labelled(manifest.images, &manifest.labels, 0.3, 0);
    }
});
