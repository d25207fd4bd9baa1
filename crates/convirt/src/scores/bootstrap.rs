//! Bootstrap intervals: the test set is resampled, group by group.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measures::Measures;
use super::{Estimate, Scores};

/// How bootstrap intervals are computed.
///
/// # Examples
///
/// ```
/// use convirt::scores::Bootstrap;
///
/// assert_eq!(Bootstrap::default().resamples, 1_000);
/// assert_eq!(Bootstrap::none().resamples, 0);
/// let more = Bootstrap { resamples: 10_000, ..Bootstrap::default() };
/// assert_eq!(more.seed, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resampled test sets, at most 1,000,000; 0 for no intervals. Each has as many
    /// groups as the test set, drawn with replacement.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
}

/// The measures of all resampled test sets.
pub(super) struct Resamples {
    measures: Vec<Vec<Measures>>,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 1_000,
            seed: 0,
        }
    }
}

impl Bootstrap {
    /// Returns a setting that computes no intervals.
    pub fn none() -> Self {
        Self {
            resamples: 0,
            seed: 0,
        }
    }
}

impl Resamples {
    /// Draws the resamples and measures each of them.
    ///
    /// `groups` yields the group of each image. `measure` takes how often each image counts.
    pub fn draw<'a>(
        bootstrap: &Bootstrap,
        groups: impl Iterator<Item = &'a str>,
        measure: impl Fn(&[u32]) -> Vec<Measures> + Sync,
    ) -> Self {
        let mut numbers = BTreeMap::new();
        let image_groups: Vec<usize> = groups
            .map(|group| {
                let next = numbers.len();
                *numbers.entry(group).or_insert(next)
            })
            .collect();
        let groups = numbers.len();
        let draws = (0..bootstrap.resamples as u64).into_par_iter().map(|draw| {
            let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
            rng.set_stream(draw);
            let mut group_counts = vec![0; groups];
            for _ in 0..groups {
                group_counts[rng.random_range(0..groups)] += 1;
            }
            let weights: Vec<u32> = image_groups
                .iter()
                .map(|&group| group_counts[group])
                .collect();
            measure(&weights)
        });
        Self {
            measures: draws.collect(),
        }
    }

    /// Returns the scores of several runs with their intervals.
    ///
    /// `test_set` holds the measures of each run on the test set itself; `select_runs` picks the
    /// same measures from those of a resample.
    pub fn scores(
        &self,
        test_set: &[Measures],
        select_runs: impl Fn(&[Measures]) -> Vec<Measures>,
    ) -> Scores {
        let resampled: Vec<_> = self
            .measures
            .iter()
            .map(|measures| Measures::mean(&select_runs(measures)))
            .collect();
        let estimate = |kind: fn(&Measures) -> f64| {
            let values: Vec<f64> = test_set.iter().map(kind).collect();
            let value = mean(&values);
            (!value.is_nan()).then(|| Estimate {
                value,
                deviation: deviation(&values),
                interval: interval(resampled.iter().map(kind)),
            })
        };
        Scores {
            auroc: estimate(|measures| measures.auroc),
            auprc: estimate(|measures| measures.auprc),
            accuracy: estimate(|measures| measures.accuracy),
            calibration_error: estimate(|measures| measures.calibration_error),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the sample standard deviation, or `None` for less than two values.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// Returns the 2.5 % and 97.5 % quantiles of the values that are not NaN, interpolated linearly.
fn interval(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1).filter(|last| *last > 0)?;
    Some([0.025, 0.975].map(|quantile| {
        let position = quantile * last as f64;
        let (below, above) = (
            values[position.floor() as usize],
            values[position.ceil() as usize],
        );
        below + (above - below) * position.fract()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_and_nan_is_left_out() {
        // numpy.quantile(range(41), [0.025, 0.975])
        let values = (0..41).map(f64::from).chain([f64::NAN]);
        assert_eq!(interval(values), Some([1.0, 39.0]));
        assert_eq!(interval([0.0, 1.0].into_iter()), Some([0.025, 0.975]));
        assert_eq!(interval([1.0, f64::NAN].into_iter()), None);
    }

    #[test]
    fn each_resample_has_as_many_groups_as_the_test_set_and_no_partial_ones() {
        let groups = ["a", "a", "b", "c", "c", "c"];
        let bootstrap = Bootstrap {
            resamples: 50,
            seed: 1,
        };
        let seen = std::sync::Mutex::new(Vec::new());
        Resamples::draw(&bootstrap, groups.into_iter(), |weights| {
            seen.lock().unwrap().push(weights.to_vec());
            Vec::new()
        });
        let mut seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 50);
        for weights in &seen {
            assert!(weights[0] == weights[1] && weights[3] == weights[4]);
            assert_eq!(weights[0] + weights[2] + weights[5], 3);
        }
        seen.sort();
        seen.dedup();
        // There are 10 ways to draw three of three groups with replacement.
        assert!(seen.len() >= 8, "{}", seen.len());
    }
}
