//! Checks that a network's output is finite before it is used.
//!
//! Comparisons with NaN are always false, so that a NaN score could pass for the best of all.

use burn::tensor::Tensor;

use super::error::InferenceError;
use crate::error::Error;

/// Returns the rows of a network's output, one after the other; `name` returns the name of a row's
/// image or text for errors.
///
/// # Shapes
///
/// - output: `[batch, width]`
///
/// # Errors
///
/// [`InferenceError::NotFinite`] names the first row with a NaN or an infinity.
pub(crate) fn finite_rows(
    output: Tensor<2>,
    name: impl Fn(usize) -> String,
) -> Result<Vec<f32>, InferenceError> {
    let width = output.dims()[1].max(1);
    let numbers: Vec<f32> = output.into_data().iter::<f32>().collect();
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(numbers),
        Some(index) => Err(InferenceError::NotFinite {
            name: name(index / width),
        }),
    }
}

/// Returns the rows of a network's output, scaled to L2 norm 1; a row of zeros stays as it is.
///
/// # Shapes
///
/// - output: `[batch, width]`
///
/// # Errors
///
/// As [`finite_rows`].
pub(crate) fn unit_rows(
    output: Tensor<2>,
    name: impl Fn(usize) -> String,
) -> Result<Vec<f32>, Error> {
    let width = output.dims()[1].max(1);
    let mut rows = finite_rows(output, name)?;
    rows.chunks_mut(width).for_each(scale_to_unit);
    Ok(rows)
}

/// Returns a vector scaled to L2 norm 1, or zeros for a vector of zeros; `None` when a number is
/// NaN or infinite.
pub(crate) fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let mut unit = vector.to_vec();
    scale_to_unit(&mut unit);
    vector
        .iter()
        .all(|number| number.is_finite())
        .then_some(unit)
}

fn scale_to_unit(vector: &mut [f32]) {
    // The square of a float32 number never overflows in float64.
    let square: f64 = vector.iter().map(|number| f64::from(*number).powi(2)).sum();
    let norm = square.sqrt().max(f64::MIN_POSITIVE);
    for number in vector {
        *number = (f64::from(*number) / norm) as f32;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn rows(numbers: [f32; 6]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(numbers.to_vec(), [3, 2]), &Device::flex())
    }

    #[test]
    fn a_row_that_is_not_finite_is_an_error_that_names_it() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let output = rows([1.0, 2.0, 3.0, bad, bad, 4.0]);
            let error = unit_rows(output, |row| format!("{row}.png")).unwrap_err();
            assert!(error.to_string().contains("`1.png`"), "{error}");
        }
    }

    #[test]
    fn rows_are_scaled_to_norm_1_whatever_their_size() {
        // The square of 2^100 overflows in float32.
        let large = 100f32.exp2();
        let output = rows([3.0, 4.0, 3.0 * large, -4.0 * large, 0.0, 0.0]);
        let units = unit_rows(output, |row| row.to_string()).unwrap();
        assert_eq!(units, [0.6, 0.8, 0.6, -0.8, 0.0, 0.0]);
    }
}
