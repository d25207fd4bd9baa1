//! How many pairs a second do decoding, augmentation and tokenizing give? What feeds the device.

use std::hint::black_box;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use convirt::data::{
    AugmentationConfig, Column, ImageStore, ImageStoreConfig, ImageTextDataset, ImageView,
    LoaderConfig, Manifest, ManifestConfig, ReportTokenizer, SampleConfig, TextView, Texts,
    TrainingLoader, TrainingSteps,
};
use convirt::phantom::PhantomConfig;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 224;
const BATCH: usize = 32;

fn pairs(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("phantom");
    let phantom = PhantomConfig {
        patients: 40,
        ..PhantomConfig::default()
    };
    phantom
        .write(&data, |_, _| ())
        .expect("the phantom can be written");
    let manifest = Manifest::read(&ManifestConfig {
        text_from_files: true,
        image: Column::Name("image".to_string()),
        text: Some(Column::Name("text".to_string())),
        ..ManifestConfig::new(data.join("pairs.csv"))
    })
    .expect("the phantom is a valid data set");
    let texts = manifest.studies.iter().map(|study| &*study.report.text);
    let tokenizer = ReportTokenizer::train(texts, 1_000, true).expect("there are texts");
    let (tokenizer, skips) = (Arc::new(tokenizer), Arc::new(manifest.skips));
    let dataset = |cache_mb| {
        let augmentation = AugmentationConfig::default().init(SIZE);
        ImageTextDataset::new(
            manifest.studies.clone(),
            ImageStore::new(ImageStoreConfig {
                cache_mb,
                ..ImageStoreConfig::default()
            })
            .expect("no folder is opened"),
            SampleConfig {
                image: ImageView::Augmented(augmentation.expect("the defaults are valid")),
                views: 1,
                texts: Some(Texts {
                    tokenizer: tokenizer.clone(),
                    view: TextView::RandomSentence,
                    max_tokens: 128,
                }),
                seed: 0,
            },
            skips.clone(),
        )
    };

    let mut group = criterion.benchmark_group("pairs");
    group.throughput(Throughput::Elements(1));
    for (name, cache_mb) in [
        ("one_thread_from_disk", 0),
        ("one_thread_from_memory", 1024),
    ] {
        let dataset = dataset(cache_mb);
        let mut index = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                index = (index + 1) % dataset.len();
                black_box(
                    dataset
                        .sample(1, index)
                        .expect("phantom images are readable"),
                )
            });
        });
    }

    let device = convirt::device(None).expect("a backend is compiled in");
    group.throughput(Throughput::Elements(BATCH as u64));
    for num_workers in [0, 2] {
        let config = LoaderConfig {
            batch_size: BATCH,
            num_workers,
            ..LoaderConfig::default()
        };
        let steps = TrainingSteps {
            window: 1_000_000,
            total: 1_000_000,
        };
        let loader = TrainingLoader::new(Arc::new(dataset(1024)), &config, steps, &device)
            .expect("the phantom fills a batch");
        let mut batches = loader.iter();
        group.bench_function(BenchmarkId::new("loader_workers", num_workers), |bencher| {
            bencher.iter(|| black_box(batches.next()));
        });
    }
}

criterion_group!(benches, pairs);
criterion_main!(benches);
