//! The candidates of a row that are its positives.

use std::collections::HashMap;

use burn::tensor::{Int, Tensor};

/// The columns that are a row's targets.
#[derive(Debug)]
pub(super) struct Positives {
    members: Vec<Vec<usize>>,
    /// Index of each row's class in `members`.
    class_of: Vec<usize>,
    pub(super) excludes_diagonal: bool,
}

impl Positives {
    pub(super) fn new(classes: Tensor<1, Int>, excludes_diagonal: bool) -> Self {
        let mut members: Vec<Vec<usize>> = Vec::new();
        let mut numbers = HashMap::new();
        let classes = classes.into_data();
        let class_of = classes.iter::<i64>().enumerate().map(|(row, class)| {
            let number = *numbers.entry(class).or_insert(members.len());
            members.resize(members.len().max(number + 1), Vec::new());
            members[number].push(row);
            number
        });
        Self {
            class_of: class_of.collect(),
            members,
            excludes_diagonal,
        }
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.class_of.len()
    }

    pub(super) fn columns(&self, row: usize) -> impl Iterator<Item = usize> {
        let members = self.members[self.class_of[row]].iter().copied();
        members.filter(move |column| !self.excludes_diagonal || *column != row)
    }

    /// The target probability of each positive of a row.
    pub(super) fn probability(&self, row: usize) -> f32 {
        let members = self.members[self.class_of[row]].len();
        1.0 / (members - usize::from(self.excludes_diagonal)) as f32
    }

    /// Σ_j P_ij x_j of row i.
    pub(super) fn mean(&self, row: usize, products: &[f32]) -> f64 {
        let positives = self.columns(row).map(|column| f64::from(products[column]));
        positives.sum::<f64>() * f64::from(self.probability(row))
    }
}
