//! Gaussian blur of a square plane.

/// Truncation radius in standard deviations; the weights beyond it change a pixel by less than a
/// fiftieth of an 8-bit level.
const TRUNCATION: f32 = 4.0;

/// Returns the kernel size for an input of `size` pixels: a tenth of it, made odd, as in SimCLR
/// (Chen et al. 2020, appendix A) and Colab.
pub(super) fn kernel_size(size: usize) -> usize {
    (size / 10) | 1
}

/// Blurs with a Gaussian of at most `kernel_size` taps and a standard deviation of `sigma` pixels.
///
/// At the border the plane is mirrored without repeating the edge, as in OpenCV's `GaussianBlur`.
pub(super) fn gaussian(plane: &mut [f32], size: usize, kernel_size: usize, sigma: f32) {
    let weights = weights(kernel_size.min(2 * size - 1), sigma);
    let radius = weights.len() / 2;
    if radius == 0 {
        return;
    }
    blur_rows(plane, size, &weights, radius);
    blur_columns(plane, size, &weights, radius);
}

fn blur_rows(plane: &mut [f32], size: usize, weights: &[f32], radius: usize) {
    let mut padded = vec![0.0; size + 2 * radius];
    for row in plane.chunks_exact_mut(size) {
        padded[radius..radius + size].copy_from_slice(row);
        for distance in 1..=radius {
            padded[radius - distance] = row[distance];
            padded[radius + size - 1 + distance] = row[size - 1 - distance];
        }
        row.fill(0.0);
        for (shift, weight) in weights.iter().enumerate() {
            add_scaled(row, &padded[shift..shift + size], *weight);
        }
    }
}

// Adds whole rows, so that the innermost loop accesses contiguous memory.
fn blur_columns(plane: &mut [f32], size: usize, weights: &[f32], radius: usize) {
    let source = plane.to_vec();
    for (y, target) in plane.chunks_exact_mut(size).enumerate() {
        target.fill(0.0);
        for (tap, weight) in weights.iter().enumerate() {
            let start = mirrored(y + tap, radius, size) * size;
            add_scaled(target, &source[start..start + size], *weight);
        }
    }
}

/// Returns the source line of line `padded - radius`, mirrored at the first and last of `size`
/// lines.
fn mirrored(padded: usize, radius: usize, size: usize) -> usize {
    let line = padded.abs_diff(radius);
    if line < size {
        line
    } else {
        2 * (size - 1) - line
    }
}

fn add_scaled(target: &mut [f32], source: &[f32], weight: f32) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += weight * source;
    }
}

/// Returns the weights of all taps, with sum 1; a single tap when `sigma` is too small to reach a
/// neighbour.
fn weights(kernel_size: usize, sigma: f32) -> Vec<f32> {
    let radius = (kernel_size / 2).min((TRUNCATION * sigma).ceil() as usize);
    if sigma <= 0.0 || radius == 0 {
        return vec![1.0];
    }
    let gaussian = |tap: usize| {
        let distance = tap.abs_diff(radius) as f32 / sigma;
        (-0.5 * distance * distance).exp()
    };
    let total: f32 = (0..=2 * radius).map(gaussian).sum();
    (0..=2 * radius).map(|tap| gaussian(tap) / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Radiograph;
    use crate::tests::fixtures::{levels_apart, reference_bytes};

    // OpenCV blurs bytes in fixed point and rounds: half a level and the fixed-point error.
    #[test]
    fn the_blur_agrees_with_opencv() {
        for colours in ["grey", "rgb"] {
            for (taps, sigma) in [
                (7, "0.5"),
                (7, "1.5"),
                (23, "0.1"),
                (23, "1.5"),
                (23, "3.0"),
            ] {
                let (_, samples) = reference_bytes(&format!("{colours}.64"));
                let mut ours = Radiograph::from_u8(64, 64, 3, &samples);
                for plane in ours.planes_mut() {
                    gaussian(plane, 64, taps, sigma.parse().unwrap());
                }
                let (_, samples) = reference_bytes(&format!("{colours}.blur_{taps}_{sigma}"));
                let opencv = Radiograph::from_u8(64, 64, 3, &samples);
                let apart = levels_apart(ours.pixels(), opencv.pixels());
                assert!(apart < 1.0, "{colours} {taps} {sigma}: {apart}");
            }
        }
    }

    #[test]
    fn the_kernel_is_a_tenth_of_the_input_and_odd() {
        assert_eq!([8, 64, 96, 224].map(kernel_size), [1, 7, 9, 23]);
    }

    #[test]
    fn a_constant_stays_constant_up_to_the_border() {
        let mut plane = vec![0.3; 9 * 9];
        gaussian(&mut plane, 9, 23, 3.0);
        assert!(plane.iter().all(|value| (value - 0.3).abs() < 1e-6));
    }

    #[test]
    fn a_blur_of_sigma_0_changes_nothing() {
        let original: Vec<f32> = (0..64).map(|value| value as f32).collect();
        let mut plane = original.clone();
        gaussian(&mut plane, 8, 1, 3.0);
        gaussian(&mut plane, 8, 23, 0.0);
        assert_eq!(plane, original);
    }
}
