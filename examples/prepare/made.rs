//! What a preparation says when it is done.

use convirt::data::Prepared;

/// Prints what was made and left out, and how to train on it.
pub fn print(prepared: &Prepared) {
    let keys = prepared.config_keys();
    println!("{prepared}\n\nIn a configuration:\n\ndataset:");
    for (key, value) in &keys {
        println!("  {key}: {value}");
    }
    let manifest = prepared.manifest.display();
    println!("\nOr with that of the phantom:\n\n  cargo run --release --example train_mimic -- \\");
    println!("    --set \"dataset.csv_file={manifest}\" --set dataset.phantom=null \\");
    if let Some(root) = &prepared.image_root {
        println!("    --set \"dataset.img_root_dir={}\" \\", root.display());
    }
    println!("    --set dataset.text_from_files=False");
}
