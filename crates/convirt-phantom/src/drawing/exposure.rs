//! Converting attenuation to grey values and image files: window, grey curve, noise, collimation,
//! encoding.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageBuffer, ImageFormat, ImageResult, Luma, Pixel, Primitive};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::anatomy::Anatomy;
use super::canvas::{Canvas, Point, Pose};
use super::render;
use crate::chest::Finding;

/// How the radiograph was taken and developed.
#[derive(Debug, Clone)]
pub(crate) struct Exposure {
    width: usize,
    height: usize,
    pose: Pose,
    /// Attenuation shown as black and as white.
    window: (f32, f32),
    /// Shape of the grey curve: 1 is linear, lower values are brighter.
    bend: f32,
    /// Standard deviation of the noise where nothing attenuates.
    grain: f32,
    /// Share of each side that the collimator covers: left, right, top, bottom.
    collimation: [f32; 4],
    marker: bool,
}

impl Exposure {
    /// Draws a random exposure whose image has `longer_side` pixels along its longer side.
    pub fn sample(longer_side: u32, rng: &mut ChaCha8Rng) -> Self {
        let portrait = rng.random_bool(0.65);
        let aspect = rng.random_range(0.82..1.0);
        let shorter = ((longer_side as f32 * aspect) as usize).max(1);
        let (width, height) = if portrait {
            (shorter, longer_side as usize)
        } else {
            (longer_side as usize, shorter)
        };
        // The shorter side always shows 340–385 mm, so that the lungs fit.
        let pixel_mm = rng.random_range(340.0..385.0) / shorter as f32;
        let mut border = || {
            if rng.random_bool(0.2) {
                rng.random_range(0.0..0.05)
            } else {
                0.0
            }
        };
        let collimation = [border(), border(), border(), border()];
        Self {
            width,
            height,
            pose: Pose {
                centre: Point::new(rng.random_range(-14.0..14.0), rng.random_range(-28.0..2.0)),
                pixel_mm,
                half_turn: rng.random_range(-0.035..0.035),
            },
            window: (rng.random_range(0.0..0.22), rng.random_range(2.4..3.0)),
            bend: rng.random_range(0.65..1.35),
            grain: rng.random_range(0.005..0.016),
            collimation,
            marker: rng.random_bool(0.7),
        }
    }

    /// Takes the radiograph: grey values from 0 (black) to 1 (white), row by row.
    pub fn take(&self, anatomy: &Anatomy, findings: &[Finding], rng: &mut ChaCha8Rng) -> Grey {
        let mut canvas = Canvas::new(self.width, self.height, self.pose);
        render::draw(&mut canvas, anatomy, findings);
        let (low, high) = self.window;
        let mut pixels = canvas.attenuation;
        for (index, pixel) in pixels.iter_mut().enumerate() {
            // Fewer photons arrive behind more tissue: the noise grows like e^(a/2). It is computed
            // as (1 + a/8)^4, since library functions differ between machines.
            let depth = 1.0 + pixel.max(0.0) / 8.0;
            let grain = self.grain * depth * depth * depth * depth * bell(rng);
            let share = ((*pixel + grain - low) / (high - low)).clamp(0.0, 1.0);
            let grey = share / (share + self.bend * (1.0 - share));
            *pixel = if self.is_covered(index) { 0.02 } else { grey };
        }
        if self.marker {
            self.print_marker(&mut pixels);
        }
        Grey {
            width: self.width,
            height: self.height,
            pixels,
        }
    }

    fn is_covered(&self, index: usize) -> bool {
        let x = (index % self.width) as f32 / self.width as f32;
        let y = (index / self.width) as f32 / self.height as f32;
        let [left, right, top, bottom] = self.collimation;
        x < left || x > 1.0 - right || y < top || y > 1.0 - bottom
    }

    /// Draws the marker letter L at the patient's left shoulder.
    fn print_marker(&self, pixels: &mut [f32]) {
        let unit = (self.height / 64).max(1);
        let (left, top) = (self.width - 5 * unit, unit);
        for row in 0..4 * unit {
            for column in 0..3 * unit {
                if column < unit || row >= 3 * unit {
                    pixels[(top + row) * self.width + left + column] = 0.97;
                }
            }
        }
    }
}

/// A grey image with values from 0 to 1.
#[derive(Debug, Clone)]
pub(crate) struct Grey {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<f32>,
}

impl Grey {
    /// Returns the rounded pixel values, with 0 stored as `black` and 1 as `white`.
    fn levels<T>(
        &self,
        black: f32,
        white: f32,
        store: impl Fn(f32) -> T,
    ) -> ImageBuffer<Luma<T>, Vec<T>>
    where
        T: Primitive,
        Luma<T>: Pixel<Subpixel = T>,
    {
        ImageBuffer::from_fn(self.width as u32, self.height as u32, |x, y| {
            let share = self.pixels[y as usize * self.width + x as usize];
            Luma([store(black + share * (white - black) + 0.5)])
        })
    }
}

/// A kind of image file, and how it stores grey values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FileKind {
    /// 8 bits, 0–255.
    Jpeg,
    /// 8 bits of which `black..=white` are used.
    Png8 { black: u8, white: u8 },
    /// 16 bits of which the 12-bit values `black..=white` are used, as scanners store them.
    Png16 { black: u16, white: u16 },
}

impl FileKind {
    /// Draws a kind, mostly JPEG.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..100) {
            0..90 => Self::Jpeg,
            90..95 => Self::Png8 {
                black: rng.random_range(0..40),
                white: rng.random_range(150..=255),
            },
            _ => Self::Png16 {
                black: rng.random_range(0..400),
                white: rng.random_range(2200..4096),
            },
        }
    }

    /// Returns the ending of the file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png8 { .. } | Self::Png16 { .. } => "png",
        }
    }

    /// Encodes an image as a file of this kind.
    pub fn encode(self, grey: &Grey) -> ImageResult<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        match self {
            Self::Jpeg => {
                let image = grey.levels(0.0, 255.0, |level| level as u8);
                JpegEncoder::new_with_quality(&mut bytes, 82).encode_image(&image)?;
            }
            Self::Png8 { black, white } => grey
                .levels(black.into(), white.into(), |level| level as u8)
                .write_to(&mut bytes, ImageFormat::Png)?,
            Self::Png16 { black, white } => grey
                .levels(black.into(), white.into(), |level| level as u16)
                .write_to(&mut bytes, ImageFormat::Png)?,
        }
        Ok(bytes.into_inner())
    }
}

/// Returns a nearly normal random number with mean 0 and standard deviation 1, the sum of four
/// uniform ones.
fn bell(rng: &mut ChaCha8Rng) -> f32 {
    let bits = rng.next_u64();
    let sum: u32 = (0..4)
        .map(|part| (bits >> (16 * part)) as u32 & 0xffff)
        .sum();
    (sum as f32 - 131_070.0) / 37_837.2
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn ramp() -> Grey {
        let pixels = (0..64 * 32).map(|index| (index % 64) as f32 / 63.0);
        Grey {
            width: 64,
            height: 32,
            pixels: pixels.collect(),
        }
    }

    #[test]
    fn grain_has_mean_zero_and_unit_spread() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let draws: Vec<f64> = (0..40_000).map(|_| f64::from(bell(&mut rng))).collect();
        let mean = draws.iter().sum::<f64>() / 4e4;
        let spread = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 4e4;
        // Three standard errors of 40,000 draws.
        assert!(mean.abs() < 0.015, "{mean}");
        assert!((spread - 1.0).abs() < 0.021, "{spread}");
    }

    #[test]
    fn sixteen_bit_files_hold_the_range_of_a_scanner() {
        let kind = FileKind::Png16 {
            black: 100,
            white: 3000,
        };
        let bytes = kind.encode(&ramp()).expect("encodes");
        let image = image::load_from_memory(&bytes).expect("decodes");
        assert_eq!(image.color(), image::ColorType::L16);
        let levels = image.into_luma16();
        assert_eq!(levels.get_pixel(0, 0).0, [100]);
        assert_eq!(levels.get_pixel(63, 31).0, [3000]);
    }

    #[test]
    fn eight_bit_files_keep_to_their_range() {
        let kind = FileKind::Png8 {
            black: 30,
            white: 200,
        };
        let bytes = kind.encode(&ramp()).expect("encodes");
        let levels = image::load_from_memory(&bytes)
            .expect("decodes")
            .into_luma8();
        assert_eq!(levels.get_pixel(0, 7).0, [30]);
        assert_eq!(levels.get_pixel(63, 7).0, [200]);
    }

    #[test]
    fn jpegs_are_grey() {
        let bytes = FileKind::Jpeg.encode(&ramp()).expect("encodes");
        let image = image::load_from_memory(&bytes).expect("decodes");
        assert_eq!(image.color(), image::ColorType::L8);
        assert_eq!((image.width(), image.height()), (64, 32));
    }
}
