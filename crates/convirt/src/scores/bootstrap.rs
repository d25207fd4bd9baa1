//! Uncertainty by drawing the test anew, group by group.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measures::Measures;
use super::{Estimate, Scores};

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Tests drawn anew, with replacement, as many groups each as there are, at most 1,000,000; 0
    /// for no intervals.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// Measures of tests drawn anew.
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
    /// No intervals.
    pub fn none() -> Self {
        Self {
            resamples: 0,
            seed: 0,
        }
    }
}

impl Resamples {
    /// Measures each test drawn; `groups` has that of each image, and `measure` is told how often
    /// each image counts.
    pub fn draw<'a>(
        bootstrap: &Bootstrap,
        groups: impl Iterator<Item = &'a str>,
        measure: impl Fn(&[u32]) -> Vec<Measures> + Sync,
    ) -> Self {
        let mut numbers = BTreeMap::new();
        let group_of: Vec<usize> = groups
            .map(|group| {
                let next = numbers.len();
                *numbers.entry(group).or_insert(next)
            })
            .collect();
        let groups = numbers.len();
        let draws = (0..bootstrap.resamples as u64).into_par_iter().map(|draw| {
            let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
            rng.set_stream(draw);
            let mut times = vec![0; groups];
            for _ in 0..groups {
                times[rng.random_range(0..groups)] += 1;
            }
            let weights: Vec<u32> = group_of.iter().map(|&group| times[group]).collect();
            measure(&weights)
        });
        Self {
            measures: draws.collect(),
        }
    }

    /// The scores of several runs: `whole` on the test itself, and of each resample what
    /// `of_runs` picks.
    pub fn scores(
        &self,
        whole: &[Measures],
        of_runs: impl Fn(&[Measures]) -> Vec<Measures>,
    ) -> Scores {
        let resampled: Vec<_> = self
            .measures
            .iter()
            .map(|measures| Measures::mean(&of_runs(measures)))
            .collect();
        let estimate = |kind: fn(&Measures) -> f64| {
            let values: Vec<f64> = whole.iter().map(kind).collect();
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

/// Standard deviation of a sample of two or more.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The 2.5 and 97.5 % quantiles of the defined values, interpolated linearly.
fn interval(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1).filter(|last| *last > 0)?;
    Some([0.025, 0.975].map(|quantile| {
        let place = quantile * last as f64;
        let (below, above) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        below + (above - below) * place.fract()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_and_undefined_values_left_out() {
        // numpy.quantile(range(41), [0.025, 0.975])
        let values = (0..41).map(f64::from).chain([f64::NAN]);
        assert_eq!(interval(values), Some([1.0, 39.0]));
        assert_eq!(interval([0.0, 1.0].into_iter()), Some([0.025, 0.975]));
        assert_eq!(interval([1.0, f64::NAN].into_iter()), None);
    }

    #[test]
    fn each_draw_has_as_many_groups_as_there_are_and_whole_ones() {
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
        // Of 10 ways to draw three of three.
        assert!(seen.len() >= 8, "{}", seen.len());
    }
}
