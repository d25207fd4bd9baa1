//! Minimizing a smooth function of many numbers: limited-memory BFGS.

use std::collections::VecDeque;

/// Steps whose curvature is remembered (Liu & Nocedal 1989 suggest 3 to 20).
const MEMORY: usize = 10;
/// Share of the decrease that the slope promises which a step must bring.
const SUFFICIENT_DECREASE: f64 = 1e-4;
/// Share of the slope that may be left at the end of a step.
const CURVATURE: f64 = 0.9;
/// Points tried along a direction before it is given up.
const TRIALS: usize = 60;

/// Where a minimization ended.
#[derive(Clone, Debug)]
pub(crate) struct Minimum {
    pub point: Vec<f64>,
    /// Largest absolute component of the gradient there.
    pub gradient: f64,
}

/// A step and what it changed in the gradient.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    /// Their product, above 0.
    product: f64,
}

/// A point with value and gradient.
struct Evaluated {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Goes downhill from `start` until no component of the gradient exceeds `tolerance`, or no step
/// leads lower, or after `max_steps` ([Liu & Nocedal
/// 1989](https://doi.org/10.1007/BF01589116), steps by bisection to the weak Wolfe conditions).
///
/// `function` returns the value at a point and writes the gradient, which is zero when it is
/// called. Whether the end is good enough tells [`Minimum::gradient`].
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
    let mut here = evaluate(start);
    let mut memory: VecDeque<Curvature> = VecDeque::new();
    for _ in 0..max_steps {
        if largest(&here.gradient) <= tolerance {
            break;
        }
        let direction = descent(&here.gradient, &memory);
        // Without curvature nothing tells how far to go: a unit of length is safe.
        let first = if memory.is_empty() {
            1.0 / dot(&direction, &direction).sqrt()
        } else {
            1.0
        };
        let Some(next) = search(&here, &direction, first, &mut evaluate) else {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let step = difference(&next.point, &here.point);
        let change = difference(&next.gradient, &here.gradient);
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
        here = next;
    }
    Minimum {
        gradient: largest(&here.gradient),
        point: here.point,
    }
}

/// The direction against the gradient, bent by the curvature that is remembered (two loops).
fn descent(gradient: &[f64], memory: &VecDeque<Curvature>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for Curvature {
        step,
        change,
        product,
    } in memory.iter().rev()
    {
        let share = dot(step, &direction) / product;
        add(&mut direction, -share, change);
        shares.push(share);
    }
    if let Some(Curvature {
        change, product, ..
    }) = memory.back()
    {
        let scale = product / dot(change, change);
        direction.iter_mut().for_each(|part| *part *= scale);
    }
    for (curvature, share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(&curvature.change, &direction) / curvature.product;
        add(&mut direction, share - back, &curvature.step);
    }
    direction
}

/// The first point found along `direction` that is low and flat enough.
fn search(
    here: &Evaluated,
    direction: &[f64],
    first: f64,
    evaluate: &mut impl FnMut(Vec<f64>) -> Evaluated,
) -> Option<Evaluated> {
    let slope = dot(&here.gradient, direction);
    // Near the minimum values differ by their last bits only; the slope still tells.
    let blur = 1e-14 * here.value.abs();
    let (mut too_short, mut too_long) = (0.0, f64::INFINITY);
    let mut length = first;
    for _ in 0..TRIALS {
        let mut point = here.point.clone();
        add(&mut point, length, direction);
        let there = evaluate(point);
        let bound = here.value + SUFFICIENT_DECREASE * length * slope + blur;
        // False for a value that is not a number, which is too far, too.
        let is_low = there.value <= bound;
        if !is_low {
            too_long = length;
        } else if dot(&there.gradient, direction) < CURVATURE * slope {
            too_short = length;
        } else {
            return Some(there);
        }
        length = if too_long.is_finite() {
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

fn add(to: &mut [f64], factor: f64, other: &[f64]) {
    to.iter_mut()
        .zip(other)
        .for_each(|(to, other)| *to += factor * other);
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn largest(gradient: &[f64]) -> f64 {
    // `f64::max` would pass over what is not a number.
    gradient.iter().fold(0.0, |largest, slope| {
        if slope.abs() <= largest {
            largest
        } else {
            slope.abs()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_quadratic_is_solved_to_its_known_minimum() {
        // ½ Σ cᵢ (xᵢ − i)², curvatures from 1 to 10⁶.
        let curvatures: Vec<f64> = (0..50)
            .map(|i| 10f64.powf(6.0 * f64::from(i) / 49.0))
            .collect();
        let found = minimize(vec![0.0; 50], 1e-9, 10_000, |point, gradient| {
            let mut value = 0.0;
            for (i, curvature) in curvatures.iter().enumerate() {
                let away = point[i] - i as f64;
                gradient[i] = curvature * away;
                value += 0.5 * curvature * away * away;
            }
            value
        });
        assert!(found.gradient <= 1e-9, "{}", found.gradient);
        for (i, value) in found.point.iter().enumerate() {
            assert!((value - i as f64).abs() < 1e-8, "{i}: {value}");
        }
    }

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        let found = minimize(vec![-1.2, 1.0], 1e-10, 1_000, |point, gradient| {
            let (x, y) = (point[0], point[1]);
            gradient[0] = -400.0 * x * (y - x * x) - 2.0 * (1.0 - x);
            gradient[1] = 200.0 * (y - x * x);
            100.0 * (y - x * x).powi(2) + (1.0 - x).powi(2)
        });
        assert!(found.gradient <= 1e-10);
        assert!(
            found.point.iter().all(|part| (part - 1.0).abs() < 1e-8),
            "{:?}",
            found.point
        );
    }

    #[test]
    fn it_ends_where_it_must_and_says_how_far_from_flat() {
        // Falls forever; and is not a number anywhere but at the start.
        let slope = minimize(vec![0.0], 1e-6, 20, |point, gradient| {
            gradient[0] = 1.0;
            -point[0].abs() + point[0]
        });
        assert_eq!(slope.gradient, 1.0);
        let broken = minimize(vec![0.0], 1e-6, 20, |point, gradient| {
            gradient[0] = 1.0;
            if point[0] == 0.0 { 1.0 } else { f64::NAN }
        });
        assert_eq!((broken.point[0], broken.gradient), (0.0, 1.0));
    }
}
