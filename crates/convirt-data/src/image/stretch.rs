//! The range of levels that an image fills, for files that do not say what is black and white.

use std::fmt;

/// The share of the pixels that becomes black, and white.
const CLIPPED: f64 = 0.005;

/// Levels that were spread from black to white, and those left out of that.
///
/// A dead pixel or a burnt-in marker must not darken all others, so that 0.5 % of the pixels at
/// each end do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) black: f64,
    pub(crate) white: f64,
    pub(crate) darkest: f64,
    pub(crate) brightest: f64,
}

impl Stretch {
    /// Finds the range of values in ascending order, each with the number of its pixels.
    ///
    /// Interpolates between pixels, as NumPy does. Where nearly all pixels are equal, all count.
    pub(crate) fn of_counts(mut counted: Vec<(f64, usize)>) -> Self {
        counted.retain(|&(_, count)| count > 0);
        let pixels: usize = counted.iter().map(|(_, count)| count).sum();
        let at_rank = |rank: usize| {
            let mut before = 0;
            let reached = counted.iter().find(|(_, count)| {
                before += count;
                before > rank
            });
            reached.or(counted.last()).map_or(0.0, |&(value, _)| value)
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

    /// Whether the levels left out would have darkened or brightened all others: they take more of
    /// the whole range than what is left.
    pub(crate) fn has_outliers(&self) -> bool {
        self.brightest - self.darkest > 2.0 * (self.white - self.black)
    }

    /// Returns the brightness of a value, below 0 or above 1 outside the range; 0 where all are
    /// equal.
    pub(crate) fn at(&self, value: f64) -> f64 {
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

    // `numpy.percentile` of 0, 1, …, 1000 gives 5 and 995 for 0.5 and 99.5.
    #[test]
    fn half_a_percent_at_each_end_does_not_count() {
        let steps = Stretch::of_counts((0..=1000).map(|it| (f64::from(it), 1)).collect());
        assert_eq!((steps.black, steps.white), (5.0, 995.0));
        assert_eq!((steps.darkest, steps.brightest), (0.0, 1000.0));
    }

    #[test]
    fn where_nearly_all_pixels_are_equal_all_count() {
        let outliers = Stretch::of_counts(vec![(0.0, 3), (10.0, 994), (1000.0, 4)]);
        assert_eq!((outliers.black, outliers.white), (0.0, 1000.0));
        assert_eq!(outliers.at(10.0), 0.01);
        let blank = Stretch::of_counts(vec![(7.0, 9)]);
        assert_eq!(blank.at(7.0), 0.0);
        assert_eq!(Stretch::of_counts(Vec::new()).at(0.0), 0.0);
    }
}
