//! Distinct values, numbered.

use std::collections::HashMap;
use std::hash::Hash;

/// The distinct values of pairs, such as their texts, numbered from 0.
///
/// ```
/// let texts = convirt_data::Distinct::new(["clear", "effusion", "clear"]);
/// assert_eq!((texts.of_pair, texts.first), (vec![0, 1, 0], vec![0, 1]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// Number of each pair's value; values are numbered from 0 in the order they first appear.
    pub of_pair: Vec<usize>,
    /// First pair with each value.
    pub first: Vec<usize>,
}

impl Distinct {
    /// Numbers the values, one for each pair.
    pub fn new<T: Eq + Hash>(values: impl IntoIterator<Item = T>) -> Self {
        let (mut numbers, mut first) = (HashMap::new(), Vec::new());
        let number = |(pair, key)| {
            *numbers.entry(key).or_insert_with(|| {
                first.push(pair);
                first.len() - 1
            })
        };
        Self {
            of_pair: values.into_iter().enumerate().map(number).collect(),
            first,
        }
    }
}
