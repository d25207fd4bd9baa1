//! How long is the contrastive loss with its gradient, by batch size? In pairs a second.

use std::hint::black_box;

use burn::tensor::{Distribution, Tensor};
use convirt::model::ContrastiveLossConfig;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn loss(criterion: &mut Criterion) {
    let device = convirt::device(None)
        .expect("a backend is compiled in")
        .autodiff();
    let loss = ContrastiveLossConfig::default()
        .init(&device)
        .expect("the defaults are valid");
    let mut group = criterion.benchmark_group("contrastive_loss");
    for batch in [32, 256, 1024] {
        let embeddings = || {
            let shape = [batch, 512];
            Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
        };
        let (images, texts) = (embeddings(), embeddings());
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let output = loss.forward(images.clone(), texts.clone(), None);
                let gradients = output.loss.backward();
                black_box(images.grad(&gradients).map(Tensor::into_data))
            });
        });
    }
}

criterion_group!(benches, loss);
criterion_main!(benches);
