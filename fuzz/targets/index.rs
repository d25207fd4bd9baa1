//! Indices of embeddings: opened, searched and listed.

#![no_main]

use convirt::retrieval::EmbeddingIndex;
use convirt_fuzz::write;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(index) = EmbeddingIndex::open(write("a.index", data)) else {
        return;
    };
    assert!(!index.is_empty());
    let query = vec![1.0; index.width()];
    let hits = index.nearest(&query, 3).unwrap_or_default();
    for number in hits.iter().map(|hit| hit.index).chain(0..index.len().min(8)) {
        assert!(number < index.len());
        let _ = index.name(number);
        let _ = index.text(number);
    }
});
