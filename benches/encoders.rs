//! How many images and texts a second does each encoder take, forward only? What an embedding
//! of a data set costs.

use std::hint::black_box;

use burn::module::Module;
use burn::tensor::{Bool, Distribution, Int, Tensor};
use convirt::model::{BertConfig, ResNetConfig, ResNetDepth, TextInput};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 8;

fn image_encoders(criterion: &mut Criterion) {
    let device = convirt::device(None).expect("a backend is compiled in");
    let mut group = criterion.benchmark_group("image_encoder");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    for depth in [ResNetDepth::ResNet18, ResNetDepth::ResNet50] {
        let encoder = ResNetConfig::new(depth).init(&device).valid();
        let images = Tensor::<4>::random(
            [BATCH, 3, 224, 224],
            Distribution::Normal(0.0, 1.0),
            &device,
        );
        group.bench_function(
            BenchmarkId::from_parameter(format!("{depth:?}")),
            |bencher| {
                bencher.iter(|| black_box(encoder.forward(images.clone()).into_data()));
            },
        );
    }
}

fn text_encoders(criterion: &mut Criterion) {
    let device = convirt::device(None).expect("a backend is compiled in");
    let mut group = criterion.benchmark_group("text_encoder");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    let encoder = BertConfig::base(30_522)
        .init(&device)
        .expect("BERT-base is valid")
        .valid();
    for tokens in [32, 128] {
        let shape = [BATCH, tokens];
        let texts = TextInput {
            input_ids: Tensor::<2, Int>::ones(shape, &device),
            attention_mask: Tensor::<2, Bool>::full(shape, true, &device),
            token_type_ids: None,
        };
        let name = BenchmarkId::new("bert_base", format!("{tokens}_tokens"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let state = encoder.forward_to(texts.clone(), encoder.layers.len());
                black_box(state.into_data())
            });
        });
    }
}

criterion_group!(benches, image_encoders, text_encoders);
criterion_main!(benches);
