//! The names of precisions in files and on the command line.

use convirt_data::SettingError;
use convirt_ops::Precision;
use serde::de::IntoDeserializer;
use serde::de::value::Error as UnknownName;
use serde::{Deserialize, Serialize};

/// Reads and writes a [`Precision`] by its name: `#[serde(with = "PrecisionName")]`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Precision", rename_all = "lowercase")]
pub(crate) enum PrecisionName {
    Float32,
    High,
    #[serde(rename = "bf16")]
    BFloat16,
    #[serde(rename = "fp16")]
    Float16,
}

/// Returns the precision of a name, as configurations write it: `float32`, `high`, `bf16` or `fp16`.
///
/// # Errors
///
/// [`SettingError::UnknownWord`] for any other name.
///
/// # Examples
///
/// ```
/// use convirt::compute::{Precision, parse_precision};
///
/// assert_eq!(parse_precision("bf16").unwrap(), Precision::BFloat16);
/// let error = parse_precision("half").unwrap_err();
/// assert!(error.to_string().contains("float32, high, bf16 or fp16"), "{error}");
/// ```
pub fn parse_precision(name: &str) -> Result<Precision, SettingError> {
    PrecisionName::deserialize(name.into_deserializer()).map_err(|_: UnknownName| {
        SettingError::UnknownWord {
            setting: "precision",
            word: name.into(),
            known: "float32, high, bf16 or fp16",
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_an_unknown_name_is_an_error_that_lists_them() {
        for (name, precision) in [
            ("float32", Precision::Float32),
            ("high", Precision::High),
            ("bf16", Precision::BFloat16),
            ("fp16", Precision::Float16),
        ] {
            assert_eq!(parse_precision(name).unwrap(), precision);
        }
        let error = parse_precision("half").unwrap_err().to_string();
        for part in ["half", "float32", "high", "bf16", "fp16"] {
            assert!(error.contains(part), "no `{part}` in {error}");
        }
    }
}
