//! Range checks for settings.

use std::ops::RangeInclusive;

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A setting is out of range.
    #[error("`{setting}` is {value}; it must be {allowed}")]
    OutOfRange {
        /// Name of the setting in its configuration.
        setting: &'static str,
        /// The value given.
        value: f64,
        /// The values allowed.
        allowed: &'static str,
    },

    /// The setting does not accept this word.
    #[error("`{setting}` is `{word}`; it must be {known}")]
    UnknownWord {
        /// The setting.
        setting: &'static str,
        /// The word given.
        word: String,
        /// The accepted words.
        known: &'static str,
    },
}

/// Checks that `value` lies in `bounds`; NaN never does. `allowed` describes the bounds in words.
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

/// Checks that `value` is at least `minimum`.
///
/// # Errors
///
/// [`SettingError::OutOfRange`].
pub(crate) fn check_at_least(
    setting: &'static str,
    value: usize,
    minimum: usize,
    allowed: &'static str,
) -> Result<(), SettingError> {
    check(
        setting,
        value as f64,
        minimum as f64..=f64::INFINITY,
        allowed,
    )
}

/// Checks the side of a network's input: 8 to 4,096 pixels.
///
/// # Errors
///
/// [`SettingError::OutOfRange`].
pub(crate) fn check_input_size(size: usize) -> Result<(), SettingError> {
    check("input size", size as f64, 8.0..=4096.0, "in [8, 4096]")
}
