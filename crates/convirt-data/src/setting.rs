//! Checks of numbers that come from a configuration.

use std::ops::RangeInclusive;

use crate::error::DataError;

/// Checks that `value` lies in `bounds`, which `allowed` puts into words; NaN never does.
///
/// # Errors
///
/// [`DataError::OutOfRange`].
pub(crate) fn check(
    setting: &'static str,
    value: f64,
    bounds: RangeInclusive<f64>,
    allowed: &'static str,
) -> Result<(), DataError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(DataError::OutOfRange {
        setting,
        value,
        allowed,
    })
}

/// Checks that `value` is at least `lowest`.
///
/// # Errors
///
/// [`DataError::OutOfRange`].
pub(crate) fn check_at_least(
    setting: &'static str,
    value: usize,
    lowest: usize,
    allowed: &'static str,
) -> Result<(), DataError> {
    check(
        setting,
        value as f64,
        lowest as f64..=f64::INFINITY,
        allowed,
    )
}

/// Checks the side of a network input: 8 to 4,096 pixels.
///
/// # Errors
///
/// [`DataError::OutOfRange`].
pub(crate) fn check_input_size(size: usize) -> Result<(), DataError> {
    check("input size", size as f64, 8.0..=4096.0, "in [8, 4096]")
}
