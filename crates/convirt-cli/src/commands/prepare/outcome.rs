//! The output at the end of a preparation.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use anyhow::Result;
use convirt::data::{Prepared, Split, path_text};
use serde_json::{Value, json};

use crate::arguments::Results;
use crate::program::Ending;

/// Prints what was prepared and left out, and how to train on it.
pub fn finish(results: Results, prepared: &Prepared) -> Result<Ending> {
    results.print_as(describe(prepared)?, document(prepared))?;
    Ok(Ending::Done)
}

fn describe(prepared: &Prepared) -> Result<String, fmt::Error> {
    let mut text = format!("{prepared}\n\nIn a configuration:\n\ndataset:\n");
    for (key, value) in prepared.config_keys() {
        writeln!(text, "  {key}: {value}")?;
    }
    let manifest = prepared.manifest.display();
    writeln!(text, "\nOr with the default one:\n\n  convirt train \\")?;
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

/// Returns the result of a preparation as JSON.
fn document(prepared: &Prepared) -> Value {
    let pairs_by_split: BTreeMap<&str, usize> = prepared
        .by_split
        .iter()
        .map(|(split, pairs)| (split.map_or("none", Split::name), *pairs))
        .collect();
    let omissions: Vec<Value> = prepared
        .omissions
        .iter()
        .map(|(reason, count, examples)| {
            json!({"reason": reason.to_string(), "count": count, "examples": examples})
        })
        .collect();
    json!({
        "manifest": path_text(&prepared.manifest),
        "image_root": prepared.image_root.as_deref().map(path_text),
        "pairs": prepared.pairs,
        "pairs_by_split": pairs_by_split,
        "subjects": prepared.subjects,
        "studies": prepared.studies,
        "reports": prepared.reports,
        "last_paragraphs": prepared.last_paragraphs,
        "images_made": prepared.images_made,
        "images_kept": prepared.images_kept,
        "images_absent": prepared.images_absent,
        "omissions": omissions,
    })
}
