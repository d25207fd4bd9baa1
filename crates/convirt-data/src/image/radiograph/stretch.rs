//! Contrast stretch to the range of an image, for files without a window.

use std::fmt;

/// Fraction of the pixels that is clipped at each end.
const CLIPPED: f64 = 0.005;

/// A linear stretch of grey levels from black to white.
///
/// 0.5 % of the pixels are clipped at each end, so that a dead pixel or a burnt-in marker does not
/// darken all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// Level that becomes black.
    pub(crate) black: f64,
    /// Level that becomes white.
    pub(crate) white: f64,
    /// Lowest level of the image.
    pub(crate) darkest: f64,
    /// Highest level of the image.
    pub(crate) brightest: f64,
}

impl Stretch {
    /// Computes the stretch from a histogram: values in ascending order with their pixel counts.
    ///
    /// Percentiles are interpolated as in NumPy. If nearly all pixels are equal, nothing is
    /// clipped.
    pub(crate) fn from_histogram(mut histogram: Vec<(f64, usize)>) -> Self {
        histogram.retain(|&(_, count)| count > 0);
        let pixels: usize = histogram.iter().map(|(_, count)| count).sum();
        let at_rank = |rank: usize| {
            let mut before = 0;
            let reached = histogram.iter().find(|(_, count)| {
                before += count;
                before > rank
            });
            reached
                .or(histogram.last())
                .map_or(0.0, |&(value, _)| value)
        };
        let at_share = |share: f64| {
            let rank = share * pixels.saturating_sub(1) as f64;
            let (below, above) = (at_rank(rank as usize), at_rank(rank as usize + 1));
            below + rank.fract() * (above - below)
        };
        let (darkest, brightest) = (at_rank(0), at_rank(pixels));
        let (black, white) = match (at_share(CLIPPED), at_share(1.0 - CLIPPED)) {
            (black, white) if black < white => (black, white),
            _ => (darkest, brightest),
        };
        Self {
            black,
            white,
            darkest,
            brightest,
        }
    }

    /// Whether the clipped levels are outliers: the whole range is more than twice the stretched
    /// one.
    pub(crate) fn has_outliers(&self) -> bool {
        self.outlier_ratio() > 2.0
    }

    /// Returns the whole range in units of the stretched one; 1 if all values are equal.
    pub(crate) fn outlier_ratio(&self) -> f64 {
        let stretched = self.white - self.black;
        if stretched > 0.0 {
            (self.brightest - self.darkest) / stretched
        } else {
            1.0
        }
    }

    /// Returns the brightness of a value; it is below 0 or above 1 outside the range, and 0 if all
    /// values are equal.
    pub(crate) fn apply(&self, value: f64) -> f64 {
        let range = self.white - self.black;
        (value - self.black) / if range > 0.0 { range } else { 1.0 }
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = [self.black, self.white, self.darkest, self.brightest];
        let [black, white, darkest, brightest] = levels.map(f64::round);
        write!(
            f,
            "{black} to {white} are black to white; the file holds {darkest} to {brightest}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `numpy.percentile` of 0, 1, …, 1000 is 5 and 995 for 0.5 and 99.5.
    #[test]
    fn half_a_percent_is_clipped_at_each_end() {
        let steps = Stretch::from_histogram((0..=1000).map(|it| (f64::from(it), 1)).collect());
        assert_eq!((steps.black, steps.white), (5.0, 995.0));
        assert_eq!((steps.darkest, steps.brightest), (0.0, 1000.0));
    }

    #[test]
    fn nothing_is_clipped_if_nearly_all_pixels_are_equal() {
        let outliers = Stretch::from_histogram(vec![(0.0, 3), (10.0, 994), (1000.0, 4)]);
        assert_eq!((outliers.black, outliers.white), (0.0, 1000.0));
        assert_eq!(outliers.apply(10.0), 0.01);
        let blank = Stretch::from_histogram(vec![(7.0, 9)]);
        assert_eq!(blank.apply(7.0), 0.0);
        assert_eq!(Stretch::from_histogram(Vec::new()).apply(0.0), 0.0);
    }
}
