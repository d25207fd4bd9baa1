//! What a preparation says when it is done.

use std::io::{self, Write, stdout};

use convirt::data::Prepared;

/// Prints what was made and left out, and how to train on it; the output may be closed.
pub fn print(prepared: &Prepared) -> io::Result<()> {
    let mut out = stdout().lock();
    let keys = prepared.config_keys();
    writeln!(out, "{prepared}\n\nIn a configuration:\n\ndataset:")?;
    for (key, value) in &keys {
        writeln!(out, "  {key}: {value}")?;
    }
    let manifest = prepared.manifest.display();
    writeln!(
        out,
        "\nOr with that of the phantom:\n\n  cargo run --release --example train_mimic -- \\"
    )?;
    writeln!(
        out,
        "    --set \"dataset.csv_file={manifest}\" --set dataset.phantom=null \\"
    )?;
    if let Some(root) = &prepared.image_root {
        writeln!(
            out,
            "    --set \"dataset.img_root_dir={}\" \\",
            root.display()
        )?;
    }
    writeln!(out, "    --set dataset.text_from_files=False")
}
