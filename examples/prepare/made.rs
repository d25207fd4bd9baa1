//! What a preparation says when it is done.

use std::fmt::{self, Write};

use convirt::data::Prepared;

use crate::program;

/// Prints what was made and left out, and how to train on it.
pub fn print(prepared: &Prepared) {
    let text = describe(prepared).expect("text takes all that is written");
    program::print(text);
}

fn describe(prepared: &Prepared) -> Result<String, fmt::Error> {
    let mut text = format!("{prepared}\n\nIn a configuration:\n\ndataset:\n");
    for (key, value) in prepared.config_keys() {
        writeln!(text, "  {key}: {value}")?;
    }
    let manifest = prepared.manifest.display();
    writeln!(
        text,
        "\nOr with that of the phantom:\n\n  cargo run --release --example train_mimic -- \\"
    )?;
    writeln!(
        text,
        "    --set \"dataset.csv_file={manifest}\" --set dataset.phantom=null \\"
    )?;
    if let Some(root) = &prepared.image_root {
        let root = root.display();
        writeln!(text, "    --set \"dataset.img_root_dir={root}\" \\")?;
    }
    write!(text, "    --set dataset.text_from_files=False")?;
    Ok(text)
}
