//! Minimization of a smooth function of many variables by limited-memory BFGS.

use std::collections::VecDeque;

/// Number of steps whose curvature is remembered (Liu & Nocedal 1989 suggest 3 to 20).
const MEMORY: usize = 10;
/// c₁ of the Wolfe conditions: a step must decrease the value by this fraction of what the initial
/// directional derivative predicts.
const SUFFICIENT_DECREASE: f64 = 1e-4;
/// c₂ of the Wolfe conditions: the directional derivative after a step may be at most this fraction
/// of the initial one.
const CURVATURE: f64 = 0.9;
/// Number of points tried along a direction before the line search fails.
const MAX_TRIALS: usize = 60;

/// The result of a minimization.
#[derive(Clone, Debug)]
pub(crate) struct Minimum {
    pub point: Vec<f64>,
    /// Largest absolute component of the gradient at the point.
    pub gradient: f64,
}

/// A step s and the change y of the gradient along it.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    /// s · y, above 0.
    product: f64,
}

/// A point with the function's value and gradient.
struct Evaluated {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Minimizes `function` from `start` by L-BFGS ([Liu & Nocedal
/// 1989](https://doi.org/10.1007/BF01589116)), with a line search by bisection for the weak Wolfe
/// conditions.
///
/// It ends when no component of the gradient exceeds `tolerance`, when no step decreases the value,
/// or after `max_steps`; [`Minimum::gradient`] shows whether it converged. `function` returns the
/// value at a point and adds its gradient to a slice of zeros.
pub(crate) fn minimize(
    start: Vec<f64>,
    tolerance: f64,
    max_steps: usize,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let mut evaluate = |point: Vec<f64>| {
        let mut gradient = vec![0.0; point.len()];
        let value = function(&point, &mut gradient);
        Evaluated {
            point,
            value,
            gradient,
        }
    };
    let mut current = evaluate(start);
    let mut memory: VecDeque<Curvature> = VecDeque::new();
    for _ in 0..max_steps {
        if max_abs(&current.gradient) <= tolerance {
            break;
        }
        let direction = descent_direction(&current.gradient, &memory);
        // Without curvature, the scale is unknown; a step of length 1 is safe.
        let first_factor = if memory.is_empty() {
            1.0 / dot(&direction, &direction).sqrt()
        } else {
            1.0
        };
        let Some(next) = line_search(&current, &direction, first_factor, &mut evaluate) else {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let step = difference(&next.point, &current.point);
        let change = difference(&next.gradient, &current.gradient);
        let product = dot(&step, &change);
        if product > 0.0 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Curvature {
                step,
                change,
                product,
            });
        }
        current = next;
    }
    Minimum {
        gradient: max_abs(&current.gradient),
        point: current.point,
    }
}

/// Returns the descent direction −H·g by the two-loop recursion over the remembered curvature.
fn descent_direction(gradient: &[f64], memory: &VecDeque<Curvature>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|component| -component).collect();
    let mut alphas = Vec::with_capacity(memory.len());
    for Curvature {
        step,
        change,
        product,
    } in memory.iter().rev()
    {
        let alpha = dot(step, &direction) / product;
        add_scaled(&mut direction, -alpha, change);
        alphas.push(alpha);
    }
    if let Some(Curvature {
        change, product, ..
    }) = memory.back()
    {
        let scale = product / dot(change, change);
        direction
            .iter_mut()
            .for_each(|component| *component *= scale);
    }
    for (curvature, alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(&curvature.change, &direction) / curvature.product;
        add_scaled(&mut direction, alpha - beta, &curvature.step);
    }
    direction
}

/// Returns the first point along `direction` that fulfils the weak Wolfe conditions. It begins at
/// `first_factor` times the direction.
fn line_search(
    start: &Evaluated,
    direction: &[f64],
    first_factor: f64,
    evaluate: &mut impl FnMut(Vec<f64>) -> Evaluated,
) -> Option<Evaluated> {
    let derivative = dot(&start.gradient, direction);
    // Near the minimum, values differ only by rounding; then the derivative decides.
    let rounding = 1e-14 * start.value.abs();
    let (mut too_short, mut too_long) = (0.0, f64::INFINITY);
    let mut factor = first_factor;
    for _ in 0..MAX_TRIALS {
        let mut point = start.point.clone();
        add_scaled(&mut point, factor, direction);
        let next = evaluate(point);
        let bound = start.value + SUFFICIENT_DECREASE * factor * derivative + rounding;
        // This is false for NaN: such a step is too long as well.
        let is_low = next.value <= bound;
        if !is_low {
            too_long = factor;
        } else if dot(&next.gradient, direction) < CURVATURE * derivative {
            too_short = factor;
        } else {
            return Some(next);
        }
        factor = if too_long.is_finite() {
            f64::midpoint(too_short, too_long)
        } else {
            2.0 * too_short
        };
    }
    None
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(sum: &mut [f64], factor: f64, other: &[f64]) {
    sum.iter_mut()
        .zip(other)
        .for_each(|(sum, other)| *sum += factor * other);
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn max_abs(gradient: &[f64]) -> f64 {
    // `f64::max` would ignore NaN.
    gradient.iter().fold(0.0, |largest, component| {
        if component.abs() <= largest {
            largest
        } else {
            component.abs()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_quadratic_is_solved_to_its_known_minimum() {
        // ½ Σ cᵢ (xᵢ − i)², with curvatures cᵢ from 1 to 10⁶.
        let curvatures: Vec<f64> = (0..50)
            .map(|i| 10f64.powf(6.0 * f64::from(i) / 49.0))
            .collect();
        let minimum = minimize(vec![0.0; 50], 1e-9, 10_000, |point, gradient| {
            let mut value = 0.0;
            for (i, curvature) in curvatures.iter().enumerate() {
                let distance = point[i] - i as f64;
                gradient[i] = curvature * distance;
                value += 0.5 * curvature * distance * distance;
            }
            value
        });
        assert!(minimum.gradient <= 1e-9, "{}", minimum.gradient);
        for (i, value) in minimum.point.iter().enumerate() {
            assert!((value - i as f64).abs() < 1e-8, "{i}: {value}");
        }
    }

    #[test]
    fn the_rosenbrock_function_is_minimized() {
        let minimum = minimize(vec![-1.2, 1.0], 1e-10, 1_000, |point, gradient| {
            let (x, y) = (point[0], point[1]);
            gradient[0] = -400.0 * x * (y - x * x) - 2.0 * (1.0 - x);
            gradient[1] = 200.0 * (y - x * x);
            100.0 * (y - x * x).powi(2) + (1.0 - x).powi(2)
        });
        assert!(minimum.gradient <= 1e-10);
        assert!(
            minimum.point.iter().all(|part| (part - 1.0).abs() < 1e-8),
            "{:?}",
            minimum.point
        );
    }

    #[test]
    fn it_ends_without_convergence_and_returns_the_gradient() {
        // The first function has no minimum; the second is NaN except at the start.
        let unbounded = minimize(vec![0.0], 1e-6, 20, |point, gradient| {
            gradient[0] = 1.0;
            -point[0].abs() + point[0]
        });
        assert_eq!(unbounded.gradient, 1.0);
        let undefined = minimize(vec![0.0], 1e-6, 20, |point, gradient| {
            gradient[0] = 1.0;
            if point[0] == 0.0 { 1.0 } else { f64::NAN }
        });
        assert_eq!((undefined.point[0], undefined.gradient), (0.0, 1.0));
    }
}
