//! Decoding of the pixel data of a DICOM file into interleaved samples.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::data_set::DataSet;
use super::description::{Description, Photometric};
use super::error::DicomError;
use super::syntax::Compression;
use super::tag::PIXEL_DATA;
use super::{jpeg_ls, run_length};
use crate::image::jpeg::{self, Colours};
use crate::image::plausible;

/// Returns the samples of the image in the described number, and their photometric interpretation:
/// the decoder of a compressed image may convert its colours to RGB.
pub(super) fn read(
    data: &DataSet<'_>,
    description: &Description,
    compression: Compression,
) -> Result<(Vec<u16>, Photometric), DicomError> {
    if compression == Compression::None {
        return Ok((uncompressed(data, description)?, description.photometric));
    }
    let compressed = data.compressed()?;
    let (columns, rows, bytes) = (description.columns, description.rows, compressed.len());
    let is_plausible = match compression {
        Compression::None | Compression::Jpeg2000 => true,
        Compression::RunLength => plausible::run_length(description.bytes(), bytes),
        Compression::Jpeg => plausible::jpeg(columns, rows, bytes),
        Compression::JpegLs => plausible::jpeg_ls(columns, rows, bytes),
    };
    if !is_plausible {
        return Err(DicomError::Implausible { bytes });
    }
    let samples = match compression {
        Compression::Jpeg => return jpeg(&compressed, description),
        Compression::Jpeg2000 => return jpeg_2000(&compressed, description),
        Compression::JpegLs => {
            let samples = jpeg_ls::decode(&compressed, description)?;
            check_bits(&samples, description)?;
            samples
        }
        Compression::None | Compression::RunLength => run_length::decode(
            &compressed,
            description.area(),
            description.samples_per_pixel,
            description.bytes_per_sample,
        )?,
    };
    Ok((samples, description.photometric))
}

fn uncompressed(data: &DataSet<'_>, description: &Description) -> Result<Vec<u16>, DicomError> {
    if data.has_fragments() {
        return Err(DicomError::Malformed {
            what: "its pixels are compressed, though its transfer syntax says they are not",
        });
    }
    let bytes = data.bytes(PIXEL_DATA).unwrap_or_default();
    let (needed, found) = (description.bytes(), bytes.len());
    let Some(exact) = bytes.get(..needed) else {
        return Err(DicomError::Truncated { needed, found });
    };
    let encoding = data.encoding();
    let samples: Vec<u16> = if description.bytes_per_sample == 2 {
        let (pairs, _) = exact.as_chunks();
        pairs.iter().map(|&pair| encoding.u16(pair)).collect()
    } else if encoding.big_endian && data.is_of_words(PIXEL_DATA) {
        // Two samples are in a word, the first in its low byte.
        let swapped = (0..needed).map(|at| bytes.get(at ^ 1).copied().unwrap_or(0));
        swapped.map(u16::from).collect()
    } else {
        exact.iter().copied().map(u16::from).collect()
    };
    Ok(
        if description.is_planar && description.samples_per_pixel > 1 {
            let area = description.area();
            let pixel = |at| samples.iter().skip(at).step_by(area).copied();
            (0..area).flat_map(pixel).collect()
        } else {
            samples
        },
    )
}

fn jpeg(data: &[u8], description: &Description) -> Result<(Vec<u16>, Photometric), DicomError> {
    let wrong = |source| DicomError::Jpeg { source };
    // The decoder fills the missing part of a truncated JPEG with grey, without an error.
    if !jpeg::is_complete(data) {
        return Err(DicomError::Malformed {
            what: "its JPEG ends before the image does, or is damaged",
        });
    }
    let mut decoder = Decoder::new(data);
    let is_coloured = description.samples_per_pixel == 3;
    if is_coloured {
        // The colour space of the JPEG itself overrides the header.
        let colours = jpeg::colours(data).unwrap_or(match description.photometric {
            Photometric::Rgb => Colours::Rgb,
            _ => Colours::YCbCr,
        });
        decoder.set_color_transform(match colours {
            Colours::Rgb => ColorTransform::RGB,
            Colours::YCbCr => ColorTransform::YCbCr,
        });
    }
    decoder.read_info().map_err(wrong)?;
    let name = "image in its JPEG";
    let info = decoder.info().ok_or(DicomError::Missing { name })?;
    let samples_per_pixel = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
    };
    let size = [info.width, info.height, samples_per_pixel].map(usize::from);
    description.check_size(size)?;
    let decoded = decoder.decode().map_err(wrong)?;
    let samples: Vec<u16> = if info.pixel_format == PixelFormat::L16 {
        let (pairs, _) = decoded.as_chunks();
        pairs.iter().map(|&pair| u16::from_ne_bytes(pair)).collect()
    } else {
        decoded.into_iter().map(u16::from).collect()
    };
    let photometric = if is_coloured {
        Photometric::Rgb
    } else {
        description.photometric
    };
    Ok((counted(samples, description)?, photometric))
}

fn jpeg_2000(
    data: &[u8],
    description: &Description,
) -> Result<(Vec<u16>, Photometric), DicomError> {
    let wrong = |source| DicomError::Jpeg2000 { source };
    // Some files have a JP2 container, whose colour space is overridden by that of the DICOM
    // header.
    let name = "a JPEG 2000 codestream";
    let start = data.windows(4).position(|it| it == CodestreamSize::MARKERS);
    let codestream = &data[start.ok_or(DicomError::Missing { name })?..];
    let size = CodestreamSize::read(codestream)?;
    size.check_tiles(codestream.len())?;
    let settings = DecodeSettings {
        strict: true,
        ..DecodeSettings::default()
    };
    let image = Image::new(codestream, &settings).map_err(wrong)?;
    let decoded_size =
        [image.width(), image.height(), size.components.into()].map(|it| it as usize);
    description.check_size(decoded_size)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(wrong)?;
    let planes = decoded.components();
    let mut samples = vec![0; description.samples()];
    for (channel, plane) in planes.iter().enumerate() {
        // The decoder treats signed samples as unsigned and adds half their range.
        let range = 2_f32.powi(plane.bit_depth().into());
        let lowest = if size.is_signed { -range / 2.0 } else { 0.0 };
        let targets = samples.iter_mut().skip(channel);
        let targets = targets.step_by(description.samples_per_pixel);
        for (target, sample) in targets.zip(plane.samples()) {
            let shifted = (sample + 0.5).clamp(0.0, range - 1.0).floor();
            *target = (shifted + lowest) as i32 as u16;
        }
    }
    check_bits(&samples, description)?;
    // The decoder undoes the colour transform of the codestream, whatever the header says.
    let photometric = match description.photometric {
        Photometric::Ybr if has_colour_transform(codestream) => Photometric::Rgb,
        photometric => photometric,
    };
    Ok((samples, photometric))
}

/// Whether a codestream declares a colour transform of its first three components (ISO/IEC 15444-1,
/// A.6.1).
fn has_colour_transform(codestream: &[u8]) -> bool {
    const CODING_STYLE: u8 = 0x52;
    let mut rest = codestream.get(2..).unwrap_or_default();
    while let &[0xFF, marker, high, low, ref content @ ..] = rest {
        if marker == CODING_STYLE {
            return content.get(4) == Some(&1);
        }
        let length = usize::from(u16::from_be_bytes([high, low])).saturating_sub(2);
        rest = content.get(length..).unwrap_or_default();
    }
    false
}

/// The part of a JPEG 2000 header that the decoder does not expose (ISO/IEC 15444-1, A.5.1).
struct CodestreamSize {
    /// Width and height of the grid and of a tile.
    grid: [u32; 2],
    tile: [u32; 2],
    components: u16,
    is_signed: bool,
}

impl CodestreamSize {
    /// The markers at the start of the codestream and of the size segment.
    const MARKERS: &[u8] = &[0xFF, 0x4F, 0xFF, 0x51];

    fn read(codestream: &[u8]) -> Result<Self, DicomError> {
        let (needed, found) = (43, codestream.len());
        let Some(segment) = codestream.get(..needed) else {
            return Err(DicomError::Truncated { needed, found });
        };
        let word = |at: usize| {
            segment[at..at + 4]
                .iter()
                .fold(0, |word, &byte| word << 8 | u32::from(byte))
        };
        Ok(Self {
            grid: [word(8), word(12)],
            tile: [word(24), word(28)],
            components: u16::from_be_bytes([segment[40], segment[41]]),
            is_signed: segment[42] & 0x80 != 0,
        })
    }

    /// Checks the number of tiles: the decoder allocates memory for each, and tile numbers have 16
    /// bits.
    fn check_tiles(&self, bytes: usize) -> Result<(), DicomError> {
        let [across, down] = [0, 1].map(|axis| self.grid[axis].div_ceil(self.tile[axis].max(1)));
        let tiles = u64::from(across) * u64::from(down);
        let pixels = u64::from(self.grid[0]) * u64::from(self.grid[1]);
        if !plausible::jpeg_2000(pixels, tiles, bytes) {
            return Err(DicomError::Implausible { bytes });
        }
        if tiles > u16::MAX.into() {
            return Err(DicomError::Malformed {
                what: "its JPEG 2000 is of more than 65535 tiles",
            });
        }
        Ok(())
    }
}

/// Checks that no sample exceeds the bits of the header. Codecs have a precision of their own, and
/// truncating larger values would make the brightest ones dark.
fn check_bits(samples: &[u16], description: &Description) -> Result<(), DicomError> {
    let is_within = |&sample: &u16| {
        let level = description.level(sample);
        level == sample
            || description.is_signed && description.value(level) == f64::from(sample.cast_signed())
    };
    if description.shift > 0 || samples.iter().all(is_within) {
        Ok(())
    } else {
        Err(DicomError::Malformed {
            what: "its compressed values are beyond the bits stored",
        })
    }
}

fn counted(samples: Vec<u16>, description: &Description) -> Result<Vec<u16>, DicomError> {
    let (needed, found) = (description.samples(), samples.len());
    if found == needed {
        Ok(samples)
    } else {
        Err(DicomError::Truncated { needed, found })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use crate::image::dicom::tests::fixtures::{Dicom, JPEG, JPEG_2000, JPEG_LOSSLESS, hex};
    use crate::image::error::ImageError;
    use crate::image::limits::DecodeLimits;
    use crate::image::radiograph::Radiograph;

    // [[0, 1000, 4095], [70, 2000, 3]] in 12 bits, by imagecodecs: `ljpeg_encode`, and
    // `jpeg2k_encode` with one resolution and without its comment.
    const LOSSLESS: &str = "FFD8 FFC4001700010101010000000000000000000000 000C0A070D \
        FFC3000B0C00020003010011 00 FFDA0008010000060000 3FFDF4305F46BC5E7078 FFD9";
    const WAVELETS: &str = "FF4F FF5100290000000000030000000200000000000000000000000300000002 \
        00000000000000000001 0B0101 FF52000C00000001000004040001 FF5C00044060 \
        FF90000A0000 0000001D0001 FF93 DFE03007A3AC978C3A084BFA93C43F FFD9";
    /// [[−2048, −1], [0, 2047]], signed.
    const SIGNED_WAVELETS: &str = "FF4F FF510029000000000002000000020000000000000000 \
        0000000200000002 00000000000000000001 8B0101 FF52000C00000001000004040001 \
        FF5C00044060 FF90000A0000 000000170001 FF93 DFE01807B6EEAA7F11 FFD9";

    fn read(dicom: &Dicom) -> Result<Radiograph, ImageError> {
        let limits = DecodeLimits::default();
        Radiograph::decode(&dicom.file(), Path::new("a.dcm"), &limits)
    }

    /// An image with a window of all 12 bits.
    fn grey(width: u16, rows: u16, syntax: &'static str, compressed: &[u8]) -> Dicom {
        Dicom::grey(width, 12, &[])
            .integers(0x0028_0010, &[rows])
            .text(0x0028_1050, "2048")
            .text(0x0028_1051, "4096")
            .syntax(syntax)
            .fragment(compressed)
    }

    fn levels(image: &Radiograph) -> Vec<f32> {
        image
            .pixels()
            .iter()
            .map(|it| (it * 4095.0).round())
            .collect()
    }

    #[test]
    fn lossless_codecs_give_the_exact_values() {
        for (syntax, compressed) in [(JPEG_LOSSLESS, LOSSLESS), (JPEG_2000, WAVELETS)] {
            let image = read(&grey(3, 2, syntax, &hex(compressed))).unwrap();
            assert_eq!(levels(&image), [0.0, 1000.0, 4095.0, 70.0, 2000.0, 3.0]);
        }
    }

    #[test]
    fn signed_jpeg_2000_values_keep_their_sign() {
        let file = grey(2, 2, JPEG_2000, &hex(SIGNED_WAVELETS))
            .integers(0x0028_0103, &[1])
            .text(0x0028_1050, "0");
        assert_eq!(levels(&read(&file).unwrap()), [0.0, 2047.0, 2048.0, 4095.0]);
    }

    #[test]
    fn values_beyond_the_bits_stored_are_rejected() {
        let file = grey(3, 2, JPEG_2000, &hex(WAVELETS))
            .integers(0x0028_0101, &[10])
            .integers(0x0028_0102, &[9]);
        let ImageError::Dicom { cause, .. } = read(&file).unwrap_err() else {
            panic!();
        };
        assert!(cause.to_string().contains("bits stored"), "{cause}");
    }

    #[test]
    fn a_jpeg_decodes_as_it_does_outside_of_dicom() {
        let samples: Vec<u8> = (0..16 * 16 * 3).map(|it| (it * 7 % 251) as u8).collect();
        for (color, photometric, count) in [
            (ExtendedColorType::L8, "MONOCHROME2", 1),
            (ExtendedColorType::Rgb8, "YBR_FULL_422", 3),
        ] {
            let mut jpeg = Vec::new();
            let encoder = JpegEncoder::new(&mut jpeg);
            let used = &samples[..16 * 16 * count];
            encoder.write_image(used, 16, 16, color).unwrap();
            let file = Dicom::grey_8(16, &[0; 256])
                .integers(0x0028_0002, &[count as u16])
                .text(0x0028_0004, photometric)
                .syntax(JPEG)
                .fragment(&jpeg);
            let limits = DecodeLimits::default();
            let plain = Radiograph::decode(&jpeg, Path::new("a.jpg"), &limits).unwrap();
            let image = read(&file).unwrap();
            // Two decoders, which round differently.
            let pairs = image.pixels().iter().zip(plain.pixels());
            let apart = pairs
                .map(|(a, b)| (a - b).abs() * 255.0)
                .fold(0.0, f32::max);
            assert!(apart <= 3.01, "{photometric}: {apart}");
        }
    }

    /// A JPEG of 16×16 pixels of one colour, with a JFIF segment, an Adobe segment, or neither.
    fn one_colour(is_jfif: bool, adobe: Option<u8>) -> Vec<u8> {
        let samples = [200, 50, 10].repeat(16 * 16);
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
        let color = ExtendedColorType::Rgb8;
        encoder.write_image(&samples, 16, 16, color).unwrap();
        assert_eq!(jpeg[2..4], [0xFF, 0xE0]);
        let (jfif, rest) = jpeg.split_at(4 + usize::from(jpeg[5]));
        let mut marked = if is_jfif {
            jfif.to_vec()
        } else {
            vec![0xFF, 0xD8]
        };
        if let Some(transform) = adobe {
            marked.extend(b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0");
            marked.push(transform);
        }
        marked.extend(rest);
        marked
    }

    // pydicom 3 uses the JFIF segment or else the header; Pillow 13 uses the JFIF and Adobe
    // segments. This colour in YCbCr is 90, 83, 206 (ITU-T T.871).
    #[test]
    fn the_segments_of_a_jpeg_determine_its_colour_space() {
        let (turned, as_it_is) = ([200.0, 50.0, 10.0], [90.0, 83.0, 206.0]);
        for (jpeg, photometric, expected) in [
            (one_colour(true, None), "RGB", turned),
            (one_colour(true, None), "YBR_FULL_422", turned),
            (one_colour(false, None), "RGB", as_it_is),
            (one_colour(false, None), "YBR_FULL", turned),
            (one_colour(false, Some(1)), "RGB", turned),
            (one_colour(false, Some(0)), "YBR_FULL_422", as_it_is),
        ] {
            let file = Dicom::grey_8(16, &[0; 256])
                .integers(0x0028_0002, &[3])
                .text(0x0028_0004, photometric)
                .syntax(JPEG)
                .fragment(&jpeg);
            let image = read(&file).unwrap();
            let colour = [0, 256, 512].map(|at| image.pixels()[at] * 255.0);
            let pairs = colour.iter().zip(expected);
            let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= 2.01, "{photometric}: {colour:?}");
        }
    }

    /// 32×32 pixels of (200, 50, 10), by OpenJPEG 2.5.2 without its comment, with and without the
    /// colour transform.
    const TURNED: &str = "FF4F FF51002F000000000020000000200000000000000000000000200000002000000000\
        00000000 0003070101070101070101 FF52000C00000001010504040001 \
        FF5C00134040484850484850484850484850484850 FF90000A00000000002C0001 \
        FF93C7D404087BC7D404057FDF80100447808080808080808080808080808080 FFD9";
    const NOT_TURNED: &str = "FF4F FF51002F000000000020000000200000000000000000000000200000002000000000\
        00000000 0003070101070101070101 FF52000C00000001000504040001 \
        FF5C00134040484850484850484850484850484850 FF90000A00000000002C0001 \
        FF93CFB408044FCFB40806CFCFB4080997808080808080808080808080808080 FFD9";

    // As in pydicom 3 with pylibjpeg-openjpeg 2.5, except for YBR_FULL with a transform, which that
    // undoes twice.
    #[test]
    fn the_colour_transform_of_a_jpeg_2000_is_undone() {
        let rgb = [200.0, 50.0, 10.0];
        // 200 + 1.402 · (10 − 128), 200 − 0.344 · (50 − 128) − 0.714 · (10 − 128), 200 + 1.772 ·
        // (50 − 128).
        let converted = [35.0, 255.0, 62.0];
        for (codestream, photometric, expected) in [
            (TURNED, "YBR_RCT", rgb),
            (TURNED, "RGB", rgb),
            (TURNED, "YBR_FULL", rgb),
            (NOT_TURNED, "RGB", rgb),
            (NOT_TURNED, "YBR_RCT", rgb),
            (NOT_TURNED, "YBR_FULL", converted),
        ] {
            let file = Dicom::grey_8(32, &[0; 1024])
                .integers(0x0028_0002, &[3])
                .text(0x0028_0004, photometric)
                .syntax(JPEG_2000)
                .fragment(&hex(codestream));
            let image = read(&file).unwrap();
            let colour = [0, 1024, 2048].map(|at| (image.pixels()[at] * 255.0).round());
            assert_eq!(colour, expected, "{photometric}");
        }
    }

    #[test]
    fn a_truncated_jpeg_is_rejected_despite_its_end_marker() {
        let jpeg = one_colour(true, None);
        let lossless = hex(LOSSLESS);
        for (jpeg, syntax, cut) in [(&jpeg, JPEG, 8), (&lossless, JPEG_LOSSLESS, 6)] {
            let cut = [&jpeg[..jpeg.len() - cut], &[0xFF, 0xD9]].concat();
            let file = match syntax {
                JPEG => Dicom::grey_8(16, &[0; 256])
                    .integers(0x0028_0002, &[3])
                    .text(0x0028_0004, "YBR_FULL_422")
                    .syntax(JPEG)
                    .fragment(&cut),
                _ => grey(3, 2, syntax, &cut),
            };
            let ImageError::Dicom { cause, .. } = read(&file).unwrap_err() else {
                panic!("{syntax}");
            };
            assert!(cause.to_string().contains("ends before"), "{cause}");
        }
    }

    #[test]
    fn a_compressed_image_of_another_size_is_rejected() {
        for (syntax, compressed) in [(JPEG_LOSSLESS, LOSSLESS), (JPEG_2000, WAVELETS)] {
            let error = read(&grey(2, 3, syntax, &hex(compressed))).unwrap_err();
            let ImageError::Dicom { cause, .. } = error else {
                panic!("{error}");
            };
            assert!(cause.to_string().contains("[3, 2, 1]"), "{cause}");
        }
    }

    #[test]
    fn a_codestream_with_too_many_tiles_is_rejected_before_allocation() {
        let mut codestream = hex(WAVELETS);
        for (at, size) in [(8, 16_384_u32), (12, 16_384), (24, 1), (28, 1)] {
            codestream[at..at + 4].copy_from_slice(&size.to_be_bytes());
        }
        let file = grey(16_384, 16_384, JPEG_2000, &codestream);
        let error = read(&file).unwrap_err();
        assert!(matches!(error, ImageError::Implausible { .. }), "{error}");
    }

    /// A blank grey image like OpenJPEG's: one tile with `side` pixels a side, and an empty packet
    /// for each of six resolutions.
    fn blank_jpeg_2000(side: u16) -> Vec<u8> {
        let size = format!("0000{side:04X}").repeat(2);
        let none = "0000000000000000";
        let comment = format!("FF64006A0001{}", "20".repeat(102));
        hex(&format!(
            "FF4F FF5100290000{size}{none}{size}{none}0001 0B0101 \
             FF52000C00000001000504040001 FF5C001340404848504848504848504848504848 50{comment} \
             FF90000A0000 000000140001 FF93 000000000000 FFD9"
        ))
    }

    #[test]
    fn a_small_blank_jpeg_2000_is_read_up_to_the_size_of_detectors() {
        let blank = |side| read(&grey(side, side, JPEG_2000, &blank_jpeg_2000(side)));
        let image = blank(2048).unwrap();
        assert!(image.pixels().iter().all(|&it| it == image.pixels()[0]));
        let error = blank(16_000).unwrap_err();
        assert!(matches!(error, ImageError::Implausible { .. }), "{error}");
    }

    #[test]
    fn damaged_codestreams_are_errors_or_other_images() {
        for (syntax, compressed) in [(JPEG_LOSSLESS, LOSSLESS), (JPEG_2000, WAVELETS)] {
            let good = hex(compressed);
            for length in 0..good.len() - 2 {
                let file = grey(3, 2, syntax, &good[..length]);
                assert!(read(&file).is_err(), "{syntax}: {length}");
            }
        }
    }
}
