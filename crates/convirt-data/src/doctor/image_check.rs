//! Checks of a single image.

mod metadata;
mod perceptual_hash;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::Path;

use super::finding::{FindingKind, Problem};
use super::views::other_view;
use crate::image::{
    DecodeLimits, Fault, Radiograph, identifying_elements, read_image, shrink_longer_side,
    view_within,
};
use crate::skips::SkipReason;
use metadata::texts_beside_pixels;

pub(super) use perceptual_hash::{PerceptualHash, PerceptualHasher, near_pairs};

/// Longer side that images are reduced to for the checks, in pixels.
const REDUCED_SIDE: usize = 128;

/// Range of the central 99 % of a blank image, in levels of 255; radiographs span 100 and more.
const BLANK_RANGE: f32 = 8.0;

/// Smallest shorter side for the check of inversion, in pixels.
const MIN_SIDE: usize = 32;

/// Stored facts about a readable image.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageFacts {
    /// Hash of the file.
    pub(super) bytes: u64,
    /// Hash of the decoded image.
    pub(super) pixels: u64,
    /// Perceptual hash; `None` if the image is blank.
    pub(super) perceptual_hash: Option<PerceptualHash>,
}

/// The result of checking an image.
pub(super) struct ImageCheck {
    pub(super) facts: ImageFacts,
    pub(super) problems: Vec<Problem>,
}

/// Checks images.
pub(super) struct ImageChecker<'a> {
    pub(super) limits: &'a DecodeLimits,
    /// Side of the network's input, in pixels.
    pub(super) input_size: usize,
    /// Whether the view is read from DICOM headers, because no column has it.
    pub(super) reads_view: bool,
    pub(super) hasher: PerceptualHasher,
}

impl ImageChecker<'_> {
    /// Reads, decodes and checks an image.
    pub(super) fn check(&self, path: &Path) -> Result<ImageCheck, Fault> {
        let bytes = read_image(path, self.limits)?;
        let image = Radiograph::decode(&bytes, path, self.limits)
            .map_err(|error| (SkipReason::UnreadableImage, error.reason(path)))?;
        let mut problems = Vec::new();
        let identifying = identifying_elements(&bytes, self.limits);
        if !identifying.is_empty() {
            let what = identifying.join(", ");
            let problem = Problem::new(FindingKind::IdentifyingHeader, format!("filled: {what}"));
            problems.push(problem.with_extent(identifying.len() as f64));
        }
        if self.reads_view
            && let Some(view) = view_within(&bytes, self.limits.max_bytes)
            && let Some(view) = other_view(&view, path)
        {
            let detail = format!("{view}, by its header");
            problems.push(Problem::new(FindingKind::OtherView, detail));
        }
        let texts = texts_beside_pixels(&bytes);
        if !texts.is_empty() {
            problems.push(Problem::new(FindingKind::ImageMetadata, texts.join(", ")));
        }
        if let Some(orientation) = self.limits.orientation(&bytes) {
            problems.push(Problem::new(FindingKind::TurnedImage, orientation.words()));
        }
        if let Some(stretch) = image.stretch()
            && stretch.has_outliers()
        {
            let problem = Problem::new(FindingKind::OutlyingLevels, stretch.to_string());
            problems.push(problem.with_extent(stretch.outlier_ratio()));
        }
        let (width, height) = (image.width(), image.height());
        if 2 * width.min(height) < self.input_size {
            let input = self.input_size;
            let detail = format!("{width} × {height} pixels for an input of {input}");
            let problem = Problem::new(FindingKind::TinyImage, detail);
            problems.push(problem.with_extent(-(width.min(height) as f64)));
        }
        let small = shrink_longer_side(&image, REDUCED_SIDE);
        let grey = grey(small.as_ref().unwrap_or(&image));
        let (dark, bright) = range(&grey);
        let levels = 255.0 * (bright - dark);
        let perceptual_hash = if levels < BLANK_RANGE {
            let detail =
                format!("{levels:.0} of 255 grey levels between its darkest and brightest");
            let problem = Problem::new(FindingKind::BlankImage, detail);
            problems.push(problem.with_extent(-f64::from(levels)));
            None
        } else {
            problems.extend(looks_inverted(&grey, dark, bright));
            Some(self.hasher.hash(&grey))
        };
        Ok(ImageCheck {
            facts: ImageFacts {
                bytes: hash_of(&bytes),
                pixels: hash_of_pixels(&image),
                perceptual_hash,
            },
            problems,
        })
    }
}

/// Hashes a value.
pub(super) fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn hash_of_pixels(image: &Radiograph) -> u64 {
    let mut hasher = DefaultHasher::new();
    (image.width(), image.height()).hash(&mut hasher);
    for pixel in image.pixels() {
        hasher.write_u32(pixel.to_bits());
    }
    hasher.finish()
}

/// Converts to grey: the mean of the colours.
fn grey(image: &Radiograph) -> Radiograph {
    let channels = image.channels() as f32;
    let mut sums = vec![0.0; image.width() * image.height()];
    for plane in image.planes() {
        for (sum, value) in sums.iter_mut().zip(plane) {
            *sum += value / channels;
        }
    }
    Radiograph::from_planes(image.width(), image.height(), image.depth(), sums)
}

/// Returns the levels that 0.5 % of the pixels are below and above.
fn range(grey: &Radiograph) -> (f32, f32) {
    let mut sorted = grey.pixels().to_vec();
    sorted.sort_by(f32::total_cmp);
    let last = sorted.len() - 1;
    let rank = (last as f32 * 0.005).round() as usize;
    (sorted[rank], sorted[last - rank])
}

/// Explains why an image seems to have black and white inverted; `None` if it does not. The brighter
/// the frame, compared with the middle, the worse.
///
/// Normally the air around the body is black, and the mediastinum between the lungs is bright. An
/// image is suspicious if its frame, 1/25 of the shorter side wide, is brighter than its middle,
/// and in addition either the vertical strip at its center is darker than those at a quarter and
/// three quarters of its width, or three of its corners are nearly white. The frame alone is not
/// enough: of 351 chest radiographs of adults that are cropped to the lungs (Cohen et al. 2020), 27
/// % have a brighter frame.
///
/// The rule suspects 0 of these 351 images, 0 of 2,648 radiographs of children (Kermany et al.
/// 2018) and 3 of 1,850 CT and MR slices (MedPix 2.0). Of the inverted images it detects 71, 99 and
/// 94 %. The thresholds were chosen on these data sets.
fn looks_inverted(grey: &Radiograph, dark: f32, bright: f32) -> Option<Problem> {
    let (width, height) = (grey.width(), grey.height());
    let shorter = width.min(height);
    if shorter < MIN_SIDE {
        return None;
    }
    let mean = |columns: Range<usize>, rows: Range<usize>| {
        let count = columns.len() * rows.len();
        let sum: f32 = rows
            .flat_map(|y| &grey.pixels()[y * width..][columns.clone()])
            .map(|level| ((level - dark) / (bright - dark)).clamp(0.0, 1.0))
            .sum();
        sum / count as f32
    };
    let at = |share: f32, length: usize| (share * length as f32) as usize;
    let part = |start: f32, end: f32, length| at(start, length)..at(end, length);
    let of_shorter = |share: f32| (share * shorter as f32).round() as usize;

    let margin = of_shorter(0.04);
    let inside = mean(margin..width - margin, margin..height - margin);
    let whole = mean(0..width, 0..height);
    let area = (width * height) as f32;
    let inner_area = ((width - 2 * margin) * (height - 2 * margin)) as f32;
    let frame = (whole * area - inside * inner_area) / (area - inner_area);
    let middle = mean(part(0.25, 0.75, width), part(0.25, 0.75, height));

    let rows = part(0.3, 0.6, height);
    let strip = mean(part(0.45, 0.55, width), rows.clone());
    let sides = [(0.2, 0.38), (0.62, 0.8)];
    let sides = sides.map(|(start, end)| mean(part(start, end, width), rows.clone()));
    let sides = sides.iter().sum::<f32>() / 2.0;

    let corner = of_shorter(0.1);
    let mut corners = [0..corner, width - corner..width].map(|columns| {
        [0..corner, height - corner..height].map(|rows| mean(columns.clone(), rows))
    });
    let corners = corners.as_flattened_mut();
    corners.sort_by(f32::total_cmp);

    let percent = |level: f32| 100.0 * level;
    let frame_and_middle = format!(
        "the frame at {:.0} %, the middle at {:.0} % of the brightness",
        percent(frame),
        percent(middle)
    );
    let detail = if frame > middle && strip < sides - 0.05 {
        let (strip, sides) = (percent(strip), percent(sides));
        format!(
            "{frame_and_middle}, the strip down the middle at {strip:.0} %, beside it {sides:.0} %"
        )
    } else if frame > middle + 0.1 && corners[1] > 0.75 {
        format!("{frame_and_middle}, three corners nearly white")
    } else {
        return None;
    };
    let problem = Problem::new(FindingKind::InvertedImage, detail);
    Some(problem.with_extent(f64::from(frame - middle)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use convirt_phantom::PhantomConfig;

    fn check(image: &Radiograph, input_size: usize) -> ImageCheck {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        fs::write(&path, image.to_png().unwrap()).unwrap();
        checker(input_size).check(&path).unwrap()
    }

    fn checker(input_size: usize) -> ImageChecker<'static> {
        const LIMITS: DecodeLimits = DecodeLimits {
            max_side: 4096,
            max_bytes: 1 << 24,
            exif_orientation: true,
        };
        ImageChecker {
            limits: &LIMITS,
            input_size,
            reads_view: false,
            hasher: PerceptualHasher::new(),
        }
    }

    fn kinds(image: &Radiograph, input_size: usize) -> Vec<FindingKind> {
        let problems = check(image, input_size).problems;
        problems.into_iter().map(|problem| problem.kind).collect()
    }

    /// A chest of 64×64: air black, lungs dark, tissue bright.
    fn chest(level: impl Fn(u8) -> u8) -> Radiograph {
        let samples: Vec<u8> = (0..64 * 64)
            .map(|i| {
                let (x, y) = (i % 64, i / 64);
                let in_lung =
                    (10..54).contains(&y) && ((10..28).contains(&x) || (36..54).contains(&x));
                level(match (x, y) {
                    _ if in_lung => 70,
                    (4..60, 3..) => 190,
                    _ => 5,
                })
            })
            .collect();
        Radiograph::from_u8(64, 64, 1, &samples)
    }

    #[test]
    fn an_inverted_chest_is_suspected_and_the_chest_is_not() {
        assert_eq!(kinds(&chest(|it| it), 64), []);
        let inverted = kinds(&chest(|it| 255 - it), 64);
        assert_eq!(inverted, [FindingKind::InvertedImage]);
    }

    #[test]
    fn white_corners_around_any_shape_are_suspected() {
        let disc = |inside: u8, outside: u8| {
            let is_inside = |i: i32| (i % 64 - 32).pow(2) + (i / 64 - 32).pow(2) < 24 * 24;
            let samples = (0..64 * 64).map(|i| if is_inside(i) { inside } else { outside });
            Radiograph::from_u8(64, 64, 1, &samples.collect::<Vec<_>>())
        };
        assert_eq!(kinds(&disc(200, 5), 64), []);
        assert_eq!(kinds(&disc(50, 250), 64), [FindingKind::InvertedImage]);
    }

    #[test]
    fn the_phantom_is_suspected_only_when_inverted() {
        let folder = tempfile::tempdir().unwrap();
        let config = PhantomConfig {
            patients: 12,
            longer_side: 128,
            seed: 3,
        };
        config.write(folder.path(), |_, _| ()).unwrap();
        let table = fs::read_to_string(folder.path().join("pairs.csv")).unwrap();
        for row in table.lines().skip(1) {
            let path = folder.path().join(row.split(',').next().unwrap());
            let image = Radiograph::read(&path, &DecodeLimits::default()).unwrap();
            assert_eq!(kinds(&image, 64), [], "{row}");
            let inverted = image.pixels().iter().map(|it| 1.0 - it).collect();
            let (width, height) = (image.width(), image.height());
            let inverted = Radiograph::from_planes(width, height, image.depth(), inverted);
            assert_eq!(kinds(&inverted, 64), [FindingKind::InvertedImage], "{row}");
        }
    }

    #[test]
    fn blank_images_are_found_whatever_their_level_and_noise() {
        for level in [0, 128, 252] {
            let samples: Vec<u8> = (0..64 * 64).map(|i| level + (i * 7 % 4) as u8).collect();
            let image = Radiograph::from_u8(64, 64, 1, &samples);
            let result = check(&image, 64);
            assert_eq!(result.problems[0].kind, FindingKind::BlankImage);
            assert!(result.facts.perceptual_hash.is_none());
        }
    }

    #[test]
    fn a_rotated_image_is_reported() {
        use image::ImageEncoder;
        // A directory of one entry: orientation, a short, one, 6.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.jpg");
        let mut jpeg = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        let chest = chest(|it| it);
        let levels: Vec<u8> = chest.pixels().iter().map(|it| (255.0 * it) as u8).collect();
        encoder
            .write_image(&levels, 64, 64, image::ExtendedColorType::L8)
            .unwrap();
        fs::write(&path, jpeg).unwrap();
        let problems = checker(64).check(&path).unwrap().problems;
        assert!(problems.contains(&Problem::new(FindingKind::TurnedImage, "turned clockwise")));
    }

    // 0.5 % of 4,096 pixels are 20.
    #[test]
    fn levels_far_outside_the_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        let mut samples: Vec<u16> = (0..64 * 64).map(|i| 1000 + 10 * (i % 64)).collect();
        let save = |samples: &[u16]| {
            let image = image::ImageBuffer::<image::Luma<u16>, _>::from_vec(64, 64, samples.into());
            image.unwrap().save(&path).unwrap();
            checker(64).check(&path).unwrap().problems
        };
        assert_eq!(save(&samples), []);
        samples[7] = 65_535;
        let expected = "1000 to 1630 are black to white; the file holds 1000 to 65535";
        let problems = save(&samples);
        let [problem] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert_eq!(
            (problem.kind, &*problem.detail),
            (FindingKind::OutlyingLevels, expected)
        );
    }

    #[test]
    fn images_below_half_the_input_are_tiny() {
        assert_eq!(kinds(&chest(|it| it), 128), []);
        assert_eq!(kinds(&chest(|it| it), 129), [FindingKind::TinyImage]);
    }

    #[test]
    fn equal_pixels_are_recognized_in_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let grey = chest(|it| it);
        let samples: Vec<u8> = grey
            .pixels()
            .iter()
            .map(|it| (255.0 * it).round() as u8)
            .collect();
        let colours: Vec<u8> = samples.iter().flat_map(|&it| [it; 3]).collect();
        let path = folder.path().join("colour.png");
        image::save_buffer(&path, &colours, 64, 64, image::ColorType::Rgb8).unwrap();
        let (one, other) = (
            check(&grey, 64).facts,
            checker(64).check(&path).unwrap().facts,
        );
        assert_eq!(one.pixels, other.pixels);
        assert_ne!(one.bytes, other.bytes);
    }
}
