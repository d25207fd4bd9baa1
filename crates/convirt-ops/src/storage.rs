//! The type in which feature maps and token states are stored between operations.

use burn::tensor::{DType, FloatDType, Tensor};

use crate::Precision;

/// Rounds feature maps or token states to the type in which the current
/// [`autocast`](crate::autocast) stores them: bfloat16 or float16 in an autocast of it, else unchanged.
/// Operations return the type of their input, so a network calls this once, at its start.
///
/// # Shapes
///
/// - input, output: any
///
/// # Examples
///
/// ```
/// use burn::tensor::{DType, Device, Tensor};
/// use convirt_ops::{Precision, autocast, from_storage, gelu, to_storage};
///
/// let input = Tensor::<1>::ones([4], &Device::flex());
/// let stored = autocast(Precision::BFloat16, || gelu(to_storage(input)));
/// assert_eq!(stored.dtype(), DType::BF16);
/// assert_eq!(from_storage(stored).dtype(), DType::F32);
/// ```
pub fn to_storage<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    match Precision::current().half_type(&input.device()) {
        Some(half) if input.dtype() == DType::F32 => cast(input, half),
        _ => input,
    }
}

/// Converts feature maps or token states of bfloat16 or float16 to float32, at a network's end.
///
/// # Shapes
///
/// - input, output: any
pub fn from_storage<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    match is_half(input.dtype()) {
        true => cast(input, FloatDType::F32),
        false => input,
    }
}

/// Whether numbers of a type have 16 bits.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

fn cast<const D: usize>(input: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::cast(input, dtype);
    }
    input.cast(dtype)
}

/// Returns copies of a tensor for several operations; their gradients are added on all threads.
///
/// Every copy must contribute to the result that is differentiated, or else the backward pass
/// panics for lack of a gradient.
///
/// # Shapes
///
/// - input, outputs: any
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::branch;
///
/// let input = Tensor::<1>::ones([3], &Device::flex().autodiff()).require_grad();
/// let [residual, shortcut] = branch(input.clone());
/// let gradients = (residual * 2.0 + shortcut).sum().backward();
/// assert_eq!(input.grad(&gradients).unwrap().into_data(), [3.0f32; 3].into());
/// ```
pub fn branch<const N: usize, const D: usize>(input: Tensor<D>) -> [Tensor<D>; N] {
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) && input.is_tracked() {
        return crate::flex::branch(input);
    }
    std::array::from_fn(|_| input.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autocast;
    use crate::testing::{device, on_each_device, random, values};

    #[test]
    fn bfloat16_is_stored_only_in_its_autocast_and_gradients_return_to_float32() {
        on_each_device(|| {
            if !Precision::BFloat16.runs_on(&device()) {
                return;
            }
            let input = random([3, 40_000], 1, &device().autodiff()).require_grad();
            let same = to_storage(input.clone());
            assert_eq!(same.dtype(), DType::F32);
            let kept = autocast(Precision::BFloat16, || to_storage(input.clone()));
            assert_eq!(kept.dtype(), DType::BF16);
            let back = from_storage(kept);
            let expected = input.clone().cast(FloatDType::BF16).cast(FloatDType::F32);
            assert_eq!(values(&back), values(&expected));
            let gradients = (back * 3.0).sum().backward();
            let gradient = input.grad(&gradients).unwrap();
            assert_eq!(gradient.dtype(), DType::F32);
            assert!(values(&gradient).iter().all(|gradient| *gradient == 3.0));
        });
    }

    #[test]
    fn gradients_of_branches_are_added() {
        on_each_device(|| {
            let input = random([2, 30_000], 1, &device().autodiff()).require_grad();
            let [a, b, c] = branch(input.clone());
            let loss = (a.clone() * a).sum() + (b * 2.0).sum() + c.sum();
            let gradients = loss.backward();
            let actual = values(&input.grad(&gradients).unwrap());
            let expected = values(&input).into_iter().map(|x| 2.0 * x + 2.0 + 1.0);
            assert!(
                actual
                    .into_iter()
                    .zip(expected)
                    .all(|(f, e)| (f - e).abs() < 1e-6)
            );
            // Without autodiff there are no gradients to add.
            let [plain] = branch(random([2, 3], 1, &device()));
            assert!(!plain.is_autodiff());
        });
    }
}
