//! `convirt init`: writes a configuration for a table of pairs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use convirt::data::{NewFile, path_text};
use convirt::recipe::StartingConfig;
use serde_json::json;

use crate::arguments::{
    Output, OverwriteArguments, RecipeArgument, ResultsArguments, describe, warn_of_columns,
};
use crate::program::Ending;

/// Look at a table of images and texts, and write a commented configuration for it
#[derive(Args)]
#[command(after_help = "Examples:
  convirt init pairs.csv
  convirt init pairs.csv --out my.yaml --image-root images --recipe paper

The columns of images, texts, patients and split are recognized by their names and their cells; the
configuration says what was found, and what else the table has. `convirt train --csv pairs.csv` trains
with the same configuration at once.")]
pub struct Arguments {
    /// Table of images and texts: CSV with a header row
    csv: PathBuf,

    /// Configuration to write; by default, the table's name with the ending .yaml
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    recipe: RecipeArgument,

    /// Folder that relative image paths start from; by default, the folder of the table
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Folder that relative paths of texts start from; by default, the folder of the table
    #[arg(long, value_name = "DIR")]
    text_root: Option<PathBuf>,

    /// Initial weights of the image encoder: a file, a name on the Hugging Face hub, or imagenet
    #[arg(long, value_name = "WEIGHTS")]
    image_weights: Option<String>,

    /// Pretrained text encoder: a folder, or a name on the Hugging Face hub
    #[arg(long, value_name = "ENCODER")]
    text_encoder: Option<String>,

    #[command(flatten)]
    overwrite: OverwriteArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let default_out = || PathBuf::from(arguments.csv.file_name().unwrap_or_default());
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| default_out().with_extension("yaml"));
    let weights = [&arguments.image_weights, &arguments.text_encoder];
    let weights = weights.into_iter().flatten().map(Path::new);
    let inputs = weights.chain([arguments.csv.as_path()]);
    arguments.overwrite.check(Output::File(&out), inputs)?;
    let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let given = [
        ("dataset.img_root_dir", text(&arguments.image_root)),
        ("dataset.text_root_dir", text(&arguments.text_root)),
        ("model.image_weights", arguments.image_weights),
        ("model.bert_base_model", arguments.text_encoder),
    ];
    let given = given
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)));
    let overrides: Vec<String> = given.collect();

    let start = StartingConfig::for_pairs(&arguments.csv, arguments.recipe.recipe, &overrides)?;
    warn_of_columns(&start);
    NewFile::write_whole(&out, start.yaml.as_bytes())
        .with_context(|| format!("{}: cannot be written", out.display()))?;
    let name = out.display();
    let text = format!(
        "{}\nwritten: {name}\ncheck the data:  convirt doctor --config {name}\n\
         train:           convirt train --config {name}",
        describe(&start)
    );
    let columns = &start.columns;
    let document = json!({
        "out": path_text(&out),
        "recipe": start.recipe.name(),
        "rows": columns.rows,
        "image": columns.image,
        "text": columns.text,
        "text_from_files": columns.text_from_files,
        "group": columns.group,
        "split": columns.split,
        "unused": columns.unused,
        "remarks": columns.remarks,
    });
    results.print_as(text, document)?;
    Ok(Ending::Done)
}
