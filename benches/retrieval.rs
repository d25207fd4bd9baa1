//! How long does a query to an index of a million embeddings take, and one of many at once?

use std::hint::black_box;

use convirt::compute::Precision;
use convirt::inference::{ModelIdentity, TowerOutput};
use convirt::retrieval::{EmbeddingIndex, IndexDescription, IndexWriter, Modality};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const EMBEDDINGS: usize = 1_000_000;
const WIDTH: usize = 512;
const ANSWERS: usize = 10;

/// Numbers from −1 to 1 in no order: SplitMix64.
fn numbers(mut state: u64) -> impl FnMut() -> Vec<f32> {
    let mut number = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    move || (0..WIDTH).map(|_| number()).collect()
}

fn retrieval(criterion: &mut Criterion) {
    // 1.1 GB, beside the build and not in a temporary folder that may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let path = folder.path().join("random.index");
    let description = IndexDescription {
        model: ModelIdentity {
            name: "random".to_string(),
            checksum: 0,
        },
        modality: Modality::Images,
        output: TowerOutput::Embedding,
        precision: Precision::Float32,
    };
    let mut writer = IndexWriter::create(&path, description, WIDTH).expect("a file");
    let mut row = numbers(0);
    for place in 0..EMBEDDINGS {
        let name = format!("images/{place}.png");
        writer.push(&row(), &name, "").expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    let index = EmbeddingIndex::open(&path).expect("an index");
    println!("{EMBEDDINGS} embeddings of width {WIDTH}");

    let mut query = numbers(1);
    let mut group = criterion.benchmark_group("retrieval");
    group.sample_size(20);
    let one = query();
    group.bench_function("one_query", |bencher| {
        bencher.iter(|| black_box(index.nearest(&one, ANSWERS).expect("an index")));
    });
    let device = convirt::device(None).expect("a backend is compiled in");
    group.sample_size(10);
    for count in [16, 256] {
        let queries: Vec<_> = (0..count).map(|_| query()).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("queries_at_once", count), |bencher| {
            bencher.iter(|| {
                let found = index.nearest_to_each(&queries, ANSWERS, &device);
                black_box(found.expect("an index"))
            });
        });
    }
}

criterion_group!(benches, retrieval);
criterion_main!(benches);
