//! How many pairs a second does a whole training step take: both towers, loss, gradients, Adam?

use std::hint::black_box;

use burn::optim::{AdamConfig, ModuleOptimizer};
use burn::tensor::{Bool, Device, Distribution, Int, Tensor};
use burn::train::TrainStep;
use convirt::ContrastiveTask;
use convirt::data::{ImageTextBatch, TextBatch};
use convirt::model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn batch(pairs: usize, side: usize, tokens: usize, device: &Device) -> ImageTextBatch {
    ImageTextBatch {
        images: Tensor::random(
            [pairs, 3, side, side],
            Distribution::Normal(0.0, 1.0),
            device,
        ),
        texts: Some(TextBatch {
            input_ids: Tensor::<2, Int>::ones([pairs, tokens], device),
            attention_mask: Tensor::<2, Bool>::full([pairs, tokens], true, device),
            token_type_ids: Tensor::<2, Int>::zeros([pairs, tokens], device),
            text_ids: Tensor::<1, Int>::arange(0..pairs as i64, device),
        }),
        indices: (0..pairs).collect(),
    }
}

fn training_step(criterion: &mut Criterion) {
    let device = convirt::device(None)
        .expect("a backend is compiled in")
        .autodiff();
    let small = BertConfig {
        hidden_size: 192,
        num_hidden_layers: 3,
        num_attention_heads: 3,
        intermediate_size: 768,
        ..BertConfig::base(2_000)
    };
    let paper = ConVirtConfig {
        freeze_embeddings: true,
        freeze_layers: (0..6).collect(),
        ..ConVirtConfig::new(
            ResNetConfig::new(ResNetDepth::ResNet50),
            BertConfig::base(28_996),
        )
    };
    let phantom = ConVirtConfig {
        d_embedding: 128,
        ..ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet18), small)
    };
    let cases = [
        (
            "phantom_resnet18_96px_32_tokens",
            phantom,
            batch(32, 96, 32, &device),
        ),
        (
            "paper_resnet50_bert_base_224px_32_tokens",
            paper,
            batch(8, 224, 32, &device),
        ),
    ];

    let mut group = criterion.benchmark_group("training_step");
    group.sample_size(10);
    for (name, config, batch) in cases {
        let network = config.init(&device).expect("the configuration is valid");
        let mut task = Some(ContrastiveTask {
            network,
            gradient_clip_norm: None,
        });
        let mut optimizer: ModuleOptimizer = AdamConfig::new().with_epsilon(1e-8).init();
        let pairs = batch.indices.len();
        group.throughput(Throughput::Elements(pairs as u64));
        group.bench_function(BenchmarkId::new(name, pairs), |bencher| {
            bencher.iter(|| {
                let current = task.take().expect("put back below");
                let output = TrainStep::step(&current, batch.clone());
                task = Some(current.optimize(&mut optimizer, 1e-4.into(), output.grads));
                black_box(device.sync())
            });
        });
    }
}

criterion_group!(benches, training_step);
criterion_main!(benches);
