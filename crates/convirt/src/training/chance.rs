//! The validation loss at chance.

use crate::config::Objective;

/// Computes the loss of a model that finds all candidates equally similar, in nats: the mean over
/// all rows of ln(candidates in the row's batch).
///
/// The sizes of the batches differ by at most one row.
pub(super) fn chance_loss(pairs: usize, batches: usize, objective: Objective) -> f64 {
    // `remainder` batches have one row more than the others.
    let (size, remainder) = (pairs / batches.max(1), pairs % batches.max(1));
    let term = |size: usize, count: usize| {
        (size * count) as f64 * (objective.candidates(size).max(1) as f64).ln()
    };
    (term(size + 1, remainder) + term(size, batches - remainder)) / pairs.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_the_mean_logarithm_of_candidates() {
        let convirt = |pairs, batches| chance_loss(pairs, batches, Objective::ConVirt);
        assert!((convirt(64, 2) - 32f64.ln()).abs() < 1e-12);
        let mixed = (3.0 * 3f64.ln() + 2.0 * 2f64.ln()) / 5.0;
        assert!((convirt(5, 2) - mixed).abs() < 1e-12);
        let mixed = (3.0 * 5f64.ln() + 2.0 * 3f64.ln()) / 5.0;
        assert!((chance_loss(5, 2, Objective::SimClr) - mixed).abs() < 1e-12);
    }
}
