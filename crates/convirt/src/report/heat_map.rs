//! Heat maps: on which parts of an image its similarity to a sentence depends.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use convirt_data::Radiograph;
use convirt_model::SimClr as Network;

use crate::error::Error;
use crate::inference::{similarity, unit_rows};

/// Parts of an image along each side that are hidden in turn.
const PARTS: usize = 8;

/// Side of the hidden square, as a fraction of the image's; larger than a part, so that most of a
/// finding is hidden at once.
const HIDDEN_SIDE: f64 = 0.25;

/// Maximum number of images embedded at a time, and of their pixels: 16 of 224 × 224.
const MAX_BATCH: usize = 16;
const MAX_PIXELS: usize = MAX_BATCH * 224 * 224;

/// The embeddings of an image with each of its parts hidden (Zeiler and Fergus 2014, Section 4.2).
///
/// This works at any size of image. The encoder's last feature map has only 7 × 7 positions for
/// images of 224 pixels and 2 × 2 for 64, each of which sees nearly the whole image.
pub(super) struct Occlusion {
    whole: Vec<f32>,
    /// With the part hidden, row by row.
    hidden: Vec<Vec<f32>>,
}

/// By how much the similarity of an image to a sentence falls when a part is hidden.
pub(super) struct HeatMap {
    columns: usize,
    /// The falls, row by row; negative where the similarity rises.
    falls: Vec<f32>,
}

impl Occlusion {
    /// Embeds an image whole, and with a square around each part in the image's mean colour.
    ///
    /// # Shapes
    ///
    /// - image: `[1, 3, height, width]`
    pub(super) fn new(network: &Network, image: Tensor<4>) -> Result<Self, Error> {
        let embed = |images: Tensor<4>| -> Result<Vec<Vec<f32>>, Error> {
            let embedding = network.encode_image(images).embedding;
            let [_, width] = embedding.dims();
            let rows = unit_rows(embedding, |_| "a held-out image, partly hidden".to_string())?;
            Ok(rows.chunks_exact(width).map(<[f32]>::to_vec).collect())
        };
        let [_, channels, height, width] = image.dims();
        let colour = image.clone().reshape([1, channels, height * width]);
        let colour = colour.mean_dim(2).reshape([1, channels, 1, 1]);
        let mut hidden = Vec::with_capacity(PARTS * PARTS);
        let positions: Vec<usize> = (0..PARTS * PARTS).collect();
        let batch = (MAX_PIXELS / (height * width)).clamp(1, MAX_BATCH);
        for positions in positions.chunks(batch) {
            let masks = positions.iter().flat_map(|&position| {
                let rows = around(position / PARTS, height);
                let columns = around(position % PARTS, width);
                (0..height * width).map(move |pixel| {
                    let is_hidden =
                        rows.contains(&(pixel / width)) && columns.contains(&(pixel % width));
                    f32::from(u8::from(is_hidden))
                })
            });
            let masks = TensorData::new(masks.collect(), [positions.len(), 1, height, width]);
            let masks = Tensor::<4>::from_data(masks, &image.device());
            let shown = image.clone() - image.clone() * masks.clone();
            hidden.extend(embed(shown + colour.clone() * masks)?);
        }
        let whole = embed(image)?.remove(0);
        Ok(Self { whole, hidden })
    }

    /// Returns the similarity of the whole image to a text of L2 norm 1.
    pub(super) fn similarity(&self, text: &[f32]) -> f32 {
        similarity(&self.whole, text)
    }

    /// Returns by how much the similarity to a text of L2 norm 1 falls where a part is hidden.
    pub(super) fn heat_map(&self, text: &[f32]) -> HeatMap {
        let whole = self.similarity(text);
        let hidden = self.hidden.iter();
        HeatMap {
            columns: PARTS,
            falls: hidden.map(|part| whole - similarity(part, text)).collect(),
        }
    }
}

/// Returns the pixels along a side of `length` that are hidden around a part.
fn around(part: usize, length: usize) -> Range<usize> {
    let middle = (part as f64 + 0.5) / PARTS as f64;
    let pixel = |place: f64| (place * length as f64).round().clamp(0.0, length as f64) as usize;
    pixel(middle - HIDDEN_SIDE / 2.0)..pixel(middle + HIDDEN_SIDE / 2.0)
}

impl HeatMap {
    /// Returns the largest fall or rise.
    pub(super) fn largest_change(&self) -> f32 {
        self.falls.iter().map(|fall| fall.abs()).fold(0.0, f32::max)
    }

    /// Paints the map over a view of the image: orange where hiding the part lowers the similarity,
    /// blue where it raises it, and more opaque the larger the change.
    pub(super) fn over(&self, view: &Radiograph) -> Radiograph {
        let largest = self.largest_change().max(f32::EPSILON);
        let (width, height) = (view.width(), view.height());
        let area = width * height;
        let pixels = view.pixels();
        let mut samples = Vec::with_capacity(3 * area);
        for y in 0..height {
            for x in 0..width {
                let value = self.interpolate(x as f32 / width as f32, y as f32 / height as f32);
                let value = value / largest;
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
        let rows = self.falls.len() / self.columns;
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
            let [a, b] = [left, right].map(|column| self.falls[row * self.columns + column]);
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
    use burn::tensor::Device;
    use convirt_model::{ResNetConfig, ResNetDepth, SimClrConfig};

    use super::*;

    #[test]
    fn parts_that_matter_are_orange_and_misleading_ones_blue() {
        let map = HeatMap {
            columns: 2,
            falls: vec![0.8, 0.0, 0.0, -0.8],
        };
        let grey = Radiograph::from_u8(20, 20, 1, &[128; 400]);
        let painted = map.over(&grey);
        let pixel =
            |x: usize, y: usize| [0, 1, 2].map(|plane| painted.pixels()[plane * 400 + y * 20 + x]);
        let ([red, _, blue], [other_red, _, other_blue]) = (pixel(0, 0), pixel(19, 19));
        assert!(red > 0.7 && blue < 0.3, "{red} {blue}");
        assert!(
            other_blue > 0.6 && other_red < 0.3,
            "{other_blue} {other_red}"
        );
    }

    #[test]
    fn a_flat_map_leaves_the_image_as_it_is() {
        let map = HeatMap {
            columns: 1,
            falls: vec![0.0],
        };
        let grey = Radiograph::from_u8(4, 4, 1, &[100; 16]);
        assert!(
            map.over(&grey)
                .pixels()
                .iter()
                .all(|pixel| *pixel == 100.0 / 255.0)
        );
    }

    // A quarter of the side, centred at 1/16 and at 9/16 of 64 pixels.
    #[test]
    fn a_hidden_square_is_larger_than_its_part_and_ends_at_the_edge() {
        assert_eq!(around(0, 64), 0..12);
        assert_eq!(around(4, 64), 28..44);
    }

    /// The image's embedding changes most where the only pixels that are not black are hidden.
    #[test]
    fn the_fall_is_largest_where_the_only_content_is_hidden() {
        let device = Device::flex();
        device.seed(1);
        let encoder = SimClrConfig {
            d_embedding: 16,
            ..SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18))
        };
        let network = encoder.init(&device).unwrap();
        let mut pixels = vec![0.0; 3 * 64 * 64];
        for channel in 0..3 {
            for pixel in 0..8 * 8 {
                let (y, x) = (40 + pixel / 8, 16 + pixel % 8);
                pixels[channel * 64 * 64 + y * 64 + x] = 3.0;
            }
        }
        let image = Tensor::from_data(TensorData::new(pixels, [1, 3, 64, 64]), &device);
        let occlusion = Occlusion::new(&network, image).unwrap();
        let map = occlusion.heat_map(&occlusion.whole.clone());
        let largest = (0..PARTS * PARTS).max_by(|&a, &b| map.falls[a].total_cmp(&map.falls[b]));
        // Its centre is at (44, 20): row 5, column 2.
        let (row, column) = (largest.unwrap() / PARTS, largest.unwrap() % PARTS);
        assert!(
            row.abs_diff(5) <= 1 && column.abs_diff(2) <= 1,
            "{row} {column}"
        );
    }
}
