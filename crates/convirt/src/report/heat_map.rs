//! Where an image agrees with a sentence.

use burn::tensor::Tensor;
use convirt_data::Radiograph;
use convirt_model::ConVirt as Network;

use crate::error::Error;
use crate::inference::unit_rows;

/// Similarity of each place of an image with a sentence, row by row.
pub(super) struct HeatMap {
    pub columns: usize,
    pub values: Vec<f32>,
}

impl HeatMap {
    /// Projects each place of the image encoder's last map as if it were the whole image, and
    /// compares it with `text`, which has norm 1.
    ///
    /// # Shapes
    ///
    /// - image: `[1, 3, height, width]`
    /// - text: `[d_embedding]`
    pub(super) fn new(network: &Network, image: Tensor<4>, text: &[f32]) -> Result<Self, Error> {
        let map = network.image_encoder.forward_map(image);
        let [_, channels, rows, columns] = map.dims();
        let places = map.reshape([channels, rows * columns]).transpose();
        let projected = network.image_projection.forward(places);
        let projected = unit_rows(projected, |place| format!("place {place} of an image"))?;
        let similarity = |place: &[f32]| place.iter().zip(text).map(|(a, b)| a * b).sum();
        Ok(Self {
            columns,
            values: projected.chunks_exact(text.len()).map(similarity).collect(),
        })
    }

    /// Lowest and highest similarity.
    pub(super) fn range(&self) -> (f32, f32) {
        let fold = |(low, high): (f32, f32), value: &f32| (low.min(*value), high.max(*value));
        self.values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), fold)
    }

    /// Paints the map over a view of the image: where it agrees more than the mean place, warm; the
    /// more, the less of the image shows through.
    pub(super) fn over(&self, view: &Radiograph) -> Radiograph {
        let (low, high) = self.range();
        let mean = self.values.iter().sum::<f32>() / self.values.len() as f32;
        let reach = (high - mean).max(mean - low).max(f32::EPSILON);
        let (width, height) = (view.width(), view.height());
        let area = width * height;
        let pixels = view.pixels();
        let mut samples = Vec::with_capacity(3 * area);
        for y in 0..height {
            for x in 0..width {
                let value =
                    (self.at(x as f32 / width as f32, y as f32 / height as f32) - mean) / reach;
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

    /// Interpolates at a share of width and height between the middles of the places.
    fn at(&self, x: f32, y: f32) -> f32 {
        let rows = self.values.len() / self.columns;
        let place = |share: f32, count: usize| {
            let at = (share * count as f32 - 0.5).clamp(0.0, (count - 1) as f32);
            let before = at as usize;
            (before, (before + 1).min(count - 1), at - before as f32)
        };
        let (left, right, to_right) = place(x, self.columns);
        let (top, bottom, to_bottom) = place(y, rows);
        let between = |row: usize| {
            let [a, b] = [left, right].map(|column| self.values[row * self.columns + column]);
            a + (b - a) * to_right
        };
        between(top) + (between(bottom) - between(top)) * to_bottom
    }
}

/// From blue (-1) to orange (1), which the colour-blind tell apart too.
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
    fn what_agrees_is_warm_and_what_does_not_is_cold() {
        let map = HeatMap {
            columns: 2,
            values: vec![0.9, 0.1, 0.1, 0.1],
        };
        assert_eq!(map.range(), (0.1, 0.9));
        let grey = Radiograph::from_u8(20, 20, 1, &[128; 400]);
        let painted = map.over(&grey);
        let at =
            |x: usize, y: usize| [0, 1, 2].map(|plane| painted.pixels()[plane * 400 + y * 20 + x]);
        let ([red, _, blue], [cold_red, _, cold_blue]) = (at(0, 0), at(19, 19));
        assert!(red > 0.7 && blue < 0.3, "{red} {blue}");
        assert!(cold_blue > cold_red, "{cold_blue} {cold_red}");
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
                .all(|it| *it == 100.0 / 255.0)
        );
    }
}
