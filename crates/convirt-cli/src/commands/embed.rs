//! `convirt embed`: writes embeddings of images or texts for other programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use convirt::data::{decode_text, path_text, read_regular};
use convirt::inference::EmbeddingFile;
use convirt::run::RowChoice;
use log::warn;
use serde_json::json;

use crate::arguments::{
    FeaturesArgument, LoaderArguments, ManifestArguments, ModelArguments, Output,
    OverwriteArguments, ResultsArguments, images_below, print_unreadable, run_folder,
};
use crate::program::{Bar, Ending, is_stop_requested, stop_on_ctrl_c};

/// Maximum size of a file of sentences, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Maximum size of a sentence, in bytes, the same as for a text in a table.
const MAX_SENTENCE_BYTES: usize = 1 << 20;

/// Write embeddings of images or texts, with their names, as safetensors or NumPy
#[derive(Args)]
#[command(after_help = "Examples:
  convirt embed --run runs/2026-01-16_02-27-36_phantom --images DIR --out images.npy
  convirt embed --run RUN --manifest pairs.csv --out images.safetensors --features
  convirt embed --run RUN --manifest pairs.csv --texts --out texts.npy
  convirt embed --run RUN --sentences sentences.txt --out sentences.npy

  NumPy:        numpy.load('images.npy'); the names are in images.names.csv
  safetensors:  tensor `embeddings`; json.loads(safe_open(...).metadata()['names'])

Of a manifest whose images the run knows, the rows that it held out are embedded, unless --split chooses
others. Ctrl-C leaves no incomplete file.")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    #[command(flatten)]
    source: Source,

    /// Embed the texts of the manifest instead of its images
    #[arg(long, conflicts_with_all = ["images", "sentences"])]
    texts: bool,

    /// File to write, .safetensors or .npy
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    overwrite: OverwriteArguments,

    #[command(flatten)]
    features: FeaturesArgument,

    #[command(flatten)]
    columns: ManifestArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

/// What to embed.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Folder of images (JPEG, PNG, DICOM), with its subfolders
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// CSV of images and texts
    #[arg(long, alias = "csv", value_name = "CSV")]
    manifest: Option<PathBuf>,

    /// Text file with a sentence on each line
    #[arg(long, value_name = "FILE")]
    sentences: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    arguments.results.begin();
    EmbeddingFile::check_path(&arguments.out)?;
    let Arguments {
        loader,
        columns,
        source,
        ..
    } = arguments;
    if source.manifest.is_none() {
        columns.check_unused()?;
    }
    let run = arguments.model.run.as_path();
    let tables = source.manifest.iter().chain(&source.sentences);
    check_outputs(arguments, tables.cloned().chain([run_folder(run)]))?;
    let held_out = RowChoice::HeldOut;
    let studies = |csv, texts| columns.studies(csv, texts, loader.max_bad_share, run, held_out);
    stop_on_ctrl_c()?;
    match (&source.images, &source.manifest, &source.sentences) {
        (Some(folder), ..) => embed_images(arguments, images_below(folder)?),
        (_, Some(csv), _) if arguments.texts => {
            let studies = studies(csv, true)?;
            let names = names(studies.iter().map(|study| &study.image));
            let texts: Vec<&str> = studies.iter().map(|study| &*study.report.text).collect();
            embed_texts(arguments, names, &texts)
        }
        (_, Some(csv), _) => {
            let studies = studies(csv, false)?.into_iter();
            embed_images(arguments, studies.map(|study| study.image).collect())
        }
        (.., sentences) => {
            let path = sentences.as_ref().expect("one of the three is required");
            let sentences = lines(path)?;
            let has_no_words = |line: &&String| !line.contains(char::is_alphanumeric);
            if let Some(first) = sentences.iter().find(has_no_words) {
                let count = sentences.iter().filter(has_no_words).count();
                warn!(
                    "{}: {count} lines without a letter or digit, such as `{first}`: their \
                     embeddings mean nothing",
                    path.display()
                );
            }
            embed_texts(arguments, sentences.clone(), &sentences)
        }
    }
}

/// Checks that the files to write are none of the inputs, and do not exist without `--force`.
fn check_outputs(
    arguments: &Arguments,
    inputs: impl IntoIterator<Item: AsRef<Path>> + Clone,
) -> Result<()> {
    let names = EmbeddingFile::names_path(&arguments.out);
    for output in [&arguments.out].into_iter().chain(&names) {
        let output = Output::File(output);
        arguments.overwrite.check(output, inputs.clone())?;
    }
    Ok(())
}

fn embed_images(arguments: &Arguments, paths: Vec<PathBuf>) -> Result<Ending> {
    check_outputs(arguments, &paths)?;
    let (model, loader, output) = (
        &arguments.model,
        &arguments.loader,
        arguments.features.output(),
    );
    let tower = model.image_tower(&model.devices()?)?;
    let names = names(paths.iter());
    let mut file = EmbeddingFile::create(&arguments.out, tower.width(output), names)?;
    let mut bar = Bar::begin("images", paths.len());
    let mut embedded = tower.embed_images(paths, &loader.config(), loader.max_bad_share)?;
    while let Some(batch) = embedded.next() {
        let batch = batch?;
        for (&index, row) in batch.indices.iter().zip(batch.rows(output)) {
            file.push(index, row)?;
        }
        bar.show(embedded.done());
        if is_stop_requested() {
            return Ok(Ending::Interrupted);
        }
    }
    drop(bar);
    print_unreadable(&embedded.into_unreadable());
    finish(arguments, file, tower.width(output))
}

fn embed_texts<T: AsRef<str> + Sync>(
    arguments: &Arguments,
    names: Vec<String>,
    texts: &[T],
) -> Result<Ending> {
    let (model, loader, output) = (
        &arguments.model,
        &arguments.loader,
        arguments.features.output(),
    );
    let convirt = model.convirt(&model.devices()?)?;
    let width = convirt.text_width(output);
    let mut file = EmbeddingFile::create(&arguments.out, width, names)?;
    let mut bar = Bar::begin("texts", texts.len());
    let mut embedded = convirt.embed_texts(texts, &loader.config())?;
    while let Some(batch) = embedded.next() {
        let batch = batch?;
        for (&index, row) in batch.indices.iter().zip(batch.rows(output)) {
            file.push(index, row)?;
        }
        bar.show(embedded.done());
        if is_stop_requested() {
            return Ok(Ending::Interrupted);
        }
    }
    drop(bar);
    finish(arguments, file, width)
}

fn finish(arguments: &Arguments, file: EmbeddingFile, width: usize) -> Result<Ending> {
    let rows = file.finish()?;
    let out = &arguments.out;
    let document = json!({"out": path_text(out), "rows": rows, "width": width});
    let results = arguments.results.begin();
    results.print_as(
        format_args!("{}: {rows} × {width}", out.display()),
        document,
    )?;
    Ok(Ending::Done)
}

fn names<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    paths.map(|path| path_text(path).into_owned()).collect()
}

/// Reads the lines of a text file that are not blank.
fn lines(path: &Path) -> Result<Vec<String>> {
    let unreadable = || format!("{}: cannot be read as text", path.display());
    let bytes = read_regular(path, MAX_FILE_BYTES).with_context(unreadable)?;
    let text = decode_text(bytes).with_context(unreadable)?;
    // Old Macintosh files end their lines in a carriage return alone.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for (number, line) in (1..).zip(text.lines()) {
        let bytes = line.len();
        ensure!(
            bytes <= MAX_SENTENCE_BYTES,
            "{}: line {number} has {bytes} bytes; a text has at most {MAX_SENTENCE_BYTES}",
            path.display()
        );
    }
    // Files that were put together have a byte order mark in the middle too.
    let is_margin = |c: char| c.is_whitespace() || c == '\u{feff}';
    let lines = text.lines().map(|line| line.trim_matches(is_margin));
    let lines = lines.filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(String::from).collect();
    ensure!(!lines.is_empty(), "{}: no text in it", path.display());
    Ok(lines)
}
