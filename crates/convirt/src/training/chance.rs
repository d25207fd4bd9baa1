//! The validation loss at chance.

/// Computes the loss of a model that finds all candidates equally similar, in nats: the mean over
/// all rows of the `chance` in the row's batch, given its size.
///
/// The sizes of the batches differ by at most one row.
pub(super) fn chance_loss(pairs: usize, batches: usize, chance: impl Fn(usize) -> f64) -> f64 {
    // `remainder` batches have one row more than the others.
    let (size, remainder) = (pairs / batches.max(1), pairs % batches.max(1));
    let term = |size: usize, count: usize| {
        (size * count) as f64 * if count > 0 { chance(size) } else { 0.0 }
    };
    (term(size + 1, remainder) + term(size, batches - remainder)) / pairs.max(1) as f64
}

#[cfg(test)]
mod tests {
    use convirt_model::LossKind;

    use super::*;
    use crate::config::Objective;

    #[test]
    fn chance_is_the_mean_logarithm_of_candidates() {
        let chance = |objective: Objective| move |size| objective.chance(LossKind::Softmax, size);
        let convirt = |pairs, batches| chance_loss(pairs, batches, chance(Objective::ConVirt));
        assert!((convirt(64, 2) - 32f64.ln()).abs() < 1e-12);
        let mixed = (3.0 * 3f64.ln() + 2.0 * 2f64.ln()) / 5.0;
        assert!((convirt(5, 2) - mixed).abs() < 1e-12);
        let mixed = (3.0 * 5f64.ln() + 2.0 * 3f64.ln()) / 5.0;
        assert!((chance_loss(5, 2, chance(Objective::SimClr)) - mixed).abs() < 1e-12);
    }
}
