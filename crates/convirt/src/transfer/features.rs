//! The feature vectors of many images.

/// A matrix of feature vectors, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    pub width: usize,
    pub values: Vec<f32>,
}

impl Features {
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "the values do not fill whole rows"
        );
        Self { width, values }
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}
