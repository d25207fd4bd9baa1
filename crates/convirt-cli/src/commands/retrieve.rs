//! `convirt retrieve`: measures retrieval of images and texts.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use convirt::data::Chexpert8x200;
use convirt::retrieval::{ChexpertRetrieval, PairRetrieval};
use convirt::run::RowChoice;

use crate::arguments::{
    LoaderArguments, ManifestArguments, ModelArguments, ResultsArguments, print_unreadable,
};
use crate::program::{Bar, Ending};

/// Measure how well a model retrieves images and texts
#[derive(Subcommand)]
#[command(after_help = "Examples:
  convirt retrieve pairs --run RUN --manifest pairs.csv
  convirt retrieve pairs --run RUN --manifest pairs.csv --split train
  convirt retrieve chexpert --run RUN --lists convirt --images DIR

Of a manifest whose images the run knows, the rows that it held out are used, unless --split chooses
others.")]
pub enum Task {
    /// Measure retrieval among the pairs of a manifest, compared with chance
    Pairs(Pairs),
    /// Measure retrieval on CheXpert 8×200, as the paper does
    Chexpert(Chexpert),
}

#[derive(Args)]
#[command(after_help = "Examples:
  convirt retrieve pairs --run RUN --manifest pairs.csv
  convirt retrieve pairs --run RUN --manifest pairs.csv --split train")]
pub struct Pairs {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    /// CSV of images and texts
    #[arg(long, alias = "csv", value_name = "CSV")]
    manifest: PathBuf,

    #[command(flatten)]
    columns: ManifestArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

#[derive(Args)]
#[command(after_help = "Examples:
  convirt retrieve chexpert --run RUN --lists convirt --images DIR")]
pub struct Chexpert {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    loader: LoaderArguments,

    /// Folder with image-retrieval/ and text-retrieval/, from github.com/yuhaozhang/convirt
    #[arg(long, value_name = "DIR")]
    lists: PathBuf,

    /// Folder of CheXpert, which contains CheXpert-v1.0-small/
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(task: &Task) -> Result<Ending> {
    match task {
        Task::Pairs(arguments) => pairs(arguments),
        Task::Chexpert(arguments) => chexpert(arguments),
    }
}

fn pairs(arguments: &Pairs) -> Result<Ending> {
    let Pairs {
        model,
        loader,
        columns,
        manifest,
        results,
    } = arguments;
    let results = results.begin();
    let held_out = RowChoice::HeldOut;
    let studies = columns.studies(manifest, true, loader.max_bad_share, &model.run, held_out)?;
    let convirt = model.convirt(&model.devices()?)?;
    let mut bar = Bar::begin("images", studies.len());
    let (retrieval, unreadable) = PairRetrieval::evaluate(
        &convirt,
        &studies,
        &loader.config(),
        loader.max_bad_share,
        |done, images| bar.show_of(done, images),
    )?;
    drop(bar);
    print_unreadable(&unreadable);
    results.print_as(retrieval.to_string().trim_end(), &retrieval)?;
    Ok(Ending::Done)
}

fn chexpert(arguments: &Chexpert) -> Result<Ending> {
    let Chexpert {
        model,
        loader,
        lists,
        images,
        results,
    } = arguments;
    let results = results.begin();
    let set = Chexpert8x200::read(lists, images, loader.max_bad_share)?;
    let devices = model.devices()?;
    let tower = model.image_tower(&devices)?;
    let convirt = (tower.objective().reads_texts())
        .then(|| model.convirt(&devices))
        .transpose()?;
    let mut bar = Bar::begin("images", set.image_queries.len() + set.candidates.len());
    let (retrieval, unreadable) = ChexpertRetrieval::evaluate(
        &set,
        &tower,
        convirt.as_ref(),
        &loader.config(),
        loader.max_bad_share,
        |done, _| bar.show(done),
    )?;
    drop(bar);
    print_unreadable(&unreadable);
    results.print_as(retrieval.to_string().trim_end(), &retrieval)?;
    Ok(Ending::Done)
}
