//! Heat maps of the similarity of the parts of an image to a sentence.

use burn::tensor::Tensor;
use convirt_data::Radiograph;
use convirt_model::ConVirt as Network;

use crate::error::Error;
use crate::inference::unit_rows;

/// The similarity of each position of an image's feature map to a sentence.
pub(super) struct HeatMap {
    pub columns: usize,
    /// The similarities, row by row.
    pub values: Vec<f32>,
}

impl HeatMap {
    /// Projects each position of the image encoder's last feature map as if it were the whole
    /// image, and computes its similarity to `text`, which has L2 norm 1.
    ///
    /// # Shapes
    ///
    /// - image: `[1, 3, height, width]`
    /// - text: `[d_embedding]`
    pub(super) fn new(network: &Network, image: Tensor<4>, text: &[f32]) -> Result<Self, Error> {
        let feature_map = network.image_encoder.forward_map(image);
        let [_, channels, rows, columns] = feature_map.dims();
        let features = feature_map.reshape([channels, rows * columns]).transpose();
        let projected = network.image_projection.forward(features);
        let projected = unit_rows(projected, |row| format!("position {row} of an image"))?;
        let similarity = |row: &[f32]| row.iter().zip(text).map(|(a, b)| a * b).sum();
        Ok(Self {
            columns,
            values: projected.chunks_exact(text.len()).map(similarity).collect(),
        })
    }

    /// Returns the lowest and the highest similarity.
    pub(super) fn range(&self) -> (f32, f32) {
        let fold = |(low, high): (f32, f32), value: &f32| (low.min(*value), high.max(*value));
        self.values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), fold)
    }

    /// Paints the map over a view of the image: orange where the similarity is above the mean, blue
    /// where it is below, and more opaque the larger the difference.
    pub(super) fn over(&self, view: &Radiograph) -> Radiograph {
        let (low, high) = self.range();
        let mean = self.values.iter().sum::<f32>() / self.values.len() as f32;
        let max_difference = (high - mean).max(mean - low).max(f32::EPSILON);
        let (width, height) = (view.width(), view.height());
        let area = width * height;
        let pixels = view.pixels();
        let mut samples = Vec::with_capacity(3 * area);
        for y in 0..height {
            for x in 0..width {
                let value = self.interpolate(x as f32 / width as f32, y as f32 / height as f32);
                let value = (value - mean) / max_difference;
                let opacity = 0.6 * value.abs();
                for (channel, colour) in colour(value).into_iter().enumerate() {
                    let plane = channel.min(view.channels() - 1);
                    let level = pixels[plane * area + y * width + x];
                    let mixed = level * (1.0 - opacity) + colour * opacity;
                    samples.push((mixed * 255.0 + 0.5) as u8);
                }
            }
        }
        Radiograph::from_u8(width, height, 3, &samples)
    }

    /// Interpolates the map linearly at `x` and `y`, from 0 to 1 over its width and height.
    fn interpolate(&self, x: f32, y: f32) -> f32 {
        let rows = self.values.len() / self.columns;
        // The two nearest cells, and the weight of the second.
        let neighbours = |fraction: f32, count: usize| {
            let position = (fraction * count as f32 - 0.5).clamp(0.0, (count - 1) as f32);
            let before = position as usize;
            let after = (before + 1).min(count - 1);
            (before, after, position - before as f32)
        };
        let (left, right, right_weight) = neighbours(x, self.columns);
        let (top, bottom, bottom_weight) = neighbours(y, rows);
        let in_row = |row: usize| {
            let [a, b] = [left, right].map(|column| self.values[row * self.columns + column]);
            a + (b - a) * right_weight
        };
        in_row(top) + (in_row(bottom) - in_row(top)) * bottom_weight
    }
}

/// Returns orange for a positive value and blue for a negative one, a pair of colours that
/// colour-blind people can distinguish.
fn colour(value: f32) -> [f32; 3] {
    if value > 0.0 {
        [1.0, 0.55, 0.0]
    } else {
        [0.1, 0.4, 0.9]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_parts_are_orange_and_others_blue() {
        let map = HeatMap {
            columns: 2,
            values: vec![0.9, 0.1, 0.1, 0.1],
        };
        assert_eq!(map.range(), (0.1, 0.9));
        let grey = Radiograph::from_u8(20, 20, 1, &[128; 400]);
        let painted = map.over(&grey);
        let pixel =
            |x: usize, y: usize| [0, 1, 2].map(|plane| painted.pixels()[plane * 400 + y * 20 + x]);
        let ([red, _, blue], [other_red, _, other_blue]) = (pixel(0, 0), pixel(19, 19));
        assert!(red > 0.7 && blue < 0.3, "{red} {blue}");
        assert!(other_blue > other_red, "{other_blue} {other_red}");
    }

    #[test]
    fn a_flat_map_leaves_the_image_as_it_is() {
        let map = HeatMap {
            columns: 1,
            values: vec![0.4],
        };
        let grey = Radiograph::from_u8(4, 4, 1, &[100; 16]);
        assert!(
            map.over(&grey)
                .pixels()
                .iter()
                .all(|pixel| *pixel == 100.0 / 255.0)
        );
    }
}
