//! Dropout, and where its random masks come from.

mod mask;

pub(crate) use mask::{Mask, TokenMask};
#[cfg(feature = "flex")]
pub(crate) use mask::{RowMask, rows_and_width};

use std::cell::Cell;

use burn::tensor::{Device, Distribution, Tensor};

use crate::scope::with_setting;

thread_local! {
    static STREAM: Cell<Option<MaskStream>> = const { Cell::new(None) };
}

/// What SplitMix64 adds for each output.
const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;

/// The masks of a [`with_dropout_seed`].
#[derive(Clone, Copy, Debug)]
struct MaskStream {
    key: u64,
    /// Masks drawn so far.
    drawn: u64,
    /// Items of the whole batch before those of the masks.
    first_item: usize,
}

/// Sets each element to zero with a probability and divides the others by the complement
/// ([Srivastava et al. 2014](https://jmlr.org/papers/v15/srivastava14a.html)). The caller decides
/// whether the network is in training.
///
/// # Shapes
///
/// - input, output: any
///
/// # Panics
///
/// When the probability is not at least 0 and below 1.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::dropout;
///
/// let output = dropout(Tensor::<1>::ones([1_000], &Device::flex()), 0.5).into_data();
/// assert!(output.iter::<f32>().all(|number| number == 0.0 || number == 2.0));
/// ```
pub fn dropout<const D: usize>(input: Tensor<D>, probability: f64) -> Tensor<D> {
    let lengths = None;
    token_dropout(
        input,
        TokenDropout {
            probability,
            lengths,
        },
    )
}

/// Dropout of the token states of texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenDropout<'a> {
    /// At least 0 and below 1.
    pub probability: f64,
    /// Numbers of tokens of the texts, if their states lie in a single row,
    /// `[1, Σ lengths, d_model]`; `None` for `[batch, tokens, d_model]`. The masks are the same.
    pub lengths: Option<&'a [usize]>,
}

/// Of states `[batch, tokens, d_model]`.
impl From<f64> for TokenDropout<'_> {
    fn from(probability: f64) -> Self {
        let lengths = None;
        Self {
            probability,
            lengths,
        }
    }
}

/// [`dropout`] of token states.
///
/// # Shapes
///
/// - input, output: as [`TokenDropout::lengths`] says
///
/// # Panics
///
/// When the probability is not at least 0 and below 1.
pub fn token_dropout<const D: usize>(input: Tensor<D>, dropout: TokenDropout) -> Tensor<D> {
    check_probability(dropout.probability);
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::dropout(input, dropout);
    }
    composed(input, dropout)
}

/// Runs `work` with the dropout of a seed: the masks of the dropout operations in it, those within
/// [`attention`](crate::attention) and [`add_layer_norm`](crate::add_layer_norm) too, depend on the
/// seed and on the number of masks drawn before, and on nothing else in the process. Dropout of
/// probability 0 draws no mask.
///
/// A part of a batch has the masks that it has in the whole batch, if `first_item` is the number of
/// items before it: the rows of a matrix, or texts.
///
/// The masks are the same on every device. It affects the calling thread only; outside of `work`,
/// dropout draws from its device's generator. Within another `with_dropout_seed` the inner seed counts; afterwards the outer one continues where it was.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{dropout, with_dropout_seed};
///
/// let device = Device::flex();
/// let drop = || dropout(Tensor::<1>::ones([64], &device), 0.5).into_data();
/// let two = |seed| with_dropout_seed(seed, 0, || [drop(), drop()]);
/// assert_eq!(two(7), two(7));
/// assert_ne!(two(7), two(8));
/// let [first, second] = two(7);
/// assert_ne!(first, second);
///
/// let drop_rows = |rows| dropout(Tensor::<2>::ones([rows, 8], &device), 0.5);
/// let whole = with_dropout_seed(7, 0, || drop_rows(5));
/// let last_two = with_dropout_seed(7, 3, || drop_rows(2));
/// assert_eq!(last_two.into_data(), whole.slice(3..5).into_data());
/// ```
pub fn with_dropout_seed<R>(seed: u64, first_item: usize, work: impl FnOnce() -> R) -> R {
    let stream = MaskStream {
        key: scramble(seed),
        drawn: 0,
        first_item,
    };
    with_setting(&STREAM, Some(stream), work)
}

/// Draws a seed for a mask, or for work that is done twice with the same masks: from the current
/// [`with_dropout_seed`], or without one from the device's generator.
pub fn next_dropout_seed(device: &Device) -> u64 {
    next_of_stream().unwrap_or_else(|| {
        // A float32 between 0 and 1 has 24 random bits.
        let range = Distribution::Uniform(0.0, 1.0);
        let device = device.clone().without_autodiff();
        let draws = Tensor::<1>::random([3], range, &device).into_data();
        draws.iter::<f32>().fold(0, |seed: u64, draw| {
            (seed << 20) ^ (draw * (1 << 24) as f32) as u64
        })
    })
}

fn next_of_stream() -> Option<u64> {
    let mut stream = STREAM.get()?;
    stream.drawn += 1;
    STREAM.set(Some(stream));
    Some(scramble(stream.key.wrapping_add(stream.drawn)))
}

/// The items of the whole batch before those that are computed; see [`with_dropout_seed`].
fn first_item() -> usize {
    STREAM.get().map_or(0, |stream| stream.first_item)
}

/// Mixes a seed with a number, a step's for example, so that the results of neighbouring numbers have
/// nothing in common: the output of SplitMix64 at that position ([Steele et al.
/// 2014](https://doi.org/10.1145/2660193.2660195)).
///
/// # Examples
///
/// ```
/// use convirt_ops::mixed_seed;
///
/// // The first two outputs of the generator from seed 0.
/// assert_eq!(mixed_seed(0, 0), 0xE220_A839_7B1D_CDAF);
/// assert_eq!(mixed_seed(0, 1), 0x6E78_9E6A_A1B9_65F4);
/// ```
pub fn mixed_seed(seed: u64, number: u64) -> u64 {
    scramble(seed.wrapping_add(number.wrapping_mul(INCREMENT)))
}

/// A bijection after which neighbouring numbers have nothing in common: one step of SplitMix64.
fn scramble(number: u64) -> u64 {
    let mut bits = number.wrapping_add(INCREMENT);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

pub(crate) fn check_probability(probability: f64) {
    assert!(
        (0.0..1.0).contains(&probability),
        "dropout of {probability}: at least 0, below 1"
    );
}

/// Drops elements by Burn's own operations.
pub(crate) fn composed<const D: usize>(input: Tensor<D>, dropout: TokenDropout) -> Tensor<D> {
    match TokenMask::draw(dropout, &input.dims(), &input.device()) {
        Some(mask) => mask.multiply(input),
        None => input,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_each_device, seeded};

    fn dropped(seed: u64, shape: [usize; 2], probability: f64) -> Vec<f32> {
        let input = Tensor::<2>::ones(shape, &device());
        let output = seeded(seed, || dropout(input, probability));
        output.into_data().try_to_vec().unwrap()
    }

    /// Fractions of a million draws: standard error at most 0.0005.
    #[test]
    fn fraction_of_dropped_elements_is_the_probability_and_others_are_scaled() {
        on_each_device(|| {
            for probability in [0.1, 0.5, 0.9] {
                let values = dropped(1, [1_000, 1_000], probability);
                let scale = (1.0 / (1.0 - probability)) as f32;
                assert!(values.iter().all(|value| *value == 0.0 || *value == scale));
                let zeros = values.iter().filter(|value| **value == 0.0).count();
                let fraction = zeros as f64 / 1e6;
                assert!((fraction - probability).abs() < 0.002, "{fraction}");
            }
        });
    }

    /// Independent fair bits agree in half of the places: standard error 0.0005 of a million.
    #[test]
    fn neighbours_rows_and_draws_are_independent() {
        let (shape, device) = ([256, 4_096], Device::flex());
        let draw = || dropout(Tensor::<2>::ones(shape, &device), 0.5);
        let draws = seeded(1, || [draw(), draw()]);
        let [first, second] = draws.map(|draw| draw.into_data().try_to_vec::<f32>().unwrap());
        let agreement = |a: &[f32], b: &[f32]| {
            let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
            same as f64 / a.len().min(b.len()) as f64
        };
        for distance in [1, 2, 3, 16, 64, 768, 4_096, 8_192, 65_536] {
            let fraction = agreement(&first, &first[distance..]);
            assert!(
                (fraction - 0.5).abs() < 0.004,
                "{distance} apart: {fraction}"
            );
        }
        let fraction = agreement(&first, &second);
        assert!((fraction - 0.5).abs() < 0.004, "two draws: {fraction}");
    }

    #[test]
    fn masks_depend_on_the_seed_and_not_on_kernel_or_threads() {
        let run = |seed| dropped(seed, [3, 5_001], 0.3);
        let first = run(7);
        assert_ne!(first, run(8));
        for (kernel, actual) in with_each_kernel(|| run(7)) {
            assert_eq!(actual, first, "{kernel:?}");
        }
    }

    /// Masks of all operations that draw one: an element of each is 0 if it was dropped.
    fn masks() -> Vec<Vec<bool>> {
        use crate::{AttentionOptions, add_layer_norm, attention};
        let device = device();
        let tokens = 64;
        let ones = || Tensor::<3>::ones([1, tokens, tokens], &device);
        let unit = || Tensor::<2>::eye(tokens, &device).unsqueeze::<3>();
        let vector = |value: f32| Tensor::<1>::full([tokens], value, &device);
        let options = |lengths| AttentionOptions {
            heads: 1,
            key_bias: Tensor::zeros([1, tokens], &device),
            lengths,
            dropout: 0.5,
        };
        let residual = || Tensor::<3>::zeros([1, tokens, tokens], &device);
        let attention = |lengths| attention([ones(), ones(), unit()], options(lengths));
        let long_vector = Tensor::<1>::ones([10_000], &device);
        [
            dropout(ones(), 0.5),
            attention(None),
            attention(Some(&[40, 24])),
            add_layer_norm(
                ones(),
                residual(),
                [vector(1.0), vector(0.0)],
                1e-5,
                0.5.into(),
            ),
            dropout(long_vector, 0.3).reshape([1, 1, -1]),
        ]
        .map(|output| {
            let numbers = output.into_data();
            numbers.iter::<f32>().map(|number| number > 0.0).collect()
        })
        .into()
    }

    #[test]
    fn a_seed_has_the_same_masks_on_every_device_and_by_burns_operations() {
        let expected = with_dropout_seed(5, 3, masks);
        on_each_device(|| {
            for (index, mask) in with_dropout_seed(5, 3, masks).iter().enumerate() {
                assert!(*mask == expected[index], "{index} on {:?}", device());
            }
        });
        let input = || Tensor::<3>::ones([3, 50, 70], &Device::flex());
        let [own, of_burn] = [token_dropout, composed].map(|drop| {
            let dropped = with_dropout_seed(5, 3, || drop(input(), 0.3.into()));
            dropped.into_data().try_to_vec::<f32>().unwrap()
        });
        assert_eq!(own, of_burn);
    }

    #[test]
    fn masks_of_a_seed_are_the_same_whatever_else_draws_and_differ_from_each_other() {
        let expected = with_dropout_seed(5, 0, masks);
        for (index, mask) in expected.iter().enumerate() {
            assert!(!expected[..index].contains(mask), "{index}");
        }
        let other = std::thread::spawn(|| with_dropout_seed(6, 0, masks));
        let actual = seeded(3, || {
            with_dropout_seed(5, 0, || {
                dropout(Tensor::<1>::ones([9], &Device::flex()), 0.0);
                masks()
            })
        });
        assert!(actual == expected);
        let other = other.join().unwrap();
        assert!(other.iter().all(|mask| !expected.contains(mask)));
    }

    /// Masks of texts in a single row, or each padded to some tokens: those of real tokens, one text
    /// after the other. Attention's probabilities are its outputs.
    fn masks_of_texts(
        lengths: &[usize],
        padded: Option<usize>,
        first_text: usize,
    ) -> Vec<Vec<bool>> {
        use crate::{AttentionOptions, add_layer_norm, attention};
        const WIDTH: usize = 64;
        let device = device();
        let [batch, tokens] = match padded {
            Some(tokens) => [lengths.len(), tokens],
            None => [1, lengths.iter().sum()],
        };
        let is_real = |text: usize, token: usize| padded.is_none() || token < lengths[text];
        let bias: Vec<f32> = (0..batch * tokens)
            .map(|key| {
                if is_real(key / tokens, key % tokens) {
                    0.0
                } else {
                    -1e4
                }
            })
            .collect();
        let ones = || Tensor::<3>::ones([batch, tokens, WIDTH], &device);
        // The i-th token of a text has the i-th unit vector as its value.
        let numbers: Vec<i32> = match padded {
            Some(tokens) => (0..batch).flat_map(|_| 0..tokens as i32).collect(),
            None => lengths
                .iter()
                .flat_map(|length| 0..*length as i32)
                .collect(),
        };
        let numbers = Tensor::<1, burn::tensor::Int>::from_data(&numbers[..], &device);
        let values = Tensor::<2>::eye(WIDTH, &device).select(0, numbers);
        let lengths_in_a_row = padded.is_none().then_some(lengths);
        let options = AttentionOptions {
            heads: 1,
            key_bias: Tensor::<1>::from_data(&bias[..], &device).reshape([batch, tokens]),
            lengths: lengths_in_a_row,
            dropout: 0.5,
        };
        let dropout = TokenDropout {
            probability: 0.5,
            lengths: lengths_in_a_row,
        };
        let vector = |value: f32| Tensor::<1>::full([WIDTH], value, &device);
        let zeros = Tensor::<3>::zeros([batch, tokens, WIDTH], &device);
        let outputs = with_dropout_seed(9, first_text, || {
            [
                token_dropout(ones(), dropout),
                attention(
                    [ones(), ones(), values.reshape([batch, tokens, WIDTH])],
                    options,
                ),
                add_layer_norm(ones(), zeros, [vector(1.0), vector(0.0)], 1e-5, dropout),
            ]
        });
        let outputs = outputs.map(|output| {
            let numbers: Vec<f32> = output.into_data().try_to_vec().unwrap();
            let rows = numbers.chunks_exact(WIDTH).enumerate();
            let real = rows.filter(|(row, _)| is_real(row / tokens, row % tokens));
            real.flat_map(|(_, row)| row.iter().map(|number| *number > 0.0))
                .collect()
        });
        outputs.into()
    }

    #[test]
    fn a_text_has_the_same_masks_wherever_it_lies_and_however_it_is_padded() {
        let expected = masks_of_texts(&[24, 40], None, 3);
        for mask in &expected {
            assert!(mask.contains(&true) && mask.contains(&false));
        }
        on_each_device(|| {
            for padded in [40, 56] {
                assert!(
                    masks_of_texts(&[24, 40], Some(padded), 3) == expected,
                    "{padded}"
                );
            }
            let part = masks_of_texts(&[40], None, 4);
            for (whole, part) in expected.iter().zip(&part) {
                assert!(whole[24 * 64..] == part[..]);
            }
        });
    }

    #[test]
    fn a_seed_leaves_the_devices_generator_alone() {
        let draw = || dropped(3, [4, 64], 0.5);
        let expected = draw();
        let actual = seeded(3, || {
            let drop = || dropout(Tensor::<2>::ones([4, 64], &Device::flex()), 0.5);
            with_dropout_seed(1, 0, drop);
            drop().into_data().try_to_vec::<f32>().unwrap()
        });
        assert_eq!(actual, expected);
    }

    #[test]
    fn an_inner_seed_counts_and_the_outer_continues_after_it_and_after_a_panic() {
        let straight = with_dropout_seed(1, 0, || [(); 2].map(|()| next_of_stream()));
        let nested = with_dropout_seed(1, 0, || {
            let first = next_of_stream();
            let inner = with_dropout_seed(2, 0, next_of_stream);
            assert!(inner.is_some() && !straight.contains(&inner));
            let panics = || with_dropout_seed(2, 0, || panic!("on purpose"));
            std::panic::catch_unwind(panics).unwrap_err();
            [first, next_of_stream()]
        });
        assert_eq!(nested, straight);
        assert_eq!(next_of_stream(), None);
    }

    /// A sum of seed and number would give equal masks to different steps.
    #[test]
    fn masks_of_neighbouring_seeds_do_not_repeat() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            with_dropout_seed(seed, 0, || {
                assert!((0..100).all(|_| seen.insert(next_of_stream())), "{seed}");
            });
        }
    }

    #[test]
    fn gradient_is_dropped_where_the_value_is() {
        on_each_device(|| {
            let device = device().autodiff();
            for function in [token_dropout::<2>, composed::<2>] {
                let input = Tensor::<2>::ones([3, 5_001], &device).require_grad();
                let output = seeded(1, || function(input.clone(), 0.3.into()));
                let gradients = output.clone().sum().backward();
                assert_eq!(
                    input.grad(&gradients).unwrap().into_data(),
                    output.into_data()
                );
            }
        });
    }

    #[test]
    fn probability_0_changes_nothing() {
        assert_eq!(dropped(1, [2, 3], 0.0), [1.0; 6]);
    }

    #[test]
    #[should_panic(expected = "dropout of 1: at least 0, below 1")]
    fn probability_1_panics() {
        dropout(Tensor::<1>::ones([1], &Device::flex()), 1.0);
    }
}
