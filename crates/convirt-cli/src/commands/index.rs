//! `convirt index`: builds and searches an index of embeddings.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use convirt::data::{path_text, printable};
use convirt::inference::TowerOutput;
use convirt::retrieval::{EmbeddingIndex, IndexDescription, IndexWriter, Modality};
use convirt::run::RowChoice;
use serde_json::json;

use crate::arguments::{
    FeaturesArgument, LoaderArguments, ManifestArguments, ModelArguments, Output,
    OverwriteArguments, ResultsArguments, images_below, print_unreadable, run_folder,
};
use crate::program::{Bar, Ending, is_stop_requested, stop_on_ctrl_c};

/// Search images and texts by an image or a text
#[derive(Subcommand)]
#[command(after_help = "Examples:
  convirt index build --run RUN --images DIR --out chest.index
  convirt index search chest.index --run RUN --text \"Small left pleural effusion.\"
  convirt index search chest.index --run RUN --image chest.png -k 20

With --features, an index holds the encoder's outputs, as the paper uses to find images by an image.
Without it, an index holds the projections, which can be searched by an image or a text.")]
pub enum Task {
    /// Embed images or texts and write them into an index
    Build(Build),
    /// List the entries of an index that are most similar to an image or a text
    Search(Search),
}

#[derive(Args)]
#[command(after_help = "Examples:
  convirt index build --run RUN --images DIR --out chest.index
  convirt index build --run RUN --manifest pairs.csv --out reports.index --texts")]
pub struct Build {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    #[command(flatten)]
    source: Source,

    /// Index the distinct texts of the manifest instead of its images
    #[arg(long, conflicts_with = "images")]
    texts: bool,

    /// The manifest has no texts to show beside its images
    #[arg(long, conflicts_with_all = ["texts", "images"])]
    without_texts: bool,

    #[command(flatten)]
    features: FeaturesArgument,

    /// Index to write
    #[arg(long, value_name = "INDEX")]
    out: PathBuf,

    #[command(flatten)]
    overwrite: OverwriteArguments,

    #[command(flatten)]
    columns: ManifestArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

/// What to index.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Folder of images (JPEG, PNG, DICOM), with its subfolders
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// CSV of images and texts
    #[arg(long, alias = "csv", value_name = "CSV")]
    manifest: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  convirt index search chest.index --run RUN --text \"Small left pleural effusion.\"
  convirt index search chest.index --run RUN --image chest.png -k 20")]
pub struct Search {
    /// Index to search
    index: PathBuf,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    query: Query,

    /// Number of entries to list
    #[arg(short, default_value = "10", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    k: usize,

    #[command(flatten)]
    results: ResultsArguments,
}

/// The query.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Query {
    /// Image to compare with
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    /// Sentence to compare with
    #[arg(long)]
    text: Option<String>,
}

pub fn run(task: &Task) -> Result<Ending> {
    match task {
        Task::Build(arguments) => build(arguments),
        Task::Search(arguments) => search(arguments),
    }
}

fn build(arguments: &Build) -> Result<Ending> {
    let Build { loader, source, .. } = arguments;
    arguments.results.begin();
    let output = Output::File(&arguments.out);
    let inputs = source.manifest.iter().cloned();
    let inputs = inputs.chain([run_folder(&arguments.model.run)]);
    arguments.overwrite.check(output, inputs)?;
    if source.manifest.is_none() {
        arguments.columns.check_unused()?;
    }
    stop_on_ctrl_c()?;
    // Path and text of each row; without a manifest, the text is empty.
    let rows: Vec<(PathBuf, String)> = match (&source.images, &source.manifest) {
        (_, Some(csv)) => arguments
            .columns
            .studies(
                csv,
                !arguments.without_texts,
                loader.max_bad_share,
                &arguments.model.run,
                RowChoice::All,
            )?
            .into_iter()
            .map(|study| (study.image, study.report.text.to_string()))
            .collect(),
        (folder, None) => {
            let folder = folder.as_ref().expect("one of the two is required");
            let images = images_below(folder)?.into_iter();
            images.map(|image| (image, String::new())).collect()
        }
    };
    let images = rows.iter().map(|(image, _)| image);
    arguments.overwrite.check(output, images)?;
    let output = arguments.features.output();
    if arguments.texts {
        build_from_texts(arguments, output, rows)
    } else {
        build_from_images(arguments, output, &rows)
    }
}

fn build_from_images(
    arguments: &Build,
    output: TowerOutput,
    rows: &[(PathBuf, String)],
) -> Result<Ending> {
    let Build { model, loader, .. } = arguments;
    let tower = model.image_tower(&model.devices()?)?;
    let description = IndexDescription {
        model: tower.identity()?,
        modality: Modality::Images,
        output,
        precision: tower.precision(),
    };
    let mut writer = IndexWriter::create(&arguments.out, description, tower.width(output))?;
    let mut bar = Bar::begin("images", rows.len());
    let paths: Vec<PathBuf> = rows.iter().map(|(path, _)| path.clone()).collect();
    let mut embedded = tower.embed_images(paths, &loader.config(), loader.max_bad_share)?;
    while let Some(batch) = embedded.next() {
        let batch = batch?;
        for (&index, row) in batch.indices.iter().zip(batch.rows(output)) {
            let (path, text) = &rows[index];
            writer.push(row, &path_text(path), text)?;
        }
        bar.show(embedded.done());
        if is_stop_requested() {
            return Ok(Ending::Interrupted);
        }
    }
    drop(bar);
    print_unreadable(&embedded.into_unreadable());
    finish(arguments, writer)
}

fn build_from_texts(
    arguments: &Build,
    output: TowerOutput,
    mut rows: Vec<(PathBuf, String)>,
) -> Result<Ending> {
    let Build { model, loader, .. } = arguments;
    let convirt = model.convirt(&model.devices()?)?;
    let mut seen = HashSet::new();
    rows.retain(|(_, text)| seen.insert(text.clone()));
    let description = IndexDescription {
        model: convirt.identity()?,
        modality: Modality::Texts,
        output,
        precision: convirt.precision(),
    };
    let mut writer = IndexWriter::create(&arguments.out, description, convirt.text_width(output))?;
    let mut bar = Bar::begin("texts", rows.len());
    let texts: Vec<&str> = rows.iter().map(|(_, text)| text.as_str()).collect();
    for batch in convirt.embed_texts(&texts, &loader.config())? {
        let batch = batch?;
        for (&index, row) in batch.indices.iter().zip(batch.rows(output)) {
            let (path, text) = &rows[index];
            writer.push(row, &path_text(path), text)?;
            bar.show(index + 1);
        }
        if is_stop_requested() {
            return Ok(Ending::Interrupted);
        }
    }
    drop(bar);
    finish(arguments, writer)
}

fn finish(arguments: &Build, writer: IndexWriter) -> Result<Ending> {
    let count = writer.finish()?;
    let out = &arguments.out;
    let document = json!({"out": path_text(out), "rows": count});
    let results = arguments.results.begin();
    results.print_as(format_args!("{}: {count} indexed", out.display()), document)?;
    Ok(Ending::Done)
}

fn search(arguments: &Search) -> Result<Ending> {
    let Search { model, query, .. } = arguments;
    let results = arguments.results.begin();
    let index = EmbeddingIndex::open(&arguments.index)?;
    let output = index.description().output;
    let devices = model.devices()?;
    let query = match (&query.image, &query.text) {
        (Some(image), _) => {
            let tower = model.image_tower(&devices)?;
            index.check_query(&tower.identity()?, Modality::Images)?;
            tower.embed_image(image, output)?
        }
        (None, text) => {
            let convirt = model.convirt(&devices)?;
            index.check_query(&convirt.identity()?, Modality::Texts)?;
            let text = text.as_deref().expect("one of the two is required");
            ensure!(
                text.contains(char::is_alphanumeric),
                "--text: it contains no letter or digit"
            );
            convirt.embed_text_as(text, output)?
        }
    };
    let mut table = "rank   score  name".to_string();
    let mut hits = Vec::new();
    for (rank, hit) in (1..).zip(index.nearest(&query, arguments.k)?) {
        let (name, text) = (index.name(hit.index)?, index.text(hit.index)?);
        write!(
            table,
            "\n{rank:>4}  {:+.3}  {}",
            hit.score,
            printable(&name)
        )?;
        if !text.is_empty() {
            let words: Vec<&str> = text.split_whitespace().collect();
            write!(table, "\n              {}", printable(words.join(" ")))?;
        }
        hits.push(json!({"rank": rank, "score": hit.score, "name": name, "text": text}));
    }
    results.print_as(table, json!({"hits": hits}))?;
    Ok(Ending::Done)
}
