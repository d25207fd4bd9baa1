//! Charts of curves and histograms, as SVG within the page.

use std::fmt::Write;

use super::html::Escaped;

/// Maximum number of points of a curve; neighbours are averaged if there are more.
const MAX_POINTS: usize = 400;

/// Maximum number of bars of a histogram.
const MAX_BARS: usize = 32;

/// Weight of the previous value in the smoothed curve.
const SMOOTHING: f64 = 0.9;

/// Minimum number of points of a curve that is smoothed.
const MIN_SMOOTHED: usize = 40;

/// Size of the drawing, and the margins that hold the numbers of the axes, in SVG units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// A curve of a [`Chart`].
pub(super) struct Curve<'a> {
    pub name: &'a str,
    /// Steps and values, in the order of the steps.
    pub points: Vec<(f64, f64)>,
}

/// A chart of curves over the optimizer's steps.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub curves: Vec<Curve<'a>>,
    /// Name and value of a horizontal line to compare with.
    pub level: Option<(&'a str, f64)>,
    /// The step of the saved model.
    pub best_step: Option<f64>,
    /// Whether long curves are smoothed; they are noisy then.
    pub is_noisy: bool,
}

impl Chart<'_> {
    /// Draws the chart with its title and legend; returns an empty string if no curve has a point.
    pub(super) fn draw(&self) -> String {
        let finite = |curve: &Curve<'_>| {
            let points = curve.points.iter().copied();
            let points = points.filter(|(x, y)| x.is_finite() && y.is_finite());
            thinned(&points.collect::<Vec<_>>())
        };
        let curves = self.curves.iter().map(|curve| (curve.name, finite(curve)));
        let curves: Vec<_> = curves.filter(|(_, points)| !points.is_empty()).collect();
        let all = || curves.iter().flat_map(|(_, points)| points);
        if all().next().is_none() {
            return String::new();
        }
        let x_axis = Axis::new(all().map(|point| point.0));
        let level = self.level.map(|(_, value)| value);
        let y_axis = Axis::new(all().map(|point| point.1).chain(level));
        let x = |value: f64| LEFT + x_axis.fraction(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - y_axis.fraction(value) * (HEIGHT - TOP - BOTTOM);

        let mut svg = head(self.title, HEIGHT);
        let right = WIDTH - RIGHT;
        for tick in y_axis.ticks() {
            let tick_y = y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{tick_y:.1}\" y2=\"{tick_y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                tick_y + 4.0,
                number(tick)
            );
        }
        for tick in x_axis.ticks() {
            label_below(&mut svg, x(tick), HEIGHT, tick);
        }
        let bottom = HEIGHT - BOTTOM;
        let best = self
            .best_step
            .filter(|step| (x_axis.low..=x_axis.high).contains(step));
        if let Some(best) = best {
            let best_x = x(best);
            let _ = write!(
                svg,
                "<line class=\"best\" x1=\"{best_x:.1}\" x2=\"{best_x:.1}\" y1=\"{TOP}\" \
                 y2=\"{bottom}\"/>"
            );
        }
        if let Some(level) = level {
            let level_y = y(level);
            let _ = write!(
                svg,
                "<line class=\"level\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{level_y:.1}\" y2=\"{level_y:.1}\"/>"
            );
        }
        let coordinates = |points: &[(f64, f64)]| {
            let points = points.iter().map(|&(step, value)| (x(step), y(value)));
            let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            points.join(" ")
        };
        for (index, (_, points)) in curves.iter().enumerate() {
            let _ = match points.as_slice() {
                &[(step, value)] => write!(
                    svg,
                    "<circle class=\"c{index}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>",
                    x(step),
                    y(value)
                ),
                points if self.is_noisy && points.len() >= MIN_SMOOTHED => write!(
                    svg,
                    "<polyline class=\"c{index} raw\" points=\"{}\"/>\
                     <polyline class=\"c{index}\" points=\"{}\"/>",
                    coordinates(points),
                    coordinates(&smoothed(points))
                ),
                points => write!(
                    svg,
                    "<polyline class=\"c{index}\" points=\"{}\"/>",
                    coordinates(points)
                ),
            };
        }
        svg.push_str(&tips(&curves, x));
        svg.push_str("</svg><p class=\"key\">");
        for (index, (name, _)) in curves.iter().enumerate() {
            let _ = write!(svg, "<span class=\"k{index}\">{}</span> ", Escaped(name));
        }
        if let Some((name, value)) = self.level {
            let _ = write!(
                svg,
                "<span class=\"kl\">{} {}</span>",
                Escaped(name),
                number(value)
            );
        }
        if let Some(best) = best {
            let best = number(best);
            let _ = write!(svg, "<span class=\"kb\">step {best}, saved</span>");
        }
        svg.push_str("</p></figure>");
        svg
    }
}

/// Draws invisible strips over the chart, one for each step of the curve with the most points; under
/// the pointer, each shows a line and the values at its step.
fn tips(curves: &[(&str, Vec<(f64, f64)>)], x: impl Fn(f64) -> f64) -> String {
    let longest = curves.iter().max_by_key(|(_, points)| points.len());
    let Some((_, steps)) = longest else {
        return String::new();
    };
    let mut svg = String::new();
    for (index, &(step, _)) in steps.iter().enumerate() {
        let middle = |other: Option<&(f64, f64)>, edge: f64| {
            other.map_or(edge, |other| f64::midpoint(x(other.0), x(step)))
        };
        let before = index.checked_sub(1).map(|index| &steps[index]);
        let (left, right) = (
            middle(before, LEFT),
            middle(steps.get(index + 1), WIDTH - RIGHT),
        );
        let mut text = format!("step {}", number(step));
        for (name, points) in curves {
            let near = points.iter().min_by(|a, b| {
                let distance = |point: &(f64, f64)| (point.0 - step).abs();
                distance(a).total_cmp(&distance(b))
            });
            // Held-out curves have fewer points: of the last one up to this step.
            if let Some((_, value)) = near.filter(|near| x(near.0) >= left && x(near.0) <= right) {
                let _ = write!(text, "\n{name} {}", number(*value));
            }
        }
        let (at, bottom) = (x(step), HEIGHT - BOTTOM);
        let _ = write!(
            svg,
            "<g class=\"tip\"><title>{}</title><rect x=\"{left:.1}\" y=\"{TOP}\" \
             width=\"{:.1}\" height=\"{:.1}\"/><line x1=\"{at:.1}\" x2=\"{at:.1}\" \
             y1=\"{TOP}\" y2=\"{bottom}\"/></g>",
            Escaped(&text),
            (right - left).max(0.1),
            bottom - TOP
        );
    }
    svg
}

/// Smooths a curve by an exponential moving average without the bias of its start.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let smooth = points.iter().map(|&(step, value)| {
        sum = SMOOTHING * sum + value;
        weight = SMOOTHING * weight + 1.0;
        (step, sum / weight)
    });
    smooth.collect()
}

/// Draws a histogram of the numbers of words; the last bar holds the longest 1 % of the texts.
pub(super) fn histogram(title: &str, words: &[usize]) -> String {
    const HEIGHT: f64 = 180.0;
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    let percentile = (words.len() * 99).div_ceil(100).saturating_sub(1);
    let longest = sorted.get(percentile).copied().unwrap_or(0);
    let bar_width = (longest + 1).div_ceil(MAX_BARS);
    let mut bars = vec![0_usize; longest / bar_width + 1];
    let last = bars.len() - 1;
    for count in words {
        bars[(count / bar_width).min(last)] += 1;
    }
    let max_count = bars.iter().copied().max().unwrap_or(0).max(1);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let range = (bars.len() * bar_width) as f64;
    let x = |value: f64| LEFT + value / range * (right - LEFT);
    let mut svg = head(title, HEIGHT);
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{max_count}</text>",
        LEFT - 6.0,
        TOP + 8.0
    );
    for (bar, &count) in bars.iter().enumerate() {
        let (start, end) = (bar * bar_width, (bar + 1) * bar_width);
        let is_open = bar == last && sorted.last() >= Some(&end);
        let name = if is_open {
            format!("{start} words and more")
        } else if bar_width == 1 {
            format!("{start} words")
        } else {
            format!("{start} to {} words", end - 1)
        };
        let (left, right) = (x(start as f64), x(end as f64));
        let height = count as f64 / max_count as f64 * (bottom - TOP);
        let _ = write!(
            svg,
            "<g><title>{name}: {count}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
             height=\"{height:.1}\"/></g>",
            left + 0.5,
            bottom - height,
            right - left - 1.0
        );
    }
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
    );
    let ticks = Axis::new([0.0, range].into_iter()).ticks();
    for tick in ticks.filter(|tick| *tick <= range) {
        label_below(&mut svg, x(tick), HEIGHT, tick);
    }
    svg + "</svg></figure>"
}

/// Returns the opening tags of a figure and its SVG of the given height.
fn head(title: &str, height: f64) -> String {
    let title = Escaped(title);
    format!(
        "<figure class=\"chart\"><figcaption>{title}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
    )
}

/// Writes a number below a drawing of the given height.
fn label_below(svg: &mut String, x: f64, height: f64, value: f64) {
    let y = height - BOTTOM + 18.0;
    let value = number(value);
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{value}</text>"
    );
}

/// The range of an axis, which ends at round numbers.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Creates an axis that covers all values.
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let range = match high - low {
            range if range > 0.0 => range,
            _ => high.abs().max(1e-6),
        };
        // The distance of the ticks is 1, 2 or 5 times a power of ten, with four to ten ticks.
        let power = 10_f64.powf((range / 4.0).log10().floor());
        let steps = [5.0, 2.0, 1.0].map(|times| times * power);
        let step = steps.into_iter().find(|step| range / step >= 3.0);
        let step = step.unwrap_or(power);
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil().max((low / step).floor() + 1.0) * step,
            step,
        }
    }

    /// Returns the position of a value on the axis, from 0 to 1.
    fn fraction(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        let (low, step) = (self.low, self.step);
        (0..=count).map(move |i| low + i as f64 * step)
    }
}

/// Averages neighbouring points, so that at most [`MAX_POINTS`] remain.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let chunk_size = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        let x_sum: f64 = chunk.iter().map(|point| point.0).sum();
        let y_sum: f64 = chunk.iter().map(|point| point.1).sum();
        (x_sum / count, y_sum / count)
    };
    points.chunks(chunk_size).map(mean).collect()
}

/// Formats a number with up to three decimals, or in scientific notation if it is very small or
/// large.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: Vec<(f64, f64)>) -> String {
        let curves = vec![Curve {
            name: "a < b",
            points,
        }];
        let level = Some(("chance", 3.5));
        Chart {
            title: "Loss",
            curves,
            level,
            best_step: Some(10.0),
            is_noisy: true,
        }
        .draw()
    }

    #[test]
    fn a_curve_fills_the_drawing_from_corner_to_corner() {
        let svg = drawn(vec![(0.0, 1.0), (10.0, 4.0)]);
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let (low, high) = (HEIGHT - BOTTOM, TOP);
        let points = format!("points=\"{left:.1},{low:.1} {right:.1},{high:.1}\"");
        assert!(svg.contains(&points), "{svg}");
        assert!(
            svg.contains("a &lt; b") && svg.contains("chance 3.5"),
            "{svg}"
        );
    }

    #[test]
    fn the_saved_step_is_marked_and_every_step_has_a_tip() {
        let svg = drawn(vec![(0.0, 1.0), (10.0, 4.0)]);
        assert!(
            svg.contains("class=\"best\"") && svg.contains("step 10, saved"),
            "{svg}"
        );
        assert!(svg.contains("<title>step 10\na &lt; b 4</title>"), "{svg}");
        assert_eq!(svg.matches("class=\"tip\"").count(), 2);
        // A step that is not on the chart is not marked.
        assert!(!drawn(vec![(20.0, 1.0), (30.0, 4.0)]).contains("class=\"best\""));
    }

    #[test]
    fn long_curves_are_drawn_smoothed_over_their_values() {
        let noisy = (0..100).map(|i| (f64::from(i), f64::from(i % 2)));
        let smooth = smoothed(&noisy.collect::<Vec<_>>());
        assert!(
            smooth[50..]
                .iter()
                .all(|point| (point.1 - 0.5).abs() < 0.05),
            "{smooth:?}"
        );
        let svg = drawn((0..100).map(|i| (f64::from(i), 1.0)).collect());
        assert_eq!(svg.matches("<polyline").count(), 2);
    }

    #[test]
    fn the_axis_of_a_histogram_is_below_its_bars() {
        let svg = histogram("words", &[1, 2, 3]);
        assert!(svg.contains("viewBox=\"0 0 640 180\""), "{svg}");
        // The numbers stand 18 units below the line of the bars.
        assert!(
            svg.contains("y1=\"144\"") && svg.contains("y=\"162.0\""),
            "{svg}"
        );
    }

    #[test]
    fn no_points_draw_nothing_and_one_point_draws_a_dot() {
        assert_eq!(drawn(vec![]), "");
        assert_eq!(drawn(vec![(1.0, f64::NAN)]), "");
        assert!(drawn(vec![(3.0, 3.0)]).contains("<circle"));
    }

    #[test]
    fn long_curves_are_averaged() {
        let points: Vec<_> = (0..10_000)
            .map(|i| (f64::from(i), f64::from(i % 2)))
            .collect();
        let thin = thinned(&points);
        assert_eq!(thin.len(), 400);
        assert!(thin.iter().all(|point| (point.1 - 0.5).abs() < 0.1));
    }

    #[test]
    fn every_text_is_in_a_bar_and_very_long_texts_are_in_the_last() {
        let mut words: Vec<usize> = (0..300).map(|i| i % 64).collect();
        words.extend([5000, 6000]);
        let svg = histogram("a < b", &words);
        assert!(svg.contains("a &lt; b"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 32);
        assert!(svg.contains("<title>0 to 1 words: 10</title>"), "{svg}");
        assert!(
            svg.contains("<title>62 words and more: 10</title>"),
            "{svg}"
        );
        let single = histogram("", &[0]);
        assert!(single.contains("<title>0 words: 1</title>"), "{single}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let axis = Axis::new([2.87, 3.43].into_iter());
        let ticks: Vec<_> = axis.ticks().map(number).collect();
        assert_eq!(ticks.first().map(String::as_str), Some("2.8"));
        assert!(ticks.len() >= 4 && ticks.len() <= 11, "{ticks:?}");
        let flat = Axis::new([5.0, 5.0].into_iter());
        assert!(flat.fraction(5.0).is_finite());
        assert_eq!(
            [1e-4, 0.5, 120.0, 3e6].map(number),
            ["1.0e-4", "0.5", "120", "3.0e6"]
        );
    }
}
