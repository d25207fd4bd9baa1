//! Loaders: batches in a reproducible order, prefetched by worker threads.
//!
//! Burn's own loader divides the data among its workers, so that pairs of different workers never
//! share a batch; its order depends on timing, and it cannot resume. The loaders here implement
//! Burn's [`DataLoader`](burn::data::dataloader::DataLoader) and work with its training loop.

mod error;
mod dataset;
mod batch;
mod order;
mod workers;
mod batches;
mod training;
mod evaluation;
mod images;

pub use batch::{ImageTextBatch, Padding, TextBatch, collate, collate_texts, text_ids};
pub use dataset::{ImageTextDataset, ImageView, Sample, SampleConfig, SampleText, TextView, Texts};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::setting::{SettingError, check};

pub use batches::BatchShare;
pub use error::LoaderError;
pub use evaluation::EvaluationLoader;
pub use images::{ImageBatch, ImageBatches, Unreadable};
pub use training::{BatchShares, LoaderPosition, TrainingLoader, TrainingSteps};

/// Configures a [`TrainingLoader`], an [`EvaluationLoader`] or [`ImageBatches`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoaderConfig {
    /// Pairs in a batch; the paper's 32.
    pub batch_size: usize,
    /// Threads that read, augment and tokenize; with 0 the calling thread does it.
    pub num_workers: usize,
    /// Batches prepared ahead of the current one, as samples in main memory; at least 1.
    pub prefetch: usize,
    /// Texts are padded to a multiple of this many tokens.
    pub pad_multiple: usize,
    /// Longest wait for a sample, after which the iterator ends with [`LoaderError::Stalled`]; zero
    /// waits forever. Without worker threads there is no limit: the calling thread itself reads.
    pub timeout: Duration,
}

impl Default for LoaderConfig {
    /// The paper's batch of 32, Colab's 4 workers, 3 prefetched batches, multiples of 8 tokens, 10
    /// minutes.
    fn default() -> Self {
        Self {
            batch_size: 32,
            num_workers: 4,
            prefetch: 3,
            pad_multiple: 8,
            timeout: Duration::from_secs(600),
        }
    }
}

impl LoaderConfig {
    /// Largest batch. Like the other limits, it bounds the memory.
    pub const MAX_BATCH_SIZE: usize = 65_536;
    /// Largest number of threads.
    pub const MAX_WORKERS: usize = 1_024;
    /// Largest number of prefetched batches.
    pub const MAX_PREFETCH: usize = 1_024;
    /// Largest padding multiple, in tokens.
    pub const MAX_PAD_MULTIPLE: usize = 65_536;

    /// Checks the ranges; a batch has at least `min_pairs`.
    pub(crate) fn check(&self, min_pairs: usize) -> Result<(), SettingError> {
        let allowed = match min_pairs {
            ..=1 => "1 to 65536",
            _ => "2 to 65536",
        };
        let (batch, pad) = (self.batch_size, self.pad_multiple);
        let (workers, prefetch) = (self.num_workers, self.prefetch);
        for (setting, value, [low, high], allowed) in [
            (
                "batch_size",
                batch,
                [min_pairs, Self::MAX_BATCH_SIZE],
                allowed,
            ),
            ("num_workers", workers, [0, Self::MAX_WORKERS], "0 to 1024"),
            (
                "prefetch",
                prefetch,
                [0, Self::MAX_PREFETCH],
                "at most 1024",
            ),
            (
                "pad_multiple",
                pad,
                [0, Self::MAX_PAD_MULTIPLE],
                "at most 65536",
            ),
        ] {
            let bounds = low as f64..=high as f64;
            check(setting, value as f64, bounds, allowed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    use burn::data::dataloader::DataLoader;
    use burn::tensor::Device;

    use super::*;
    use crate::augment::AugmentationConfig;
    use crate::loader::batch::ImageTextBatch;
    use crate::loader::dataset::{ImageTextDataset, ImageView};
    use crate::setting::SettingError;
    use crate::tests::fixtures::{dataset, dataset_with_pauses, evaluation_view, studies};

    /// The content of a batch: studies, pixels, tokens.
    type Content = (Vec<usize>, Vec<f32>, Vec<i64>);

    fn content(batch: ImageTextBatch) -> Content {
        let pixels = batch.images.into_data().iter().collect();
        let texts = batch.texts.unwrap();
        let tokens = texts.input_ids.into_data().iter::<i64>().collect();
        (batch.indices, pixels, tokens)
    }

    fn contents(loader: &dyn DataLoader<ImageTextBatch>) -> Vec<Content> {
        loader.iter().map(|batch| content(batch.unwrap())).collect()
    }

    fn indices(loader: &dyn DataLoader<ImageTextBatch>) -> Vec<Vec<usize>> {
        loader.iter().map(|batch| batch.unwrap().indices).collect()
    }

    fn config(batch_size: usize, num_workers: usize) -> LoaderConfig {
        LoaderConfig {
            batch_size,
            num_workers,
            prefetch: 2,
            ..LoaderConfig::default()
        }
    }

    fn augmented(folder: &Path, count: usize) -> Arc<ImageTextDataset> {
        let view = AugmentationConfig::default().init(32).unwrap();
        Arc::new(dataset(
            studies(folder, count),
            ImageView::Augmented(view),
            0.0,
        ))
    }

    fn training(data: &Arc<ImageTextDataset>, num_workers: usize) -> TrainingLoader {
        // 10 studies in batches of 4: 2 steps an epoch.
        let steps = TrainingSteps {
            window: 3,
            total: 8,
        };
        TrainingLoader::new(
            Arc::clone(data),
            &config(4, num_workers),
            steps,
            &Device::flex(),
        )
        .unwrap()
    }

    #[test]
    fn settings_out_of_range_are_rejected_by_name() {
        let base = || config(4, 1);
        assert!(base().check(2).is_ok());
        for (setting, config) in [
            ("batch_size", config(1, 1)),
            ("batch_size", config(usize::MAX, 1)),
            ("num_workers", config(4, usize::MAX)),
            (
                "prefetch",
                LoaderConfig {
                    prefetch: usize::MAX,
                    ..base()
                },
            ),
        ] {
            let error = config.check(2).unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
    }

    #[test]
    fn any_number_of_workers_makes_the_same_batches() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 10);
        let all = |num_workers| {
            let loader = training(&data, num_workers);
            [contents(&loader), contents(&loader), contents(&loader)]
        };
        let expected = all(0);
        assert_eq!(expected.each_ref().map(Vec::len), [3, 3, 2]);
        for num_workers in [1, 3] {
            assert_eq!(all(num_workers), expected, "{num_workers}");
        }
        let evaluated = |num_workers| {
            let config = config(4, num_workers);
            let data = Arc::clone(&data);
            contents(&EvaluationLoader::new(data, &config, &Device::flex()).unwrap())
        };
        assert_eq!(evaluated(3), evaluated(0));
    }

    #[test]
    fn a_window_ends_at_its_multiple_and_the_training_at_its_total() {
        let folder = tempfile::tempdir().unwrap();
        let loader = training(&augmented(folder.path(), 10), 1);
        let position = loader.position();
        let mut progress = Vec::new();
        while position.get() < 8 {
            let mut batches = loader.iter();
            while batches.next().is_some() {}
            progress.push((position.get(), batches.progress().items_total));
            assert!(batches.progress().is_completed());
        }
        assert_eq!(progress, [(3, 12), (6, 12), (8, 8)]);
        assert_eq!(loader.iter().count(), 0);
        assert_eq!(loader.num_items(), 12);
    }

    #[test]
    fn an_interrupted_training_continues_at_the_next_batch() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 10);
        let straight = training(&data, 2);
        let expected: Vec<_> = (0..3).flat_map(|_| contents(&straight)).collect();

        let interrupted = training(&data, 2);
        // Prefetched batches beyond the two taken do not count.
        let mut got: Vec<_> = interrupted
            .iter()
            .take(2)
            .map(|b| content(b.unwrap()))
            .collect();
        let saved = interrupted.position().get();
        assert_eq!(saved, 2);
        let resumed = training(&data, 0);
        resumed.position().set(saved);
        assert_eq!(resumed.iter().progress().items_processed, 8);
        got.extend((0..3).flat_map(|_| contents(&resumed)));
        assert_eq!(got, expected);
    }

    #[test]
    fn copies_for_other_devices_share_the_position() {
        let folder = tempfile::tempdir().unwrap();
        let loader = training(&augmented(folder.path(), 10), 0);
        let copy = loader.to_device(&Device::flex().autodiff());
        let batch = copy.iter().next().unwrap().unwrap();
        assert_eq!(loader.position().get(), 1);
        assert!(batch.images.device().is_autodiff());
    }

    #[test]
    fn slices_divide_the_batches() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 10);
        let loader = training(&data, 0);
        let halves = [loader.slice(0, 4), loader.slice(4, 12)];
        assert_eq!([halves[0].num_items(), halves[1].num_items()], [4, 8]);
        for _ in 0..3 {
            let both = [&halves[0], &halves[1]]
                .map(|half| indices(&**half))
                .concat();
            assert_eq!(both, indices(&loader));
        }
        let loader = EvaluationLoader::new(data, &config(3, 0), &Device::flex()).unwrap();
        let halves = [loader.slice(0, 5), loader.slice(5, 10)];
        let both = [&halves[0], &halves[1]]
            .map(|half| indices(&**half))
            .concat();
        assert_eq!(both, indices(&loader));
        assert_eq!(halves[0].num_items() + halves[1].num_items(), 10);
    }

    #[test]
    fn evaluation_has_each_study_once_and_is_deterministic() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 7);
        let loader = EvaluationLoader::new(data, &config(3, 2), &Device::flex()).unwrap();
        let first = contents(&loader);
        assert_eq!(contents(&loader), first);
        let sizes: Vec<_> = first.iter().map(|batch| batch.0.len()).collect();
        assert_eq!(sizes, [2, 2, 3]);
        let seen: BTreeSet<_> = first.into_iter().flat_map(|batch| batch.0).collect();
        assert_eq!(seen, (0..7).collect());
    }

    #[test]
    fn an_evaluation_smaller_than_the_batch_is_one_batch() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 2);
        let loader = EvaluationLoader::new(data, &config(32, 0), &Device::flex()).unwrap();
        assert_eq!(indices(&loader)[0].len(), 2);
        assert_eq!(loader.batches(), 1);
    }

    #[test]
    fn unreadable_images_are_skipped_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        for num_workers in [0, 3] {
            let studies = studies(folder.path(), 10);
            fs::write(&studies[4].image, b"no image").unwrap();
            let data = Arc::new(dataset(studies, evaluation_view(), 0.1));
            let config = config(5, num_workers);
            let loader = EvaluationLoader::new(data, &config, &Device::flex()).unwrap();
            for _ in 0..2 {
                let batches = indices(&loader);
                let seen: BTreeSet<_> = batches.concat().into_iter().collect();
                assert_eq!(seen, (0..10).filter(|i| *i != 4).collect());
                assert_eq!(batches.concat().len(), 9);
            }
        }
    }

    #[test]
    fn a_training_batch_without_two_pairs_is_skipped_but_counted() {
        let folder = tempfile::tempdir().unwrap();
        let studies = studies(folder.path(), 4);
        for study in &studies[..2] {
            fs::write(&study.image, b"no image").unwrap();
        }
        let data = Arc::new(dataset(studies, evaluation_view(), 1.0));
        let steps = TrainingSteps {
            window: 40,
            total: 40,
        };
        let loader = TrainingLoader::new(data, &config(2, 1), steps, &Device::flex()).unwrap();
        let batches = indices(&loader);
        assert!(
            batches
                .iter()
                .all(|batch| batch.len() == 2 && !batch.contains(&0))
        );
        assert!((1..40).contains(&batches.len()), "{}", batches.len());
        assert_eq!(loader.position().get(), 40);
    }

    #[test]
    fn too_many_unreadable_images_end_the_pass_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        for num_workers in [0, 2] {
            let studies = studies(folder.path(), 10);
            for study in &studies[..3] {
                fs::remove_file(&study.image).unwrap();
            }
            let data = Arc::new(dataset(studies, evaluation_view(), 0.2));
            let config = config(2, num_workers);
            let loader = EvaluationLoader::new(data, &config, &Device::flex()).unwrap();
            let mut batches = loader.iter();
            let error = batches.find_map(Result::err).unwrap();
            let message = error.to_string();
            assert!(message.contains("3 of 10 rows are bad input"), "{message}");
            assert!(message.contains("missing image"), "{message}");
            assert!(batches.next().is_none());
        }
    }

    /// With pauses for each image, the test would take a minute.
    #[test]
    fn a_vanished_folder_ends_the_pass_soon() {
        let place = tempfile::tempdir().unwrap();
        for num_workers in [0, 2] {
            let folder = place.path().join("images");
            fs::create_dir(&folder).unwrap();
            let studies = studies(&folder, 40);
            fs::remove_dir_all(&folder).unwrap();
            let pauses = [100, 900].map(Duration::from_millis);
            let data = Arc::new(dataset_with_pauses(
                studies,
                evaluation_view(),
                0.8,
                &pauses,
            ));
            let config = config(2, num_workers);
            let loader = EvaluationLoader::new(data, &config, &Device::flex()).unwrap();
            let start = Instant::now();
            let error = loader.iter().find_map(Result::err).unwrap().to_string();
            assert!(error.contains("33 of 40 rows are bad input"), "{error}");
            let seconds = start.elapsed().as_secs_f64();
            assert!((1.0..20.0).contains(&seconds), "{seconds} s");
        }
    }

    #[test]
    fn threads_end_when_the_iterator_is_dropped_early() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 10);
        let loader = training(&data, 3);
        for _ in 0..20 {
            let mut batches = loader.iter();
            batches.next().unwrap().unwrap();
            drop(batches);
            loader.position().set(0);
        }
        drop(loader);
        // Each queued or running task holds a reference to the data set.
        let deadline = Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&data) > 1 {
            assert!(Instant::now() < deadline, "workers still hold the data set");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn invalid_loaders_are_rejected_at_construction() {
        let folder = tempfile::tempdir().unwrap();
        let data = augmented(folder.path(), 3);
        let empty = Arc::new(dataset(Vec::new(), evaluation_view(), 0.0));
        let device = Device::flex();
        let steps = TrainingSteps {
            window: 1,
            total: 1,
        };
        let train = |data: &Arc<_>, batch_size, steps| {
            TrainingLoader::new(Arc::clone(data), &config(batch_size, 0), steps, &device)
                .unwrap_err()
        };
        assert!(matches!(
            train(&data, 4, steps),
            LoaderError::BatchTooLarge {
                batch_size: 4,
                studies: 3
            }
        ));
        assert!(matches!(
            train(&data, 1, steps),
            LoaderError::Setting(SettingError::OutOfRange { .. })
        ));
        let no_window = TrainingSteps { window: 0, ..steps };
        assert!(matches!(
            train(&data, 2, no_window),
            LoaderError::Setting(SettingError::OutOfRange { .. })
        ));
        assert!(matches!(
            train(&empty, 2, steps),
            LoaderError::NothingToLoad
        ));
        let error = EvaluationLoader::new(empty, &config(2, 0), &device).unwrap_err();
        assert!(matches!(error, LoaderError::NothingToLoad));
    }
}
