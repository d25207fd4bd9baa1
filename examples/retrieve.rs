//! Finds images and texts by images and texts: `cargo run --release --example retrieve -- --help`.

#[path = "embed/arguments.rs"]
mod arguments;
#[path = "terminal/bar.rs"]
mod bar;
#[path = "compute/arguments.rs"]
mod compute;
#[path = "program/fresh.rs"]
mod fresh;
#[path = "program/program.rs"]
mod program;
#[path = "embed/stop.rs"]
mod stop;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use arguments::{LoaderArguments, ManifestArguments, ModelArguments};
use bar::Bar;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use convirt::data::{Chexpert8x200, Split, path_text, printable};
use convirt::{
    ChexpertRetrieval, Config, EmbeddingIndex, IndexDescription, IndexWriter, Modality, Objective,
    PairRetrieval, TowerOutput,
};
use fresh::FreshArguments;
use program::{Ending, print, tell};

/// Finds images and texts by images and texts, and tells how well.
#[derive(Parser)]
#[command(after_help = "Examples:
  retrieve build --run RUN --images DIR --out chest.index
  retrieve search chest.index --run RUN --text \"Small left pleural effusion.\"
  retrieve search chest.index --run RUN --image chest.png -k 20
  retrieve evaluate --run RUN --manifest pairs.csv --split-col split --split valid
  retrieve chexpert-8x200 --run RUN --lists convirt --images DIR

With --features an index compares the encoder's outputs, which is how the paper finds images by an
image; without, it compares projections, by which images are found by texts and texts by images.")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Embed images or texts once, into an index
    Build(Build),
    /// List what in an index is most similar to an image or a text
    Search(Search),
    /// Measure retrieval among the pairs of a manifest, beside chance
    Evaluate(Evaluate),
    /// Measure retrieval on CheXpert 8×200, as the paper does
    #[command(name = "chexpert-8x200")]
    Chexpert8x200(Chexpert),
}

#[derive(Args)]
struct Build {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    #[command(flatten)]
    of: Of,

    /// Index the distinct texts of the manifest instead of its images
    #[arg(long, conflicts_with = "images")]
    texts: bool,

    /// The manifest has no texts to show beside its images
    #[arg(long, conflicts_with_all = ["texts", "images"])]
    without_texts: bool,

    /// Index the encoder's outputs instead of their projections into the shared space
    #[arg(long)]
    features: bool,

    /// Index to write
    #[arg(long, value_name = "INDEX")]
    out: PathBuf,

    #[command(flatten)]
    fresh: FreshArguments,

    #[command(flatten)]
    columns: ManifestArguments,
}

/// What to index.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// Folder of images (JPEG, PNG, DICOM), with those below it
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// CSV of images and texts
    #[arg(long, value_name = "CSV")]
    manifest: Option<PathBuf>,
}

#[derive(Args)]
struct Search {
    /// Index to search
    index: PathBuf,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    query: Query,

    /// Number of answers
    #[arg(short, default_value = "10", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    k: usize,
}

/// What to look for.
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

#[derive(Args)]
struct Evaluate {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    /// CSV of images and texts
    #[arg(long, value_name = "CSV")]
    manifest: PathBuf,

    #[command(flatten)]
    columns: ManifestArguments,
}

#[derive(Args)]
struct Chexpert {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    /// Folder with image-retrieval/ and text-retrieval/, from github.com/yuhaozhang/convirt
    #[arg(long, value_name = "DIR")]
    lists: PathBuf,

    /// Folder that CheXpert was unpacked into, with CheXpert-v1.0-small/
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
}

fn main() -> ExitCode {
    program::run(|| match Arguments::parse().task {
        Task::Build(arguments) => build(&arguments),
        Task::Search(arguments) => search(&arguments),
        Task::Evaluate(arguments) => evaluate(&arguments),
        Task::Chexpert8x200(arguments) => chexpert(&arguments),
    })
}

fn build(arguments: &Build) -> Result<Ending> {
    let Build { loader, of, .. } = arguments;
    arguments.fresh.check(&arguments.out)?;
    if of.manifest.is_none() {
        arguments.columns.check_unused()?;
    }
    stop::on_ctrl_c()?;
    let output = arguments::output(arguments.features);
    // Name and text of each row; without a manifest there are no texts.
    let rows: Vec<(PathBuf, String)> = match (&of.images, &of.manifest) {
        (_, Some(csv)) => arguments
            .columns
            .studies(csv, !arguments.without_texts, loader.max_bad_share)?
            .into_iter()
            .map(|study| (study.image, study.report.text.to_string()))
            .collect(),
        (folder, None) => {
            let folder = folder.as_ref().expect("one of the two is required");
            let images = arguments::images_in(folder)?.into_iter();
            images.map(|image| (image, String::new())).collect()
        }
    };
    match arguments.texts {
        true => build_of_texts(arguments, output, rows),
        false => build_of_images(arguments, output, &rows),
    }
}

fn build_of_images(
    arguments: &Build,
    output: TowerOutput,
    rows: &[(PathBuf, String)],
) -> Result<Ending> {
    let Build { model, loader, .. } = arguments;
    let tower = model.image_tower(&model.device()?)?;
    let description = IndexDescription {
        model: tower.identity()?,
        modality: Modality::Images,
        output,
        precision: tower.precision(),
    };
    let mut index = IndexWriter::create(&arguments.out, description, tower.width(output))?;
    let mut bar = Bar::begin("images", rows.len());
    let paths: Vec<PathBuf> = rows.iter().map(|(path, _)| path.clone()).collect();
    let mut embedded = tower.embed_images(paths, &loader.config(), loader.max_bad_share)?;
    while let Some(batch) = embedded.next() {
        let batch = batch?;
        for (&place, row) in batch.indices.iter().zip(batch.rows(output)) {
            let (path, text) = &rows[place];
            index.push(row, &path_text(path), text)?;
        }
        bar.show(embedded.done());
        if stop::is_asked() {
            return Ok(Ending::Interrupted);
        }
    }
    drop(bar);
    arguments::tell_unreadable(&embedded.into_unreadable());
    finish(arguments, index)
}

fn build_of_texts(
    arguments: &Build,
    output: TowerOutput,
    mut rows: Vec<(PathBuf, String)>,
) -> Result<Ending> {
    let Build { model, loader, .. } = arguments;
    let convirt = model.convirt(&model.device()?)?;
    let mut seen = HashSet::new();
    rows.retain(|(_, text)| seen.insert(text.clone()));
    let description = IndexDescription {
        model: convirt.identity()?,
        modality: Modality::Texts,
        output,
        precision: convirt.precision(),
    };
    let mut index = IndexWriter::create(&arguments.out, description, convirt.text_width(output))?;
    let mut bar = Bar::begin("texts", rows.len());
    let texts: Vec<&str> = rows.iter().map(|(_, text)| text.as_str()).collect();
    for batch in convirt.embed_texts(&texts, &loader.config())? {
        let batch = batch?;
        for (&place, row) in batch.indices.iter().zip(batch.rows(output)) {
            let (path, text) = &rows[place];
            index.push(row, &path_text(path), text)?;
            bar.show(place + 1);
        }
        if stop::is_asked() {
            return Ok(Ending::Interrupted);
        }
    }
    drop(bar);
    finish(arguments, index)
}

fn finish(arguments: &Build, index: IndexWriter) -> Result<Ending> {
    let count = index.finish()?;
    print(format_args!("{}: {count} indexed", arguments.out.display()));
    Ok(Ending::Done)
}

fn search(arguments: &Search) -> Result<Ending> {
    let Search { model, query, .. } = arguments;
    let index = EmbeddingIndex::open(&arguments.index)?;
    let output = index.description().output;
    let device = model.device()?;
    let query = match (&query.image, &query.text) {
        (Some(image), _) => {
            let tower = model.image_tower(&device)?;
            index.check_query(&tower.identity()?, Modality::Images)?;
            tower.embed_image(image, output)?
        }
        (None, text) => {
            let convirt = model.convirt(&device)?;
            index.check_query(&convirt.identity()?, Modality::Texts)?;
            let text = text.as_deref().expect("one of the two is required");
            ensure!(
                text.contains(char::is_alphanumeric),
                "--text: there is no letter or digit in it to look for"
            );
            convirt.embed_text_as(text, output)?
        }
    };
    print("rank   score  name");
    for (rank, hit) in index.nearest(&query, arguments.k)?.into_iter().enumerate() {
        let name = printable(index.name(hit.index)?);
        print(format_args!("{:>4}  {:+.3}  {name}", rank + 1, hit.score));
        let text = index.text(hit.index)?;
        if !text.is_empty() {
            let words: Vec<&str> = text.split_whitespace().collect();
            print(format_args!("              {}", printable(words.join(" "))));
        }
    }
    Ok(Ending::Done)
}

fn evaluate(arguments: &Evaluate) -> Result<Ending> {
    let Evaluate {
        model,
        loader,
        columns,
        manifest,
    } = arguments;
    let studies = columns.studies(manifest, true, loader.max_bad_share)?;
    let has_trained_rows = matches!(columns.split, None | Some(Split::Train));
    if has_trained_rows && was_trained_on(&model.run, manifest) {
        tell(format_args!(
            "warning: the run was trained on rows of {}, which are among these; choose those held \
             out by --split-col and --split",
            manifest.display()
        ));
    }
    let convirt = model.convirt(&model.device()?)?;
    let mut bar = Bar::begin("images", studies.len());
    let (retrieval, unreadable) = PairRetrieval::of(
        &convirt,
        &studies,
        &loader.config(),
        loader.max_bad_share,
        |done, images| bar.show_of(done, images),
    )?;
    drop(bar);
    arguments::tell_unreadable(&unreadable);
    print(retrieval.to_string().trim_end());
    Ok(Ending::Done)
}

/// Whether the run's own configuration names this manifest.
fn was_trained_on(run: &Path, manifest: &Path) -> bool {
    let config = Config::from_file(run.join("config.yaml"), &[]);
    let csv = config.map(|config| config.dataset.csv_file);
    let is_same = |csv: PathBuf| Some(csv.canonicalize().ok()? == manifest.canonicalize().ok()?);
    csv.ok().and_then(is_same).unwrap_or(false)
}

fn chexpert(arguments: &Chexpert) -> Result<Ending> {
    let Chexpert {
        model,
        loader,
        lists,
        images,
    } = arguments;
    let set = Chexpert8x200::read(lists, images, loader.max_bad_share)?;
    let device = model.device()?;
    let tower = model.image_tower(&device)?;
    let convirt = match tower.objective() {
        Objective::ConVirt => Some(model.convirt(&device)?),
        Objective::SimClr => None,
    };
    let mut bar = Bar::begin("images", set.image_queries.len() + set.candidates.len());
    let (retrieval, unreadable) = ChexpertRetrieval::of(
        &set,
        &tower,
        convirt.as_ref(),
        &loader.config(),
        loader.max_bad_share,
        |done, _| bar.show(done),
    )?;
    drop(bar);
    arguments::tell_unreadable(&unreadable);
    print(retrieval.to_string().trim_end());
    Ok(Ending::Done)
}
