//! Curves, as SVG within the page.

use std::fmt::Write;

use super::html::Escaped;

/// Points that a curve has at the most; more are averaged.
const MAX_POINTS: usize = 400;

/// Bars that a histogram has at the most.
const MAX_BARS: usize = 32;

/// Size of the drawing, in its own units, and the room for numbers at its sides.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// A curve of a [`Chart`].
pub(super) struct Curve<'a> {
    pub name: &'a str,
    /// Step and value, by step.
    pub points: Vec<(f64, f64)>,
}

/// Curves over the optimizer's steps.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub curves: Vec<Curve<'a>>,
    /// A value to compare with, and its name.
    pub level: Option<(&'a str, f64)>,
}

impl Chart<'_> {
    /// Draws the chart with its title and key; nothing where no curve has a point.
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
        let xs = Axis::over(all().map(|point| point.0));
        let level = self.level.map(|(_, value)| value);
        let ys = Axis::over(all().map(|point| point.1).chain(level));
        let x = |value: f64| LEFT + xs.share(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - ys.share(value) * (HEIGHT - TOP - BOTTOM);

        let mut svg = head(self.title);
        let right = WIDTH - RIGHT;
        for tick in ys.ticks() {
            let at = y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(tick)
            );
        }
        for tick in xs.ticks() {
            label_below(&mut svg, x(tick), tick);
        }
        if let Some(level) = level {
            let at = y(level);
            let _ = write!(
                svg,
                "<line class=\"level\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            );
        }
        for (index, (_, points)) in curves.iter().enumerate() {
            let places: Vec<_> = points
                .iter()
                .map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value)))
                .collect();
            match places.as_slice() {
                [] => {}
                [only] => {
                    let (cx, cy) = only.split_once(',').unwrap_or_default();
                    let _ = write!(
                        svg,
                        "<circle class=\"c{index}\" cx=\"{cx}\" cy=\"{cy}\" r=\"4\"/>"
                    );
                }
                places => {
                    let places = places.join(" ");
                    let _ = write!(svg, "<polyline class=\"c{index}\" points=\"{places}\"/>");
                }
            }
        }
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
        svg.push_str("</p></figure>");
        svg
    }
}

/// Draws how often each number of words occurs; the longest hundredth is in the last bar.
pub(super) fn histogram(title: &str, words: &[usize]) -> String {
    const HEIGHT: f64 = 160.0;
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    let place = (words.len() * 99).div_ceil(100).saturating_sub(1);
    let longest = sorted.get(place).copied().unwrap_or(0);
    let together = (longest + 1).div_ceil(MAX_BARS);
    let mut bars = vec![0_usize; longest / together + 1];
    let last = bars.len() - 1;
    for count in words {
        bars[(count / together).min(last)] += 1;
    }
    let most = bars.iter().copied().max().unwrap_or(0).max(1);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let range = (bars.len() * together) as f64;
    let x = |value: f64| LEFT + value / range * (right - LEFT);
    let mut svg = head(title);
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{most}</text>",
        LEFT - 6.0,
        TOP + 8.0
    );
    for (bar, &count) in bars.iter().enumerate() {
        let (from, to) = (bar * together, (bar + 1) * together);
        let name = match (bar == last && sorted.last() >= Some(&to), to - from) {
            (true, _) => format!("{from} words and more"),
            (false, 1) => format!("{from} words"),
            (false, _) => format!("{from} to {} words", to - 1),
        };
        let (left, end) = (x(from as f64), x(to as f64));
        let height = count as f64 / most as f64 * (bottom - TOP);
        let _ = write!(
            svg,
            "<g><title>{name}: {count}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
             height=\"{height:.1}\"/></g>",
            left + 0.5,
            bottom - height,
            end - left - 1.0
        );
    }
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
    );
    let ticks = Axis::over([0.0, range].into_iter()).ticks();
    for tick in ticks.filter(|tick| *tick <= range) {
        label_below(&mut svg, x(tick), tick);
    }
    svg + "</svg></figure>"
}

/// A figure and its drawing, up to what is drawn.
fn head(title: &str) -> String {
    let title = Escaped(title);
    format!(
        "<figure class=\"chart\"><figcaption>{title}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    )
}

/// A number under the drawing.
fn label_below(svg: &mut String, x: f64, value: f64) {
    let y = HEIGHT - BOTTOM + 18.0;
    let value = number(value);
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{value}</text>"
    );
}

/// The range of a side, ending at round numbers.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let range = match high - low {
            range if range > 0.0 => range,
            _ => high.abs().max(1e-6),
        };
        // 1, 2 or 5 times a power of ten, four to ten of them.
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

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        let (low, step) = (self.low, self.step);
        (0..=count).map(move |i| low + i as f64 * step)
    }
}

/// At most [`MAX_POINTS`] points, each the mean of its neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        let sum = |of: fn(&(f64, f64)) -> f64| chunk.iter().map(of).sum::<f64>();
        (sum(|it| it.0) / count, sum(|it| it.1) / count)
    };
    points.chunks(together).map(mean).collect()
}

/// A number in as few figures as tell it from its neighbours on an axis.
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
    fn nothing_is_drawn_of_nothing_and_a_dot_of_one_point() {
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
    fn bars_hold_every_text_and_what_is_very_long_is_in_the_last() {
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
        let axis = Axis::over([2.87, 3.43].into_iter());
        let ticks: Vec<_> = axis.ticks().map(number).collect();
        assert_eq!(ticks.first().map(String::as_str), Some("2.8"));
        assert!(ticks.len() >= 4 && ticks.len() <= 11, "{ticks:?}");
        let flat = Axis::over([5.0, 5.0].into_iter());
        assert!(flat.share(5.0).is_finite());
        assert_eq!(
            [1e-4, 0.5, 120.0, 3e6].map(number),
            ["1.0e-4", "0.5", "120", "3.0e6"]
        );
    }
}
