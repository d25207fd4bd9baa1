//! Mapping of stored values to brightness (PS3.3, sections C.11.1 and C.11.2).
//!
//! An image has at most 65,536 different values, so the brightness of each is computed once.

use std::ops::RangeInclusive;

use super::data_set::DataSet;
use super::description::{Description, Photometric};
use super::error::DicomError;
use super::tag::Tag;
use crate::image::radiograph::Stretch;

const PIXEL_PADDING_VALUE: Tag = Tag(0x0028, 0x0120);
const PIXEL_PADDING_RANGE_LIMIT: Tag = Tag(0x0028, 0x0121);
const RESCALE_INTERCEPT: Tag = Tag(0x0028, 0x1052);
const RESCALE_SLOPE: Tag = Tag(0x0028, 0x1053);
const MODALITY_LUT_SEQUENCE: Tag = Tag(0x0028, 0x3000);
const LUT_DESCRIPTOR: Tag = Tag(0x0028, 0x3002);
const LUT_DATA: Tag = Tag(0x0028, 0x3006);
const VOI_LUT_SEQUENCE: Tag = Tag(0x0028, 0x3010);
const WINDOW_CENTER: Tag = Tag(0x0028, 0x1050);
const WINDOW_WIDTH: Tag = Tag(0x0028, 0x1051);
const VOI_LUT_FUNCTION: Tag = Tag(0x0028, 0x1056);
/// Functional groups of enhanced images, for all frames and for each frame.
const SHARED_GROUPS: Tag = Tag(0x5200, 0x9229);
const FRAME_GROUPS: Tag = Tag(0x5200, 0x9230);
const PIXEL_VALUE_TRANSFORMATION: Tag = Tag(0x0028, 0x9145);
const FRAME_VOI_LUT: Tag = Tag(0x0028, 0x9132);

/// The brightness of each level.
pub(super) struct Tone {
    /// Brightness of each level from 0 to 2^bits − 1, from 0 (black) to 1 (white).
    pub(super) brightness: Vec<f32>,
    /// The stretch that was used, if the file has no VOI LUT or window.
    pub(super) stretch: Option<Stretch>,
}

/// Computes the brightness of each level.
///
/// Values pass through the modality LUT or rescale, then the first VOI LUT or window; `MONOCHROME1`
/// is inverted last. A VOI LUT takes precedence over a window (as in pydicom's `apply_voi_lut`;
/// PS3.3, section C.11.2.1.1, allows both). Enhanced images have rescale and window in the
/// functional groups of their frame. Without VOI LUT and window, up to 8 bits span their possible
/// range, as in an 8-bit PNG, and more bits are stretched to their actual range, with 0.5 % of the
/// pixels clipped at each end. Padding is excluded from the stretch and always black.
pub(super) fn tone(
    data: &DataSet<'_>,
    description: &Description,
    levels: &[u16],
) -> Result<Tone, DicomError> {
    let values = modality(data, description)?;
    let is_padding = padding(data, description);
    let mut stretch = None;
    let mut output: Vec<f64> = if let Some(lut) = Lut::read(data, VOI_LUT_SEQUENCE, &values)? {
        let white = lut.white();
        values
            .iter()
            .map(|&value| lut.apply(value) / white)
            .collect()
    } else if let Some(window) = Window::read(data)? {
        values.iter().map(|&value| window.apply(value)).collect()
    } else if description.bits <= 8 {
        let (darkest, brightest) = extremes(&values);
        let range = if brightest > darkest {
            brightest - darkest
        } else {
            1.0
        };
        values
            .iter()
            .map(|value| (value - darkest) / range)
            .collect()
    } else {
        let range = Stretch::from_histogram(histogram(&values, &is_padding, levels));
        stretch = Some(range);
        values.iter().map(|&value| range.apply(value)).collect()
    };
    if description.photometric == Photometric::Monochrome1 {
        output.iter_mut().for_each(|it| *it = 1.0 - *it);
    }
    for (brightness, is_padding) in output.iter_mut().zip(is_padding) {
        if is_padding {
            *brightness = 0.0;
        }
    }
    let clamped = output.into_iter().map(|it| it.clamp(0.0, 1.0) as f32);
    Ok(Tone {
        brightness: clamped.collect(),
        stretch,
    })
}

/// Returns the item of a sequence in the functional groups of the frame, if there is one.
fn functional_group<'a>(
    data: &DataSet<'a>,
    sequence: Tag,
) -> Result<Option<DataSet<'a>>, DicomError> {
    for groups in [FRAME_GROUPS, SHARED_GROUPS] {
        if let Some(group) = data.first_item(groups)?
            && let Some(item) = group.first_item(sequence)?
        {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

/// Returns whether each level is padding: the padding value, or the range from there to the range
/// limit (PS3.3, section C.7.5.1.1.2). Both are stored values, before LUT and rescale.
fn padding(data: &DataSet<'_>, description: &Description) -> Vec<bool> {
    let value = |tag| {
        let stored = data.integer(tag)?;
        Some(if description.is_signed {
            f64::from(stored.cast_signed())
        } else {
            f64::from(stored)
        })
    };
    let range: Option<RangeInclusive<f64>> = value(PIXEL_PADDING_VALUE).map(|one| {
        let other = value(PIXEL_PADDING_RANGE_LIMIT).unwrap_or(one);
        one.min(other)..=one.max(other)
    });
    let stored = stored_values(description);
    stored
        .map(|value| range.as_ref().is_some_and(|range| range.contains(&value)))
        .collect()
}

/// Returns the stored value of each level.
fn stored_values(description: &Description) -> impl Iterator<Item = f64> {
    let largest = u16::MAX >> (u16::BITS - description.bits);
    (0..=largest).map(|level| description.value(level))
}

/// Applies the modality LUT or rescale to each level.
fn modality(data: &DataSet<'_>, description: &Description) -> Result<Vec<f64>, DicomError> {
    let stored: Vec<_> = stored_values(description).collect();
    if let Some(lut) = Lut::read(data, MODALITY_LUT_SEQUENCE, &stored)? {
        return Ok(stored.into_iter().map(|value| lut.apply(value)).collect());
    }
    let group = functional_group(data, PIXEL_VALUE_TRANSFORMATION)?;
    let (slope, intercept) = rescale(group.as_ref().unwrap_or(data))?;
    let rescaled = stored.into_iter().map(|value| slope * value + intercept);
    Ok(rescaled.collect())
}

/// Returns rescale slope and intercept.
///
/// If one of them is missing (pydicom and DCMTK then use neither), the other is rejected unless it
/// has no effect.
fn rescale(data: &DataSet<'_>) -> Result<(f64, f64), DicomError> {
    const RESCALE: [(Tag, &str, f64); 2] = [
        (RESCALE_SLOPE, "rescale slope", 1.0),
        (RESCALE_INTERCEPT, "rescale intercept", 0.0),
    ];
    let mut numbers = [None; 2];
    for ((tag, name, _), number) in RESCALE.into_iter().zip(&mut numbers) {
        *number = match &*data.decimals(tag, name)? {
            [] if !data.has(tag) => None,
            [one] => Some(*one),
            _ => {
                let fault = "one decimal number is needed";
                return Err(DicomError::value(name, tag, &data.lossy_text(tag), fault));
            }
        };
    }
    let alone = |tag, name| {
        let fault = "slope and intercept are needed, and one is missing";
        Err(DicomError::value(name, tag, &data.lossy_text(tag), fault))
    };
    let [
        (slope_tag, slope_name, identity),
        (intercept_tag, intercept_name, zero),
    ] = RESCALE;
    match numbers {
        [Some(0.0), _] => {
            let fault = "all pixels would be equal";
            Err(DicomError::value(slope_name, slope_tag, "0", fault))
        }
        [Some(slope), Some(intercept)] => Ok((slope, intercept)),
        [Some(slope), None] if slope != identity => alone(slope_tag, slope_name),
        [None, Some(intercept)] if intercept != zero => alone(intercept_tag, intercept_name),
        _ => Ok((identity, zero)),
    }
}

fn extremes(values: &[f64]) -> (f64, f64) {
    let darkest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let brightest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (darkest, brightest)
}

/// Returns the histogram of the values in ascending order, without padding.
fn histogram(values: &[f64], is_padding: &[bool], levels: &[u16]) -> Vec<(f64, usize)> {
    let mut counts = vec![0_usize; values.len()];
    for level in levels.iter().copied().map(usize::from) {
        counts[level] += usize::from(!is_padding[level]);
    }
    let mut histogram: Vec<_> = values.iter().copied().zip(counts).collect();
    histogram.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    histogram
}

/// A VOI window (PS3.3, section C.11.2.1).
struct Window {
    center: f64,
    width: f64,
    function: Function,
}

enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

impl Window {
    /// Returns the first window, if there is one.
    fn read(data: &DataSet<'_>) -> Result<Option<Self>, DicomError> {
        let group = functional_group(data, FRAME_VOI_LUT)?;
        let data = group.as_ref().unwrap_or(data);
        const CENTER: &str = "window center";
        const WIDTH: &str = "window width";
        let centers = data.decimals(WINDOW_CENTER, CENTER)?;
        let widths = data.decimals(WINDOW_WIDTH, WIDTH)?;
        let missing = |tag, name| {
            let fault = "center and width are needed, and one is missing";
            Err(DicomError::value(name, tag, "", fault))
        };
        let (center, width) = match (&*centers, &*widths) {
            ([], []) => return Ok(None),
            ([], _) => return missing(WINDOW_CENTER, CENTER),
            (_, []) => return missing(WINDOW_WIDTH, WIDTH),
            (&[center, ..], &[width, ..]) => (center, width),
        };
        let function = data.text(VOI_LUT_FUNCTION).unwrap_or_default();
        let (function, is_wide_enough) = match function.to_ascii_uppercase().as_str() {
            "" | "LINEAR" => (Function::Linear, width >= 1.0),
            "LINEAR_EXACT" => (Function::LinearExact, width > 0.0),
            "SIGMOID" => (Function::Sigmoid, width > 0.0),
            _ => {
                let (name, fault) = (
                    "VOI LUT function",
                    "LINEAR, LINEAR_EXACT or SIGMOID is needed",
                );
                return Err(DicomError::value(name, VOI_LUT_FUNCTION, function, fault));
            }
        };
        if !is_wide_enough {
            let fault = match function {
                Function::Linear => "1 or more is needed",
                _ => "more than 0 is needed",
            };
            return Err(DicomError::value(
                WIDTH,
                WINDOW_WIDTH,
                &width.to_string(),
                fault,
            ));
        }
        Ok(Some(Self {
            center,
            width,
            function,
        }))
    }

    fn apply(&self, value: f64) -> f64 {
        let line = |center: f64, width: f64| {
            let offset = value - center;
            if offset <= -width / 2.0 {
                0.0
            } else if offset > width / 2.0 {
                1.0
            } else {
                offset / width + 0.5
            }
        };
        match self.function {
            Function::Linear => line(self.center - 0.5, self.width - 1.0),
            Function::LinearExact => line(self.center, self.width),
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - self.center) / self.width).exp()),
        }
    }
}

/// A lookup table (PS3.3, sections C.11.1.1.1 and C.11.2.1.1).
struct Lut {
    /// The value of the first entry; values below it map to the first entry too.
    first: f64,
    bits: u16,
    entries: Vec<u16>,
}

impl Lut {
    /// Reads the first LUT of a sequence; `values` are its inputs.
    fn read(data: &DataSet<'_>, sequence: Tag, values: &[f64]) -> Result<Option<Self>, DicomError> {
        let Some(item) = data.first_item(sequence)? else {
            return Ok(None);
        };
        let what = "a lookup table without its entries";
        let &[count, first, bits] = &*item.integers(LUT_DESCRIPTOR) else {
            return Err(DicomError::Malformed { what });
        };
        // 65,536 does not fit and is written as 0.
        let count = usize::from(count.wrapping_sub(1)) + 1;
        let bytes = item.bytes(LUT_DATA).unwrap_or_default();
        // 8-bit entries may be stored as bytes, padded to an even number.
        let mut entries = if bytes.len() == count.next_multiple_of(2) && count > 1 {
            bytes.iter().copied().map(u16::from).collect()
        } else {
            item.integers(LUT_DATA)
        };
        entries.truncate(count);
        if entries.len() < count || !(1..=16).contains(&bits) {
            return Err(DicomError::Malformed { what });
        }
        // Without a VR, the descriptor is signed if the values are (table C.11-1).
        let is_signed = item.vr(LUT_DESCRIPTOR) == b"SS" || values.iter().any(|&value| value < 0.0);
        let first = if is_signed {
            f64::from(first.cast_signed())
        } else {
            f64::from(first)
        };
        Ok(Some(Self {
            first,
            bits,
            entries,
        }))
    }

    fn apply(&self, value: f64) -> f64 {
        let last = self.entries.len() - 1;
        // Values below the first map to the first entry: the cast saturates.
        let index = (value - self.first) as usize;
        f64::from(self.entries[index.min(last)])
    }

    /// Returns the entry that is white: the largest value of the declared bits, or the largest
    /// entry if that needs fewer or more bits.
    ///
    /// CR devices of Agfa, for example, declare 16 bits for entries up to 4,095. No LUT is meant to
    /// use less than half of its range.
    fn white(&self) -> f64 {
        let largest = self.entries.iter().copied().max().unwrap_or(0);
        let bits = (u16::BITS - largest.leading_zeros()) as u16;
        f64::from(match largest {
            0 => u16::MAX,
            _ if bits == self.bits => u16::MAX >> (16 - self.bits),
            largest => largest,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::dicom::tests::fixtures::{Dicom, Value};
    use crate::image::error::ImageError;
    use crate::image::limits::DecodeLimits;
    use crate::image::radiograph::Radiograph;

    /// The error for a file.
    fn reason(dicom: &Dicom) -> String {
        let limits = DecodeLimits::default();
        let error = Radiograph::decode(&dicom.file(), Path::new("a.dcm"), &limits).unwrap_err();
        let ImageError::Dicom { cause, .. } = error else {
            panic!("{error}");
        };
        cause.to_string()
    }

    fn pixels(dicom: &Dicom) -> Vec<f32> {
        let limits = DecodeLimits::default();
        let image = Radiograph::decode(&dicom.file(), Path::new("a.dcm"), &limits).unwrap();
        image.pixels().to_vec()
    }

    fn close(actual: &[f32], expected: &[f32]) -> bool {
        let is_close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        actual.len() == expected.len() && actual.iter().zip(expected).all(is_close)
    }

    fn windowed(center: &str, width: &str, function: &str) -> Dicom {
        Dicom::grey(4, 12, &[0, 99, 101, 4095])
            .text(0x0028_1050, center)
            .text(0x0028_1051, width)
            .text(0x0028_1056, function)
    }

    // PS3.3, section C.11.2.1.2: ((x − (c − 0.5)) / (w − 1) + 0.5), black up to
    // c − 0.5 − (w − 1) / 2 and white beyond c − 0.5 + (w − 1) / 2.
    #[test]
    fn windows_follow_their_functions() {
        for (function, expected) in [
            ("LINEAR", [0.0, -0.5 / 9.0 + 0.5, 1.5 / 9.0 + 0.5, 1.0]),
            ("LINEAR_EXACT", [0.0, 0.4, 0.6, 1.0]),
            ("SIGMOID", [0.0, 0.401_312_34, 0.598_687_66, 1.0]),
        ] {
            let actual = pixels(&windowed("100", "10", function));
            assert!(close(&actual, &expected), "{function}: {actual:?}");
        }
    }

    #[test]
    fn the_first_of_several_windows_counts() {
        let several = windowed("100\\2000", "10 \\4000", "LINEAR");
        assert_eq!(pixels(&several), pixels(&windowed("100", "10", "LINEAR")));
    }

    #[test]
    fn a_linear_window_of_1_is_a_threshold() {
        assert_eq!(
            pixels(&windowed("100", "1", "LINEAR")),
            [0.0, 0.0, 1.0, 1.0]
        );
    }

    #[test]
    fn an_invalid_window_is_an_error_that_names_its_element() {
        for (center, width, function, element) in [
            ("100", "0", "LINEAR", "window width (0028,1051) is `0`"),
            (
                "100",
                "-5",
                "LINEAR_EXACT",
                "window width (0028,1051) is `-5`",
            ),
            ("100", "0.5", "LINEAR", "window width (0028,1051) is `0.5`"),
            ("100", "0", "SIGMOID", "window width (0028,1051) is `0`"),
            ("100", "nan", "LINEAR", "window width (0028,1051) is `nan`"),
            (
                "100",
                "wide",
                "LINEAR",
                "window width (0028,1051) is `wide`",
            ),
            ("100", "", "LINEAR", "window width (0028,1051) is ``"),
            ("", "10", "LINEAR", "window center (0028,1050) is ``"),
            (
                "99,5",
                "10",
                "LINEAR",
                "window center (0028,1050) is `99,5`",
            ),
            (
                "100\\x",
                "10",
                "LINEAR",
                "window center (0028,1050) is `100",
            ),
            (
                "1e999",
                "10",
                "LINEAR",
                "window center (0028,1050) is `1e999`",
            ),
            (
                "100",
                "10",
                "CURVE",
                "VOI LUT function (0028,1056) is `CURVE`",
            ),
        ] {
            let reason = reason(&windowed(center, width, function));
            assert!(reason.contains(element), "{element}: {reason}");
        }
    }

    #[test]
    fn a_window_may_be_empty_and_have_more_centers_than_widths() {
        assert_eq!(
            pixels(&windowed("", " ", "")),
            pixels(&Dicom::grey(4, 12, &[0, 99, 101, 4095]))
        );
        let uneven = windowed("100\\2000", "10", "linear");
        assert_eq!(pixels(&uneven), pixels(&windowed("100", "10", "LINEAR")));
    }

    #[test]
    fn an_invalid_rescale_is_an_error_that_names_its_element() {
        for (intercept, slope, element) in [
            ("0", "0,5", "rescale slope (0028,1053) is `0,5`"),
            ("0", "", "rescale slope (0028,1053) is ``"),
            ("0", "1\\2", "rescale slope (0028,1053) is `1\\2`"),
            ("0", "inf", "rescale slope (0028,1053) is `inf`"),
            ("0", "0", "rescale slope (0028,1053) is `0`"),
            (
                "-1024 HU",
                "1",
                "rescale intercept (0028,1052) is `-1024 HU`",
            ),
        ] {
            let file = windowed("100", "10", "LINEAR")
                .text(0x0028_1052, intercept)
                .text(0x0028_1053, slope);
            let reason = reason(&file);
            assert!(reason.contains(element), "{element}: {reason}");
        }
    }

    #[test]
    fn an_incomplete_rescale_is_rejected_unless_it_has_no_effect() {
        let plain = windowed("100", "10", "LINEAR");
        assert!(reason(&plain.clone().text(0x0028_1053, "2")).contains("slope and intercept"));
        assert!(reason(&plain.clone().text(0x0028_1052, "-5")).contains("slope and intercept"));
        for (tag, number) in [(0x0028_1053, "1.0"), (0x0028_1052, "0")] {
            assert_eq!(pixels(&plain.clone().text(tag, number)), pixels(&plain));
        }
    }

    #[test]
    fn rescale_and_window_of_enhanced_images_are_in_their_functional_groups() {
        let line = Value::Item(vec![
            (RESCALE_INTERCEPT, Value::Text("-1000".into())),
            (RESCALE_SLOPE, Value::Text("2".into())),
        ]);
        let window = Value::Item(vec![
            (WINDOW_CENTER, Value::Text("-800".into())),
            (WINDOW_WIDTH, Value::Text("10".into())),
            (VOI_LUT_FUNCTION, Value::Text("LINEAR_EXACT".into())),
        ]);
        let groups = |tag, items| Value::Item(vec![(tag, items)]);
        let file = Dicom::grey(4, 12, &[0, 99, 101, 4095])
            .with(
                0x5200_9229,
                groups(PIXEL_VALUE_TRANSFORMATION, line.clone()),
            )
            .with(0x5200_9230, groups(FRAME_VOI_LUT, window.clone()));
        assert!(close(&pixels(&file), &[0.0, 0.3, 0.7, 1.0]));
        let swapped = Dicom::grey(4, 12, &[0, 99, 101, 4095])
            .with(0x5200_9230, groups(PIXEL_VALUE_TRANSFORMATION, line))
            .with(0x5200_9229, groups(FRAME_VOI_LUT, window));
        assert!(close(&pixels(&swapped), &[0.0, 0.3, 0.7, 1.0]));
        let comma = Value::Item(vec![(RESCALE_SLOPE, Value::Text("0,5".into()))]);
        let file = file.with(0x5200_9229, groups(PIXEL_VALUE_TRANSFORMATION, comma));
        assert!(reason(&file).contains("rescale slope (0028,1053) is `0,5`"));
    }

    #[test]
    fn rescale_precedes_the_window() {
        // 0, 99, 101, 4095 become −1000, −802, −798, 7190.
        let file = windowed("-800", "10", "LINEAR_EXACT")
            .text(0x0028_1052, "-1000")
            .text(0x0028_1053, "2.0");
        assert!(close(&pixels(&file), &[0.0, 0.3, 0.7, 1.0]));
    }

    #[test]
    fn the_modality_lut_precedes_the_window() {
        // From 99: 500, 505, 510; values outside map to the entry at that end.
        let file =
            windowed("505", "20", "LINEAR_EXACT").table(0x0028_3000, [3, 99, 16], &[500, 505, 510]);
        assert!(close(&pixels(&file), &[0.25, 0.25, 0.75, 0.75]));
    }

    #[test]
    fn a_voi_lut_overrides_a_window() {
        let file =
            windowed("100", "10", "LINEAR").table(0x0028_3010, [4, 98, 8], &[0, 51, 102, 255]);
        assert!(close(&pixels(&file), &[0.0, 0.2, 1.0, 1.0]));
    }

    // CR devices of Agfa declare 16 bits for 12-bit entries.
    #[test]
    fn the_largest_entry_is_white_if_a_lut_declares_too_many_or_too_few_bits() {
        for window in [("", ""), ("100", "10")] {
            for bits in [16, 8] {
                let file = windowed(window.0, window.1, "LINEAR").table(
                    0x0028_3010,
                    [4, 98, bits],
                    &[0, 819, 2047, 4095],
                );
                let expected = [0.0, 819.0, 4095.0, 4095.0].map(|it| it / 4095.0);
                assert!(close(&pixels(&file), &expected), "{bits} bits");
            }
        }
        // 3,000 needs the declared 12 bits, whose largest value is 4,095.
        let file = windowed("", "", "").table(0x0028_3010, [4, 98, 12], &[0, 819, 2047, 3000]);
        let expected = [0.0, 819.0, 3000.0, 3000.0].map(|it| it / 4095.0);
        assert!(close(&pixels(&file), &expected));
    }

    #[test]
    fn a_lut_for_signed_values_begins_below_zero() {
        // −2, −1, 0, 1 in 12 bits; the LUT is for −1 and 0.
        let file = Dicom::grey(4, 12, &[0xFFE, 0xFFF, 0, 1])
            .integers(0x0028_0103, &[1])
            .table(0x0028_3010, [2, 0xFFFF, 8], &[51, 204]);
        assert!(close(&pixels(&file), &[0.2, 0.2, 0.8, 0.8]));
    }

    #[test]
    fn a_lut_of_bytes_and_a_full_lut_are_read() {
        let bytes = |descriptor: [u16; 3], entries: Vec<u8>| {
            let item = vec![
                (LUT_DESCRIPTOR, Value::Integers(descriptor.into())),
                (LUT_DATA, Value::Bytes(entries)),
            ];
            windowed("", "", "").with(0x0028_3010, Value::Item(item))
        };
        let actual = pixels(&bytes([4, 98, 8], vec![0, 51, 102, 255]));
        assert!(close(&actual, &[0.0, 0.2, 1.0, 1.0]));
        // 0 means 65,536 entries.
        let full = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let actual = pixels(&bytes([0, 0, 16], full));
        let expected = [0.0, 99.0, 101.0, 4095.0].map(|it| it / 65535.0);
        assert!(close(&actual, &expected));
    }

    #[test]
    fn a_lut_without_entries_is_an_error() {
        for (descriptor, entries) in [([3, 0, 8], &[1][..]), ([1, 0, 17], &[1]), ([0, 0, 8], &[])] {
            let file = windowed("", "", "").table(0x0028_3010, descriptor, entries);
            let limits = DecodeLimits::default();
            assert!(Radiograph::decode(&file.file(), Path::new("a.dcm"), &limits).is_err());
        }
    }

    // 0.5 % of 1,000 steps are 5.
    #[test]
    fn without_a_window_the_outermost_values_are_clipped() {
        let samples: Vec<u16> = (0..=1000).map(|it| 1000 + it).collect();
        let actual = pixels(&Dicom::grey(1001, 12, &samples));
        let expected: Vec<_> = (0..=1000)
            .map(|it| ((it as f32 - 5.0) / 990.0).clamp(0.0, 1.0))
            .collect();
        assert!(close(&actual, &expected));
    }

    #[test]
    fn one_dead_pixel_does_not_darken_the_rest() {
        let mut samples = vec![100; 500];
        samples.extend(vec![200; 500]);
        samples.push(65_535);
        let actual = pixels(&Dicom::grey(1001, 16, &samples));
        assert_eq!((actual[0], actual[999], actual[1000]), (0.0, 1.0, 1.0));
    }

    #[test]
    fn padding_is_excluded_from_the_stretch_and_black() {
        // 0.5 % of 1,000 steps are 5; the padding is twice as many pixels, far below.
        let samples = |padding| [vec![padding; 2002], (1000..=2000).collect()].concat();
        let steps = |it: u16| ((f32::from(it) - 5.0) / 990.0).clamp(0.0, 1.0);
        let image =
            |padding| Dicom::grey(3003, 12, &samples(padding)).integers(0x0028_0120, &[padding]);
        let expected: Vec<_> = [0.0; 2002]
            .into_iter()
            .chain((0..=1000).map(steps))
            .collect();
        assert!(close(&pixels(&image(7)), &expected));
        // White at 0 and black at the end of the range, where the padding is in MONOCHROME1.
        let inverted = image(4095).text(0x0028_0004, "MONOCHROME1");
        let expected: Vec<_> = [0.0; 2002]
            .into_iter()
            .chain((0..=1000).map(|it| 1.0 - steps(it)))
            .collect();
        assert!(close(&pixels(&inverted), &expected));
    }

    #[test]
    fn padding_is_black_with_a_window_or_lut() {
        let range = windowed("100", "10", "LINEAR_EXACT").integers(0x0028_0120, &[4095]);
        assert_eq!(pixels(&range), [0.0, 0.4, 0.6, 0.0]);
        for limits in [[101, 4095], [4095, 101]] {
            let [value, limit] = limits.map(|it| [it]);
            let range = range
                .clone()
                .integers(0x0028_0120, &value)
                .integers(0x0028_0121, &limit);
            assert_eq!(pixels(&range), [0.0, 0.4, 0.0, 0.0]);
        }
        let table = range.table(0x0028_3010, [1, 0, 8], &[255]);
        assert_eq!(pixels(&table), [1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn padding_of_signed_values_is_signed_and_ignored_beyond_the_bits_stored() {
        // −2048, −1, 0, 1 of 12 bits, all white.
        let file = Dicom::grey(4, 12, &[0x800, 0xFFF, 0, 1])
            .integers(0x0028_0103, &[1])
            .text(0x0028_1050, "-3000")
            .text(0x0028_1051, "1");
        let padded =
            |value: i16| pixels(&file.clone().integers(0x0028_0120, &[value.cast_unsigned()]));
        assert_eq!(padded(-1), [1.0, 0.0, 1.0, 1.0]);
        assert_eq!(padded(4095), [1.0; 4]);
    }

    #[test]
    fn an_image_of_only_padding_is_black() {
        let file = Dicom::grey(4, 12, &[9; 4]).integers(0x0028_0120, &[9]);
        assert_eq!(pixels(&file), [0.0; 4]);
    }

    #[test]
    fn no_rescale_or_window_gives_nan() {
        for number in ["1e38", "-1e38", "1e-300", "3"] {
            let file = Dicom::grey(4, 12, &[0, 99, 101, 4095])
                .text(0x0028_1052, number)
                .text(0x0028_1053, number);
            let width = number.trim_start_matches('-');
            let window = file
                .clone()
                .text(0x0028_1050, number)
                .text(0x0028_1051, width)
                .text(0x0028_1056, "SIGMOID");
            for file in [file, window] {
                let actual = pixels(&file);
                assert!(
                    actual.iter().all(|it| (0.0..=1.0).contains(it)),
                    "{actual:?}"
                );
            }
        }
    }
}
