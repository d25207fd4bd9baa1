//! Exact nearest-neighbour search in an index.

use std::cmp::Ordering;
use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::EmbeddingIndex;
use super::error::IndexError;
use super::format::HALF;
use crate::error::Error;
use crate::inference::{InferenceError, similarity, unit};

/// Bytes that a thread reads at a time, few enough to stay in its cache.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes of float32 embeddings that are copied to the device at a time.
const DEVICE_BLOCK_BYTES: usize = 8 << 20;

/// Largest score of a valid embedding: a cosine of 1, plus the rounding error of any device.
const MAX_SCORE: f32 = 1.01;

/// Number of queries that are searched for together.
const QUERY_BATCH: usize = 1 << 10;

/// A search result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Position of the embedding in the index.
    pub index: usize,
    /// Cosine similarity of the embedding to the query.
    pub score: f32,
}

impl EmbeddingIndex {
    /// Finds the `k` embeddings most similar to the query, the most similar first.
    ///
    /// Equally similar embeddings are in the order of the index. The similarity is computed in
    /// float32, on all cores, from the float16 numbers of the index.
    ///
    /// # Errors
    ///
    /// [`IndexError::OtherWidth`] for a query that does not have [`width`](Self::width) numbers,
    /// [`InferenceError::NotFinite`] when one is NaN or infinite, `FileError::Read` and
    /// [`IndexError::NotAnIndex`] when the file has changed since it was opened.
    pub fn nearest(&self, query: &[f32], k: usize) -> Result<Vec<Hit>, Error> {
        let query = self.unit_query(query)?;
        let rows = (BLOCK_BYTES / (self.width() * HALF)).max(1);
        let nearest = (0..self.len().div_ceil(rows))
            .into_par_iter()
            .try_fold(
                || (Nearest::new(k), Vec::new(), vec![0.0; self.width()]),
                |(mut nearest, mut halves, mut row), block| {
                    let block = block * rows..((block + 1) * rows).min(self.len());
                    self.read_halves(&block, &mut halves)?;
                    for (index, halves) in block.zip(halves.chunks_exact(self.width())) {
                        halves.convert_to_f32_slice(&mut row);
                        nearest.offer(self.hit(index, similarity(&query, &row))?);
                    }
                    Ok::<_, Error>((nearest, halves, row))
                },
            )
            .map(|done| done.map(|(nearest, ..)| nearest))
            .try_reduce(|| Nearest::new(k), |one, other| Ok(one.merge(other)))?;
        self.check_norms(nearest.into_hits())
    }

    /// Finds the `k` embeddings most similar to each query, with the same result as
    /// [`nearest`](Self::nearest).
    ///
    /// It computes matrix products on a device and reads the index only once for every 1,024
    /// queries. A device may round within a product (CUDA to 10 bits), so that the 4 · k + 64 best
    /// candidates are scored again as `nearest` does.
    ///
    /// # Errors
    ///
    /// As [`nearest`](Self::nearest).
    pub fn nearest_to_each(
        &self,
        queries: &[Vec<f32>],
        k: usize,
        device: &Device,
    ) -> Result<Vec<Vec<Hit>>, Error> {
        let units = queries.iter().map(|query| self.unit_query(query));
        let units: Vec<Vec<f32>> = units.collect::<Result<_, _>>()?;
        let mut hits = Vec::with_capacity(queries.len());
        for queries in units.chunks(QUERY_BATCH) {
            let nearest = self.nearest_by_matmul(queries, k.saturating_mul(4) + 64, device)?;
            let rescored = queries
                .par_iter()
                .zip(nearest)
                .map(|(query, nearest)| self.rescore(query, nearest, k));
            hits.extend(rescored.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(hits)
    }

    fn nearest_by_matmul(
        &self,
        queries: &[Vec<f32>],
        k: usize,
        device: &Device,
    ) -> Result<Vec<Nearest>, Error> {
        let to_device = |rows: Vec<f32>| -> Tensor<2> {
            let shape = [rows.len() / self.width(), self.width()];
            Tensor::from_data(TensorData::new(rows, shape), device)
        };
        let device_queries = to_device(queries.concat());
        let mut nearest: Vec<Nearest> = queries.iter().map(|_| Nearest::new(k)).collect();
        let block = (DEVICE_BLOCK_BYTES / (self.width() * size_of::<f32>())).max(1);
        for start in (0..self.len()).step_by(block) {
            let rows = start..(start + block).min(self.len());
            let candidates = to_device(self.read_rows(&rows)?).transpose();
            let scores = device_queries.clone().matmul(candidates).into_data();
            let scores: Vec<f32> = scores.try_into_vec_as().expect("scores are numbers");
            nearest
                .par_iter_mut()
                .zip(scores.par_chunks_exact(rows.len()))
                .try_for_each(|(nearest, scores)| -> Result<(), Error> {
                    for (index, score) in rows.clone().zip(scores) {
                        nearest.offer(self.hit(index, *score)?);
                    }
                    Ok(())
                })?;
        }
        Ok(nearest)
    }

    /// Scores the candidates again with the CPU's precision and keeps the best `k`.
    fn rescore(&self, query: &[f32], nearest: Nearest, k: usize) -> Result<Vec<Hit>, Error> {
        let mut rescored = Nearest::new(k);
        for Hit { index, .. } in nearest.into_hits() {
            let row = self.read_rows(&(index..index + 1))?;
            rescored.offer(self.hit(index, similarity(query, &row))?);
        }
        self.check_norms(rescored.into_hits())
    }

    /// Checks that the embeddings found have norm 1 or 0: a longer one would match every query.
    fn check_norms(&self, hits: Vec<Hit>) -> Result<Vec<Hit>, Error> {
        for &Hit { index, .. } in &hits {
            let row = self.read_rows(&(index..index + 1))?;
            let square = similarity(&row, &row);
            if square != 0.0 && (square - 1.0).abs() > 2.0 * (MAX_SCORE - 1.0) {
                return Err(self.broken(format!("embedding {index} is not of norm 1")));
            }
        }
        Ok(hits)
    }

    fn unit_query(&self, query: &[f32]) -> Result<Vec<f32>, Error> {
        if query.len() != self.width() {
            return Err(IndexError::OtherWidth {
                path: self.path.clone(),
                width: self.width(),
                query: query.len(),
            }
            .into());
        }
        let not_finite = || InferenceError::NotFinite {
            name: "query".to_string(),
        };
        Ok(unit(query).ok_or_else(not_finite)?)
    }

    fn hit(&self, index: usize, score: f32) -> Result<Hit, Error> {
        if score.abs() <= MAX_SCORE {
            Ok(Hit { index, score })
        } else {
            Err(self.broken(format!("embedding {index} is not of norm 1")))
        }
    }

    /// Reads embeddings as float32, converted on all cores.
    fn read_rows(&self, rows: &Range<usize>) -> Result<Vec<f32>, Error> {
        let mut halves = Vec::new();
        self.read_halves(rows, &mut halves)?;
        let mut numbers = vec![0.0; halves.len()];
        let part = halves.len().div_ceil(rayon::current_num_threads()).max(1);
        halves
            .par_chunks(part)
            .zip(numbers.par_chunks_mut(part))
            .for_each(|(halves, numbers)| halves.convert_to_f32_slice(numbers));
        Ok(numbers)
    }

    fn read_halves(&self, rows: &Range<usize>, halves: &mut Vec<f16>) -> Result<(), Error> {
        let width = self.width();
        halves.resize(rows.len() * width, f16::ZERO);
        let offset = self.layout.embeddings + (rows.start * width * HALF) as u64;
        self.read(bytemuck::cast_slice_mut(halves), offset)?;
        for half in halves {
            // The file is little-endian, like most machines, where this does nothing.
            *half = f16::from_bits(u16::from_le(half.to_bits()));
        }
        Ok(())
    }
}

/// The best `k` hits so far, with further hits until the next pruning.
struct Nearest {
    k: usize,
    hits: Vec<Hit>,
    /// The lowest score that can still be among the best.
    min_score: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self {
            k,
            hits: Vec::new(),
            min_score: f32::NEG_INFINITY,
        }
    }

    fn offer(&mut self, hit: Hit) {
        if hit.score < self.min_score || self.k == 0 {
            return;
        }
        self.hits.push(hit);
        if self.hits.len() >= self.k.saturating_mul(2).max(64) {
            self.prune();
        }
    }

    /// Keeps the best `k`.
    fn prune(&mut self) {
        if self.hits.len() > self.k {
            self.hits.select_nth_unstable_by(self.k - 1, best_first);
            self.hits.truncate(self.k);
            self.min_score = self.hits[self.k - 1].score;
        }
    }

    fn merge(mut self, other: Self) -> Self {
        for hit in other.hits {
            self.offer(hit);
        }
        self
    }

    fn into_hits(mut self) -> Vec<Hit> {
        self.hits.sort_unstable_by(best_first);
        self.hits.truncate(self.k);
        self.hits
    }
}

fn best_first(one: &Hit, other: &Hit) -> Ordering {
    let by_score = other.score.partial_cmp(&one.score);
    by_score
        .expect("hits have scores that are numbers")
        .then(one.index.cmp(&other.index))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use convirt_ops::Precision;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::inference::{ModelIdentity, TowerOutput};
    use crate::retrieval::index::{IndexDescription, IndexWriter, Modality};

    fn rows(count: usize, width: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut row = || (0..width).map(|_| rng.random_range(-1.0..1.0)).collect();
        (0..count).map(|_| row()).collect()
    }

    fn index(path: &Path, rows: &[Vec<f32>]) -> EmbeddingIndex {
        let description = IndexDescription {
            model: ModelIdentity {
                name: "test".into(),
                checksum: 0,
            },
            modality: Modality::Images,
            output: TowerOutput::Embedding,
            precision: Precision::Float32,
        };
        let mut writer = IndexWriter::create(path, description, rows[0].len()).unwrap();
        for (number, row) in rows.iter().enumerate() {
            writer.push(row, &format!("{number}"), "").unwrap();
        }
        writer.finish().unwrap();
        EmbeddingIndex::open(path).unwrap()
    }

    /// Returns the best `k` rows and their scores in float64, from the float16 numbers stored.
    fn brute_force(rows: &[Vec<f32>], query: &[f32], k: usize) -> Vec<(usize, f64)> {
        let query = unit(query).unwrap();
        let score = |row: &Vec<f32>| -> f64 {
            let stored = unit(row).unwrap().into_iter().map(f16::from_f32);
            let products = stored
                .zip(&query)
                .map(|(a, b)| f64::from(a) * f64::from(*b));
            products.sum()
        };
        let mut scored: Vec<_> = rows.iter().map(score).enumerate().collect();
        scored.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        scored.truncate(k);
        scored
    }

    // 60,000 rows are two blocks on the device and many for the threads; the width of 37 is no
    // multiple of a register. Float32 similarities are within 1e-6 of float64.
    #[test]
    fn both_searches_find_the_same_as_a_brute_force_search_in_float64() {
        let folder = tempfile::tempdir().unwrap();
        let candidates = rows(60_000, 37, 1);
        let index = index(&folder.path().join("index"), &candidates);
        let queries = rows(5, 37, 2);
        let device = Device::flex();
        for k in [1, 10, 100] {
            let batch_hits = index.nearest_to_each(&queries, k, &device).unwrap();
            for (query, batch_hits) in queries.iter().zip(batch_hits) {
                let hits = index.nearest(query, k).unwrap();
                assert_eq!(batch_hits, hits, "{k}");
                let expected = brute_force(&candidates, query, k);
                assert_eq!(hits.len(), k);
                for (hit, (index, score)) in hits.iter().zip(expected) {
                    assert!((f64::from(hit.score) - score).abs() < 1e-6, "{k}");
                    assert_eq!(hit.index, index, "{k}");
                }
            }
        }
    }

    // 10,000 random directions in 128 dimensions: the similarities of the ten nearest differ by
    // less than 0.1.
    #[test]
    fn rounding_to_float16_hardly_changes_the_hits() {
        let folder = tempfile::tempdir().unwrap();
        let candidates = rows(10_000, 128, 6);
        let index = index(&folder.path().join("index"), &candidates);
        let units: Vec<_> = candidates.iter().map(|row| unit(row).unwrap()).collect();
        let (mut agreeing, mut largest) = (0, 0.0_f32);
        for query in rows(20, 128, 7) {
            let query = unit(&query).unwrap();
            let mut exact: Vec<(usize, f32)> = units
                .iter()
                .map(|row| similarity(&query, row))
                .enumerate()
                .collect();
            exact.sort_by(|one, other| other.1.total_cmp(&one.1));
            for hit in index.nearest(&query, 10).unwrap() {
                agreeing += usize::from(exact[..10].iter().any(|(row, _)| *row == hit.index));
                let score = similarity(&query, &units[hit.index]);
                largest = largest.max((hit.score - score).abs());
            }
        }
        assert!(agreeing >= 199, "{agreeing} of 200");
        assert!(largest < 1e-4, "{largest}");
    }

    #[test]
    fn equally_similar_embeddings_are_in_the_order_of_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let mut candidates = rows(9_000, 8, 3);
        let query = candidates[0].clone();
        let twins = [8_999, 17, 4_096, 5_000, 16];
        for twin in twins {
            candidates[twin] = query.clone();
        }
        let index = index(&folder.path().join("index"), &candidates);
        let indices = |hits: Vec<Hit>| -> Vec<usize> { hits.iter().map(|hit| hit.index).collect() };
        let expected = [0, 16, 17, 4_096, 5_000];
        assert_eq!(indices(index.nearest(&query, 5).unwrap()), expected);
        let device = Device::flex();
        let batch_hits = index
            .nearest_to_each(std::slice::from_ref(&query), 5, &device)
            .unwrap();
        assert_eq!(
            batch_hits.into_iter().map(indices).next().unwrap(),
            expected
        );
        assert_eq!(indices(index.nearest(&query, 3).unwrap()), expected[..3]);
    }

    #[test]
    fn there_are_at_most_as_many_hits_as_embeddings() {
        let folder = tempfile::tempdir().unwrap();
        let candidates = rows(3, 4, 4);
        let index = index(&folder.path().join("index"), &candidates);
        assert_eq!(index.nearest(&candidates[1], 50).unwrap().len(), 3);
        assert_eq!(index.nearest(&candidates[1], 0).unwrap(), []);
        let none = index.nearest_to_each(&[], 3, &Device::flex()).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn a_query_with_another_width_or_a_nan_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let index = index(&folder.path().join("index"), &rows(3, 4, 5));
        let message = index.nearest(&[1.0; 5], 1).unwrap_err().to_string();
        assert!(message.contains("4") && message.contains("5"), "{message}");
        let error = index.nearest(&[f32::NAN; 4], 1).unwrap_err();
        assert!(
            matches!(error, Error::Inference(InferenceError::NotFinite { .. })),
            "{error}"
        );
        let queries = [vec![1.0; 4], vec![1.0; 3]];
        let error = index.nearest_to_each(&queries, 1, &Device::flex());
        assert!(matches!(
            error,
            Err(Error::Index(IndexError::OtherWidth { .. }))
        ));
    }
}
