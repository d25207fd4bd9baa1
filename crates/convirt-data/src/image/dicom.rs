//! Decoding of DICOM files into a [`Radiograph`].
//!
//! Stored values pass through the modality LUT or rescale, the VOI LUT or window, and the inversion
//! of `MONOCHROME1`. Only elements that describe the image are read; elements about the patient are
//! never stored or shown in errors. [`identifying_elements`] reports which of them exist.
//!
//! The parser is our own, because the crate `dicom-object` allocates the memory that an element
//! declares, 4 GiB in a damaged file, before it checks the length of the file.

use std::path::Path;

mod tag;
mod error;
mod data_set;
mod syntax;
mod description;
mod identity;
mod storage_class;
mod jpeg_ls;
mod run_length;
mod samples;
mod tone;
mod header;
mod view;

use super::limits::DecodeLimits;
use super::radiograph::{Depth, Radiograph, ycbcr_to_rgb};
use crate::image::error::ImageError;
use data_set::DataSet;
use description::{Description, Photometric};
use error::DicomError;
pub(crate) use header::probe;
pub(crate) use identity::identifying_elements;
pub(crate) use storage_class::has_no_pixels;
pub(crate) use syntax::is_dicom;
pub(crate) use view::{named as named_view, view, view_within};

/// Decodes the content of a DICOM file; `path` is only used in errors.
pub(crate) fn decode(
    file: &[u8],
    path: &Path,
    limits: &DecodeLimits,
) -> Result<Radiograph, ImageError> {
    radiograph(file, limits).map_err(|error| error.into_image_error(path, limits))
}

fn radiograph(file: &[u8], limits: &DecodeLimits) -> Result<Radiograph, DicomError> {
    let opened = syntax::open(file, limits.max_bytes)?;
    let data = DataSet::read(&opened.elements, opened.encoding)?;
    let description = Description::read(&data, opened.compression, limits)?;
    let (mut levels, photometric) = samples::read(&data, &description, opened.compression)?;
    for level in &mut levels {
        *level = description.level(*level);
    }
    let (width, height) = (description.columns, description.rows);
    match photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 => {
            let tone = tone::tone(&data, &description, &levels)?;
            let pixels = levels
                .into_iter()
                .map(|it| tone.brightness[usize::from(it)]);
            let depth = match description.bits {
                ..=8 => Depth::Eight,
                _ => Depth::Sixteen,
            };
            let image = Radiograph::from_planes(width, height, depth, pixels.collect());
            Ok(image.with_stretch(tone.stretch))
        }
        Photometric::Rgb | Photometric::Ybr if description.bits == 8 => {
            let mut bytes: Vec<_> = levels.into_iter().map(|it| it as u8).collect();
            if photometric == Photometric::Ybr {
                for pixel in bytes.as_chunks_mut().0 {
                    *pixel = ycbcr_to_rgb(*pixel);
                }
            }
            Ok(Radiograph::from_u8(width, height, 3, &bytes))
        }
        Photometric::Rgb => Ok(Radiograph::from_u16(width, height, 3, &levels)),
        Photometric::Ybr => Err(DicomError::Unsupported {
            name: "photometric interpretation YBR_FULL and bits stored",
            value: description.bits.to_string(),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod fixtures;

    use super::tag::{PIXEL_DATA, Tag};
    use super::*;
    use fixtures::{
        BIG_ENDIAN, DEFLATED, Dicom, EXPLICIT, IMPLICIT, JPEG, JPEG_2000, JPEG_LOSSLESS, JPEG_LS,
        RUN_LENGTH, Value,
    };

    fn read(dicom: &Dicom) -> Result<Radiograph, ImageError> {
        decoded(&dicom.file())
    }

    fn decoded(file: &[u8]) -> Result<Radiograph, ImageError> {
        Radiograph::decode(file, Path::new("p/image.dcm"), &DecodeLimits::default())
    }

    /// The error for a file, which names the file and no patient.
    fn reason(file: &[u8]) -> String {
        let error = decoded(file).unwrap_err();
        assert!(error.to_string().contains("p/image.dcm"), "{error}");
        let reason = match error {
            ImageError::Dicom { cause, .. } => cause.to_string(),
            other => other.to_string(),
        };
        assert!(!reason.contains("Doe"), "{reason}");
        reason
    }

    /// Five values of 12 bits; the window maps them to black, a quarter and white.
    fn twelve_bits() -> Dicom {
        Dicom::grey(5, 12, &[0, 1000, 1250, 2000, 4095])
            .text(0x0028_1050, "1500")
            .text(0x0028_1051, "1000")
            .text(0x0028_1056, "LINEAR_EXACT")
    }

    const TWELVE_BITS: [f32; 5] = [0.0, 0.0, 0.25, 1.0, 1.0];

    #[test]
    fn every_encoding_of_elements_gives_the_same_image() {
        for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
            let image = read(&twelve_bits().syntax(syntax)).unwrap();
            assert_eq!((image.width(), image.height(), image.channels()), (5, 1, 1));
            assert_eq!(image.pixels(), TWELVE_BITS, "{syntax}");
            assert_eq!(image.depth(), Depth::Sixteen);
        }
    }

    #[test]
    fn files_without_preamble_or_vrs_are_read() {
        let file = twelve_bits().file();
        assert_eq!(decoded(&file[132..]).unwrap().pixels(), TWELVE_BITS);
        for syntax in [EXPLICIT, IMPLICIT] {
            let plain = twelve_bits().text(0x0008_0008, "ORIGINAL").syntax(syntax);
            let image = decoded(&plain.data_set()).unwrap();
            assert_eq!(image.pixels(), TWELVE_BITS, "{syntax}");
        }
        let mut promised = Dicom::grey(1, 8, &[]).without(0x7FE0_0010).file();
        promised.truncate(132 + 8 + EXPLICIT.len() + 1);
        promised.extend(twelve_bits().syntax(IMPLICIT).data_set());
        assert_eq!(decoded(&promised).unwrap().pixels(), TWELVE_BITS);
    }

    #[test]
    fn a_wrong_transfer_syntax_is_corrected_by_the_first_element() {
        let plain = twelve_bits().text(0x0008_0008, "ORIGINAL");
        for declared in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
            for written in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
                let mut file = Dicom::empty().syntax(declared).file();
                file.extend(plain.clone().syntax(written).data_set());
                let image = decoded(&file).unwrap();
                assert_eq!(image.pixels(), TWELVE_BITS, "{written} as {declared}");
            }
        }
        let no_header = plain.syntax(BIG_ENDIAN).data_set();
        assert_eq!(decoded(&no_header).unwrap().pixels(), TWELVE_BITS);
    }

    #[test]
    fn elements_without_a_vr_among_others_are_read() {
        let mut file = Dicom::empty().file();
        file.extend(twelve_bits().text(0x0008_0008, "ORIGINAL").data_set());
        // (0009,0010), 4 bytes, before (0010,0010).
        let place = file.windows(6).position(|it| it == b"\x10\0\x10\0LO");
        let element = [9, 0, 16, 0, 4, 0, 0, 0, b'T', b'E', b'S', b'T'];
        file.splice(place.unwrap()..place.unwrap(), element);
        assert_eq!(decoded(&file).unwrap().pixels(), TWELVE_BITS);
    }

    #[test]
    fn icons_and_private_elements_of_undefined_length_are_skipped() {
        let icon = vec![
            (Tag(0x0028, 0x0010), Value::Integers(vec![9])),
            (PIXEL_DATA, Value::Fragment(vec![1, 2, 3, 4])),
        ];
        let nested = vec![(Tag(0x0088, 0x0200), Value::Item(icon.clone()))];
        for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
            let file = twelve_bits()
                .with(0x0009_1001, Value::Item(nested.clone()))
                .with(0x0009_1002, Value::Fragment(vec![5; 8]))
                .with(
                    0x0009_1003,
                    Value::Undelimited(b"\xFE\xFFno items".to_vec()),
                )
                .with(0x0088_0200, Value::Item(icon.clone()))
                .syntax(syntax);
            assert_eq!(read(&file).unwrap().pixels(), TWELVE_BITS, "{syntax}");
        }
    }

    #[test]
    fn a_sequence_without_vrs_is_read() {
        // A VOI LUT whose item is written as implicit little endian.
        let mut item = Vec::new();
        for (element, values) in [(0x3002, vec![2_u16, 1000, 8]), (0x3006, vec![51, 204])] {
            let length = 2 * values.len() as u32;
            item.extend([0x28, 0].into_iter().chain(u16::to_le_bytes(element)));
            item.extend(length.to_le_bytes());
            item.extend(values.into_iter().flat_map(u16::to_le_bytes));
        }
        let mut file = twelve_bits().with(0x0028_3010, Value::RawItem(item)).file();
        let place = file.windows(6).position(|it| it == b"\x28\0\x10\x30SQ");
        for vr in [b"SQ", b"UN"] {
            let place = place.unwrap() + 4;
            file[place..place + 2].copy_from_slice(vr);
            let image = decoded(&file).unwrap();
            let expected = [51, 51, 204, 204, 204].map(|it: u8| f32::from(it) / 255.0);
            let mut pairs = image.pixels().iter().zip(expected);
            assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-6), "{image:?}");
        }
    }

    #[test]
    fn compressed_pixels_with_an_uncompressed_transfer_syntax_are_rejected() {
        let file = twelve_bits().fragment(&[7; 100]);
        assert!(reason(&file.file()).contains("compressed"));
    }

    #[test]
    fn monochrome1_is_inverted_after_the_window() {
        let image = read(&twelve_bits().text(0x0028_0004, "MONOCHROME1")).unwrap();
        assert_eq!(image.pixels(), TWELVE_BITS.map(|it| 1.0 - it));
    }

    #[test]
    fn signed_values_are_extended_from_the_bits_stored() {
        // 12 bits: −2048, −1, 0, 2047, with an overlay in the unused bits of the first.
        let file = Dicom::grey(4, 12, &[0xF800, 0x0FFF, 0, 0x07FF])
            .integers(0x0028_0103, &[1])
            .text(0x0028_1050, "0")
            .text(0x0028_1051, "4096")
            .text(0x0028_1056, "LINEAR_EXACT");
        let expected = [0.0, 2047.0, 2048.0, 4095.0].map(|it| it / 4096.0);
        assert_eq!(read(&file).unwrap().pixels(), expected);
    }

    #[test]
    fn values_above_unused_low_bits_are_shifted_down() {
        let file = twelve_bits()
            .integers(0x0028_0102, &[15])
            .integers(0x7FE0_0010, &[0, 1000, 1250, 2000, 4095].map(|it| it << 4));
        assert_eq!(read(&file).unwrap().pixels(), TWELVE_BITS);
    }

    #[test]
    fn eight_bit_values_without_a_window_are_used_directly() {
        let image = read(&Dicom::grey_8(3, &[51, 102, 153])).unwrap();
        assert_eq!(image, Radiograph::from_u8(3, 1, 1, &[51, 102, 153]));
    }

    #[test]
    fn bytes_in_big_endian_words_are_swapped() {
        let file = Dicom::grey_8(2, &[10, 20, 30, 40])
            .integers(0x7FE0_0010, &[20 << 8 | 10, 40 << 8 | 30])
            .syntax(BIG_ENDIAN);
        let expected = Radiograph::from_u8(2, 2, 1, &[10, 20, 30, 40]);
        assert_eq!(read(&file).unwrap(), expected);
    }

    #[test]
    fn colour_is_read_pixel_by_pixel_and_plane_by_plane() {
        let colour = Dicom::grey_8(2, &[255, 0, 10, 0, 20, 255])
            .integers(0x0028_0002, &[3])
            .integers(0x0028_0010, &[1])
            .text(0x0028_0004, "RGB");
        let expected = Radiograph::from_u8(2, 1, 3, &[255, 0, 10, 0, 20, 255]);
        assert_eq!(read(&colour).unwrap(), expected);
        let planar = colour
            .integers(0x0028_0006, &[1])
            .bytes(0x7FE0_0010, &[255, 0, 0, 20, 10, 255]);
        assert_eq!(read(&planar).unwrap(), expected);
    }

    // Red in BT.601: y = 0.299 · 255, and the differences (0 − y) / 1.772 and (255 − y) / 1.402.
    #[test]
    fn luminance_and_differences_become_colours() {
        let file = Dicom::grey_8(1, &[76, 85, 255])
            .integers(0x0028_0002, &[3])
            .integers(0x0028_0010, &[1])
            .text(0x0028_0004, "YBR_FULL");
        let expected = Radiograph::from_u8(1, 1, 3, &[254, 0, 0]);
        assert_eq!(read(&file).unwrap(), expected);
    }

    #[test]
    fn deflated_files_are_read_within_the_limit() {
        let deflate = |plain: &[u8]| {
            let level = flate2::Compression::default();
            let mut deflater = flate2::read::DeflateEncoder::new(plain, level);
            let mut file = Dicom::grey(1, 8, &[]).syntax(DEFLATED).file();
            file.truncate(132 + 8 + DEFLATED.len());
            std::io::copy(&mut deflater, &mut file).unwrap();
            file
        };
        let file = deflate(&twelve_bits().data_set());
        assert_eq!(decoded(&file).unwrap().pixels(), TWELVE_BITS);
        let limits = DecodeLimits {
            max_bytes: 100_000,
            ..DecodeLimits::default()
        };
        let bomb = deflate(&vec![0; 1_000_000]);
        let error = Radiograph::decode(&bomb, Path::new("bomb.dcm"), &limits).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn unsupported_files_are_rejected_by_name() {
        let grey = twelve_bits();
        for (file, fact) in [
            (grey.clone().text(0x0028_0008, "2"), "number of frames 2"),
            (
                grey.clone().text(0x0028_0004, "PALETTE COLOR"),
                "photometric interpretation PALETTE COLOR",
            ),
            (
                grey.clone().integers(0x0028_0100, &[32]),
                "bits allocated 32",
            ),
            (grey.clone().integers(0x0028_0101, &[0]), "bits stored 0"),
            (grey.clone().integers(0x0028_0101, &[17]), "bits stored 17"),
            (
                grey.clone().integers(0x0028_0002, &[2]),
                "samples per pixel 2",
            ),
            (
                grey.clone().syntax("1.2.840.10008.1.2.4.201"),
                "transfer syntax 1.2.840.10008.1.2.4.201",
            ),
            (grey.clone().without(0x7FE0_0010), "without pixel data"),
            (
                grey.clone().integers(0x7FE0_0010, &[]),
                "without pixel data",
            ),
            (grey.clone().without(0x0028_0010), "without rows"),
            (grey.clone().without(0x0028_0101), "without bits stored"),
            (
                grey.clone().without(0x0028_0103),
                "without pixel representation",
            ),
            (
                grey.clone().integers(0x0028_0103, &[2]),
                "pixel representation 2",
            ),
        ] {
            let reason = reason(&file.file());
            assert!(reason.contains(fact), "`{fact}` in {reason}");
        }
    }

    #[test]
    fn dimensions_beyond_the_limits_are_rejected_before_allocation() {
        for syntax in [EXPLICIT, RUN_LENGTH, JPEG, JPEG_LOSSLESS, JPEG_2000] {
            let file = twelve_bits()
                .integers(0x0028_0011, &[u16::MAX])
                .syntax(syntax);
            let error = read(&file).unwrap_err();
            assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        }
        let file = twelve_bits().file();
        let limits = DecodeLimits {
            max_bytes: 9,
            ..DecodeLimits::default()
        };
        let error = Radiograph::decode(&file, Path::new("image.dcm"), &limits).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        let empty = twelve_bits().integers(0x0028_0010, &[0]);
        let error = read(&empty).unwrap_err();
        assert!(matches!(error, ImageError::Empty { .. }), "{error}");
    }

    // A header with at most 100 bytes of data, which begin with the header of the codec.
    #[test]
    fn implausible_dimensions_are_rejected_before_allocation() {
        let side = [16_000];
        for (syntax, data) in [
            (RUN_LENGTH, vec![0; 100]),
            (JPEG, vec![0; 100]),
            (JPEG_LOSSLESS, vec![0; 100]),
            (JPEG_LS, vec![0; 100]),
        ] {
            let file = twelve_bits()
                .integers(0x0028_0010, &side)
                .integers(0x0028_0011, &side)
                .syntax(syntax)
                .fragment(&data);
            let error = read(&file).unwrap_err();
            let is_implausible = matches!(error, ImageError::Implausible { bytes: 100, .. });
            assert!(is_implausible, "{syntax}: {error}");
        }
    }

    #[test]
    fn a_file_truncated_anywhere_is_an_error_and_not_a_panic() {
        let file = twelve_bits()
            .table(0x0028_3010, [2, 0, 8], &[0, 255])
            .file();
        for length in 1..file.len() {
            let reason = reason(&file[..length]);
            assert!(!reason.contains("panic"), "{length}: {reason}");
        }
    }

    #[test]
    fn a_length_beyond_the_file_allocates_no_memory() {
        // 4 GiB − 2 bytes in an element before the pixels.
        let mut file = twelve_bits().bytes(0x0028_2000, &[0; 8]).file();
        let at = file.windows(4).position(|it| it == [0x28, 0, 0, 0x20]);
        let at = at.unwrap() + 8;
        file[at..at + 4].copy_from_slice(&[0xFE, 0xFF, 0xFF, 0xFF]);
        assert!(reason(&file).contains("4294967294 bytes needed"));
    }

    #[test]
    fn deeply_nested_sequences_are_rejected() {
        let mut file = Dicom::grey(1, 8, &[]).without(0x7FE0_0010).file();
        for _ in 0..100_000 {
            file.extend([
                0x40, 0, 0x75, 0x02, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF,
            ]);
            file.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        assert!(reason(&file).contains("nested"));
    }
}
