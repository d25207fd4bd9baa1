//! Equal things among rows or pairs, counted once.

use std::collections::HashMap;
use std::hash::Hash;

/// What pairs have, such as their texts, equal ones counted once.
///
/// ```
/// let texts = convirt_data::Distinct::new(["clear", "effusion", "clear"]);
/// assert_eq!((texts.of_pair, texts.first), (vec![0, 1, 0], vec![0, 1]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// Number of what each pair has, from 0 in the order in which they first appear.
    pub of_pair: Vec<usize>,
    /// The first pair that has each of them.
    pub first: Vec<usize>,
}

impl Distinct {
    /// Numbers what the pairs have.
    pub fn new<T: Eq + Hash>(of_pairs: impl IntoIterator<Item = T>) -> Self {
        let (mut numbers, mut first) = (HashMap::new(), Vec::new());
        let number = |(pair, key)| {
            *numbers.entry(key).or_insert_with(|| {
                first.push(pair);
                first.len() - 1
            })
        };
        Self {
            of_pair: of_pairs.into_iter().enumerate().map(number).collect(),
            first,
        }
    }
}
