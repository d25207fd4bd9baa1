//! Settings that are refused, and checks of numbers that come from a configuration.

use std::ops::RangeInclusive;

/// Why a setting is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A setting is out of range.
    #[error("`{setting}` is {value}; it must be {allowed}")]
    OutOfRange {
        /// The setting, as its configuration calls it.
        setting: &'static str,
        /// The value given.
        value: f64,
        /// The values allowed.
        allowed: &'static str,
    },

    /// A word is none of those that a setting knows.
    #[error("`{setting}` is `{word}`; it must be {known}")]
    UnknownWord {
        /// The setting.
        setting: &'static str,
        /// The word given.
        word: String,
        /// The words there are.
        known: &'static str,
    },
}

/// Checks that `value` lies in `bounds`, which `allowed` puts into words; NaN never does.
///
/// # Errors
///
/// [`SettingError::OutOfRange`].
pub(crate) fn check(
    setting: &'static str,
    value: f64,
    bounds: RangeInclusive<f64>,
    allowed: &'static str,
) -> Result<(), SettingError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(SettingError::OutOfRange {
        setting,
        value,
        allowed,
    })
}

/// Checks that `value` is at least `lowest`.
///
/// # Errors
///
/// [`SettingError::OutOfRange`].
pub(crate) fn check_at_least(
    setting: &'static str,
    value: usize,
    lowest: usize,
    allowed: &'static str,
) -> Result<(), SettingError> {
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
/// [`SettingError::OutOfRange`].
pub(crate) fn check_input_size(size: usize) -> Result<(), SettingError> {
    check("input size", size as f64, 8.0..=4096.0, "in [8, 4096]")
}
