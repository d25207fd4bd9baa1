//! Random number streams that depend only on seed, epoch, sample and purpose.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Purpose of a random number stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The order of the studies in an epoch.
    Order,
    /// The augmentation of an image, by the number of the view from 0.
    Image(u32),
    /// The choice of a sentence from a report.
    Text,
}

impl Purpose {
    fn number(self) -> u64 {
        match self {
            Self::Order => 0,
            Self::Image(view) => 1 | u64::from(view) << 32,
            Self::Text => 2,
        }
    }
}

/// Opens the stream for `purpose` of sample `index` in `epoch`.
///
/// The key of the generator consists of these four numbers. So no two streams are equal, and
/// neither threads nor batch size nor resumption change the random numbers of a sample.
pub(crate) fn stream(purpose: Purpose, seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let numbers = [seed, epoch, index, purpose.number()];
    for (bytes, number) in key.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::RngExt;

    use super::*;

    #[test]
    fn streams_repeat_and_differ_in_each_of_their_numbers() {
        let first =
            |purpose, seed, epoch, index| -> u64 { stream(purpose, seed, epoch, index).random() };
        assert_eq!(
            first(Purpose::Image(1), 1, 2, 3),
            first(Purpose::Image(1), 1, 2, 3)
        );
        let others: BTreeSet<_> = [
            first(Purpose::Image(0), 0, 0, 0),
            first(Purpose::Image(1), 0, 0, 0),
            first(Purpose::Text, 0, 0, 0),
            first(Purpose::Order, 0, 0, 0),
            first(Purpose::Image(0), 1, 0, 0),
            first(Purpose::Image(0), 0, 1, 0),
            first(Purpose::Image(0), 0, 0, 1),
        ]
        .into();
        assert_eq!(others.len(), 7);
    }
}
