//! Decoding of JPEG, PNG and DICOM files into a [`Radiograph`].

pub(crate) mod orientation;

use std::io::{self, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{ImageFormat, ImageReader, Limits};

use super::jpeg::{self, reduced};
use super::limits::{DecodeLimits, too_large};
use super::radiograph::Radiograph;
use super::radiograph::without_profile;
use super::resize::{shrink_longer_side, shrink_reduced};
use super::{dicom, plausible};
use crate::files::{FileError, read_data};
use crate::image::error::ImageError;

impl Radiograph {
    /// Reads a JPEG, PNG or DICOM file; the format is detected from the content, not the name.
    ///
    /// JPEG and PNG may have 8 or 16 bits, be grey, RGB or palette images, and have an alpha
    /// channel, which is ignored. A JPEG whose data ends before its image is an error, even if it
    /// has an end marker. 16-bit images are stretched to their range, as for DICOM. Images are
    /// rotated according to EXIF or XMP, unless
    /// [`exif_orientation`](DecodeLimits::exif_orientation) is off.
    ///
    /// DICOM files may contain a single image of up to 16 bits, signed or unsigned, in
    /// `MONOCHROME1`, `MONOCHROME2`, RGB or `YBR_FULL`, with pixels that are uncompressed,
    /// deflated, RLE, 8-bit JPEG, lossless JPEG, JPEG-LS or JPEG 2000. Grey values pass through the
    /// modality LUT or rescale, then the first VOI LUT or, without one, the first window;
    /// `MONOCHROME1` is inverted last. Enhanced images of one frame have rescale and window in
    /// their functional groups. If the entries of a LUT need fewer bits than it declares, its
    /// largest entry is white. Invalid numbers are errors. Without VOI LUT and window, 8-bit values
    /// are used directly, and others are stretched to their range, with 0.5 % of the pixels clipped
    /// at each end. Several frames, palettes and lossy 12-bit JPEG are rejected.
    ///
    /// # Errors
    ///
    /// All of them name the file: [`FileError::Read`], [`ImageError::Empty`],
    /// [`ImageError::Truncated`], [`ImageError::TooLarge`],
    /// [`ImageError::Implausible`], [`ImageError::Decode`], [`ImageError::Dicom`],
    /// [`ImageError::DecoderPanicked`].
    pub fn read(path: &Path, limits: &DecodeLimits) -> Result<Self, ImageError> {
        Self::decode(&read_bytes(path, limits)?, path, limits)
    }

    /// Reads a file and scales it down, antialiased, to at most `longer_side` pixels.
    ///
    /// A large JPEG is decoded at a reduced size, which is several times as fast as
    /// [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn read_within(
        path: &Path,
        longer_side: usize,
        limits: &DecodeLimits,
    ) -> Result<Self, ImageError> {
        Self::decode_within(&read_bytes(path, limits)?, path, longer_side, limits)
    }

    /// Decodes the content of a JPEG, PNG or DICOM file; `path` is only used in errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use convirt_data::{DecodeLimits, ImageError, Radiograph};
    ///
    /// // A binary DICOM, JPEG or PNG file; here a PNG of 2×1 pixels.
    /// # let mut png = std::io::Cursor::new(Vec::new());
    /// # image::GrayImage::from_raw(2, 1, vec![0, 255]).unwrap()
    /// #     .write_to(&mut png, image::ImageFormat::Png).unwrap();
    /// # let bytes = png.into_inner();
    /// let limits = DecodeLimits::default();
    /// let image = Radiograph::decode(&bytes, Path::new("chest.png"), &limits)?;
    /// assert_eq!((image.width(), image.height(), image.channels()), (2, 1, 1));
    /// assert_eq!(image.pixels(), [0.0, 1.0]);
    ///
    /// let limits = DecodeLimits { max_side: 1, ..limits };
    /// let error = Radiograph::decode(&bytes, Path::new("chest.png"), &limits).unwrap_err();
    /// assert!(matches!(error, ImageError::TooLarge { .. }));
    /// # Ok::<(), ImageError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), except [`FileError::Read`].
    pub fn decode(bytes: &[u8], path: &Path, limits: &DecodeLimits) -> Result<Self, ImageError> {
        decode_with(bytes, path, || {
            let image = Self::decode_any(bytes, path, limits)?;
            Ok(image.oriented(limits.orientation(bytes)))
        })
    }

    /// Decodes the content of a file and scales it down, like [`read_within`](Self::read_within).
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    pub fn decode_within(
        bytes: &[u8],
        path: &Path,
        longer_side: usize,
        limits: &DecodeLimits,
    ) -> Result<Self, ImageError> {
        decode_with(bytes, path, || {
            let reduced = if is_jpeg(bytes) && jpeg::reaches_end_of_image(bytes) {
                reduced::decode(bytes, longer_side, limits)
            } else {
                None
            };
            let image = match reduced {
                Some(reduced) => shrink_reduced(&reduced, longer_side),
                None => {
                    let image = Self::decode_any(bytes, path, limits)?;
                    shrink_longer_side(&image, longer_side).unwrap_or(image)
                }
            };
            Ok(image.oriented(limits.orientation(bytes)))
        })
    }

    fn decode_any(bytes: &[u8], path: &Path, limits: &DecodeLimits) -> Result<Self, ImageError> {
        if dicom::is_dicom(bytes) {
            dicom::decode(bytes, path, limits)
        } else {
            Self::decode_jpeg_or_png(bytes, path, limits)
        }
    }

    fn decode_jpeg_or_png(
        bytes: &[u8],
        path: &Path,
        limits: &DecodeLimits,
    ) -> Result<Self, ImageError> {
        let mut reader = ImageReader::new(Cursor::new(without_profile(bytes)))
            .with_guessed_format()
            .map_err(FileError::read(path))?;
        // The decoder fills the missing part of a truncated JPEG with grey, without an error.
        if reader.format() == Some(ImageFormat::Jpeg) && !jpeg::is_complete(bytes) {
            return Err(ImageError::Truncated { path: path.into() });
        }
        let implausible = || ImageError::Implausible {
            path: path.into(),
            bytes: bytes.len() as u64,
        };
        if !plausible::png(bytes, bytes.len() as u64) {
            return Err(implausible());
        }
        reader.limits({
            let mut bounds = Limits::no_limits();
            bounds.max_image_width = Some(limits.max_side);
            bounds.max_image_height = Some(limits.max_side);
            bounds.max_alloc = Some(limits.max_bytes);
            bounds
        });
        let decoded = reader.decode().map_err(|error| match error {
            image::ImageError::Limits(_) => too_large(path, limits),
            cause => ImageError::Decode {
                path: path.into(),
                cause,
            },
        })?;
        if decoded.width() == 0 || decoded.height() == 0 {
            return Err(ImageError::Empty { path: path.into() });
        }
        // Scans without a bit for each block are no image: a manifest rejects them too.
        let [width, height] = [decoded.width(), decoded.height()].map(|side| side as usize);
        if is_jpeg(bytes) && !plausible::jpeg(width, height, bytes.len()) {
            return Err(implausible());
        }
        Ok(Self::from_decoded(decoded))
    }
}

/// Reads an image file.
fn read_bytes(path: &Path, limits: &DecodeLimits) -> Result<Vec<u8>, ImageError> {
    let bytes = read_data(path, limits.max_bytes);
    bytes.map_err(|cause| reading_error(path, limits, cause))
}

/// The error for an image file that cannot be read.
pub(crate) fn reading_error(path: &Path, limits: &DecodeLimits, cause: io::Error) -> ImageError {
    match cause.kind() {
        io::ErrorKind::FileTooLarge => too_large(path, limits),
        _ => FileError::read(path)(cause).into(),
    }
}

/// Runs a decoder and catches its panics, so that one malformed file does not end a long run.
fn decode_with(
    bytes: &[u8],
    path: &Path,
    decode: impl FnOnce() -> Result<Radiograph, ImageError>,
) -> Result<Radiograph, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty { path: path.into() });
    }
    catch_unwind(AssertUnwindSafe(decode))
        .map_err(|_| ImageError::DecoderPanicked { path: path.into() })?
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    use image::{
        ColorType, DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, Rgba, save_buffer,
    };

    use super::*;
    use crate::tests::fixtures::{data_file, levels_apart, reference_bytes};

    fn read(name: &str) -> Radiograph {
        Radiograph::read(&data_file(name), &DecodeLimits::default()).unwrap()
    }

    #[test]
    fn png_decodes_exactly() {
        for (file, name, channels) in [
            ("img_grey_111x130.png", "grey", 1),
            ("img_rgb_61x97.png", "rgb", 3),
        ] {
            let image = read(file);
            let (shape, samples) = reference_bytes(name);
            assert_eq!((image.height(), image.width()), (shape[0], shape[1]));
            let expected = Radiograph::from_u8(shape[1], shape[0], channels, &samples);
            assert_eq!(image, expected);
        }
    }

    /// A progressive JPEG of 1048×122 pixels whose one scan codes runs of blocks without their means.
    #[test]
    fn a_jpeg_with_fewer_bits_than_blocks_is_rejected_like_its_header() {
        let bytes = fs::read(data_file("jpg_runs_only.jpg")).unwrap();
        let path = PathBuf::from("runs.jpg");
        let error = Radiograph::decode(&bytes, &path, &DecodeLimits::default()).unwrap_err();
        assert!(matches!(error, ImageError::Implausible { .. }), "{error}");
    }

    // Pillow decodes with libjpeg-turbo. The transforms round differently, by 1 level. Colour has
    // half the resolution in this file and is upsampled with different rounding: measured at most 4
    // levels, 0.38 on average.
    #[test]
    fn jpeg_agrees_with_pillow() {
        for (file, name, channels, most, on_average) in [
            ("img_grey_111x130.jpg", "jpg_grey_decoded", 1, 1.01, 0.02),
            ("img_rgb_61x97.jpg", "jpg_rgb_decoded", 3, 4.01, 0.5),
        ] {
            let image = read(file);
            let (shape, samples) = reference_bytes(name);
            let pillow = Radiograph::from_u8(shape[1], shape[0], channels, &samples);
            let apart = levels_apart(image.pixels(), pillow.pixels());
            assert!(apart <= most, "{name}: {apart}");
            let pairs = image.pixels().iter().zip(pillow.pixels());
            let total: f32 = pairs.map(|(a, b)| (a - b).abs() * 255.0).sum();
            let mean = total / image.pixels().len() as f32;
            assert!(mean <= on_average, "{name}: {mean}");
        }
    }

    // The file contains the grey image times 257, whose 0.5 and 99.5 percentiles are 31 and 224 by
    // `numpy.percentile`.
    #[test]
    fn a_sixteen_bit_png_is_stretched_with_half_a_percent_clipped_at_each_end() {
        let image = read("img_grey16_111x130.png");
        let eight = read("img_grey_111x130.png");
        let (black, white) = (31.0, 224.0);
        for (sixteen, eight) in image.pixels().iter().zip(eight.pixels()) {
            let expected = (eight * 255.0 - black) / (white - black);
            assert!((sixteen - expected.clamp(0.0, 1.0)).abs() < 1e-5);
        }
    }

    #[test]
    fn one_hot_pixel_of_sixteen_bits_does_not_darken_the_rest() {
        let mut samples: Vec<u16> = (0..1000).map(|it| 100 + it).collect();
        samples.push(65_535);
        let image = Radiograph::from_u16(1001, 1, 1, &samples);
        // 5 of 1,001 at each end.
        assert_eq!((image.pixels()[5], image.pixels()[995]), (0.0, 1.0));
        assert!((image.pixels()[500] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn every_kind_of_png_decodes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        for color in [
            ColorType::L8,
            ColorType::La8,
            ColorType::Rgb8,
            ColorType::Rgba8,
            ColorType::L16,
            ColorType::La16,
            ColorType::Rgb16,
            ColorType::Rgba16,
        ] {
            let samples = vec![7; 6 * usize::from(color.bytes_per_pixel())];
            save_buffer(&path, &samples, 3, 2, color).unwrap();
            let image = Radiograph::read(&path, &DecodeLimits::default()).unwrap();
            assert_eq!(
                (image.width(), image.height(), image.channels()),
                (3, 2, 1),
                "{color:?}"
            );
        }
    }

    #[test]
    fn a_palette_image_decodes_to_its_colours() {
        // 2×1 pixels, 8-bit palette of black and white, pixels 1 and 0; made with Pillow 13.
        let png = include_bytes!("../../tests/data/palette_2x1.png");
        let image = Radiograph::decode(png, Path::new("p.png"), &DecodeLimits::default()).unwrap();
        assert_eq!(image.pixels(), [1.0, 0.0]);
    }

    #[test]
    fn the_format_is_detected_from_the_content_and_not_the_name() {
        let bytes = fs::read(data_file("img_grey_111x130.jpg")).unwrap();
        let image =
            Radiograph::decode(&bytes, Path::new("image.png"), &DecodeLimits::default()).unwrap();
        assert_eq!(image.width(), 111);
    }

    #[test]
    fn damaged_files_are_errors_that_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let jpeg = fs::read(data_file("img_grey_111x130.jpg")).unwrap();
        let png = fs::read(data_file("img_grey16_111x130.png")).unwrap();
        for (name, content) in [
            ("half.jpg", &jpeg[..jpeg.len() / 2]),
            ("header.jpg", &jpeg[..20]),
            ("magic.jpg", &jpeg[..3]),
            ("no_end.jpg", &jpeg[..jpeg.len() - 2]),
            ("half.png", &png[..png.len() / 2]),
            ("header.png", &png[..12]),
            ("zero.png", &[]),
            ("text.jpg", b"No acute cardiopulmonary process."),
        ] {
            let path: PathBuf = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let error = Radiograph::read(&path, &DecodeLimits::default()).unwrap_err();
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
        let missing = folder.path().join("missing.png");
        let error = Radiograph::read(&missing, &DecodeLimits::default()).unwrap_err();
        assert!(matches!(error, ImageError::File(FileError::Read { path, .. }) if path == missing));
    }

    #[test]
    fn bytes_after_the_end_marker_are_accepted() {
        let mut jpeg = fs::read(data_file("img_grey_111x130.jpg")).unwrap();
        jpeg.extend([0; 100]);
        let limits = DecodeLimits::default();
        assert!(Radiograph::decode(&jpeg, Path::new("padded.jpg"), &limits).is_ok());
    }

    #[test]
    fn images_beyond_the_limits_are_rejected() {
        let path = data_file("img_grey_111x130.png");
        for limits in [
            DecodeLimits {
                max_side: 129,
                ..DecodeLimits::default()
            },
            DecodeLimits {
                max_bytes: 111 * 130 - 1,
                ..DecodeLimits::default()
            },
        ] {
            let error = Radiograph::read(&path, &limits).unwrap_err();
            assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        }
    }

    // The best compression of zlib: 1,030 bytes in one.
    #[test]
    fn a_strongly_compressed_blank_image_is_read_and_an_implausible_one_is_not() {
        let mut png = Vec::new();
        let encoder =
            PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::NoFilter);
        let blank = vec![0; 4000 * 3000];
        encoder
            .write_image(&blank, 4000, 3000, ExtendedColorType::L8)
            .unwrap();
        let limits = DecodeLimits::default();
        let image = Radiograph::decode(&png, Path::new("blank.png"), &limits).unwrap();
        assert_eq!(image.width(), 4000);
        png[16..24].copy_from_slice(&[0, 0, 0x3F, 0xFF, 0, 0, 0x3F, 0xFF]);
        let error = Radiograph::decode(&png, Path::new("bomb.png"), &limits).unwrap_err();
        assert!(matches!(error, ImageError::Implausible { .. }), "{error}");
    }

    #[test]
    fn a_header_that_promises_a_huge_image_takes_no_memory() {
        let mut png = Vec::new();
        let image = DynamicImage::from(ImageBuffer::<Rgba<u8>, _>::new(1, 1));
        image
            .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
            .unwrap();
        png[16..24].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]);
        let limits = DecodeLimits::default();
        assert!(Radiograph::decode(&png, Path::new("bomb.png"), &limits).is_err());
    }
}
