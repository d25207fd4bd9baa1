//! Decoder for run-length coded pixels (PS3.5, annex G).

use super::error::DicomError;

/// Number of offsets in the header, after their count.
const SEGMENTS: usize = 15;

/// Decodes into interleaved samples of `bytes_per_sample` bytes, 1 or 2.
///
/// A segment contains one byte of one sample for all pixels, the high byte first.
pub(super) fn decode(
    data: &[u8],
    area: usize,
    samples_per_pixel: usize,
    bytes_per_sample: usize,
) -> Result<Vec<u16>, DicomError> {
    let starts = segment_starts(data)?;
    let segments = samples_per_pixel * bytes_per_sample;
    if starts.len() != segments {
        let what = "another number of run-length segments than bytes in a pixel";
        return Err(DicomError::Malformed { what });
    }
    let mut values = vec![0; area * samples_per_pixel];
    for (segment, &start) in starts.iter().enumerate() {
        let end = starts.get(segment + 1).copied().unwrap_or(data.len());
        let segment_data = data.get(start..end).ok_or(DicomError::Truncated {
            needed: end,
            found: data.len(),
        })?;
        let sample = segment / bytes_per_sample;
        let shift = 8 * (bytes_per_sample - 1 - segment % bytes_per_sample);
        let bytes = unpack(segment_data, area)?;
        let targets = values.iter_mut().skip(sample).step_by(samples_per_pixel);
        for (value, byte) in targets.zip(bytes) {
            *value |= u16::from(byte) << shift;
        }
    }
    Ok(values)
}

fn segment_starts(data: &[u8]) -> Result<Vec<usize>, DicomError> {
    let needed = 4 * (1 + SEGMENTS);
    let length = data.len();
    let header = data.get(..needed).ok_or(DicomError::Truncated {
        needed,
        found: length,
    })?;
    let (words, _) = header.as_chunks();
    let mut words = words.iter().map(|&word| u32::from_le_bytes(word) as usize);
    let count = words.next().unwrap_or(0).min(SEGMENTS);
    Ok(words.take(count).collect())
}

/// Expands runs until there are `area` bytes.
fn unpack(mut packed: &[u8], area: usize) -> Result<Vec<u8>, DicomError> {
    let mut bytes = Vec::with_capacity(area);
    while bytes.len() < area {
        let truncated = DicomError::Truncated {
            needed: area,
            found: bytes.len(),
        };
        let Some((&head, rest)) = packed.split_first() else {
            return Err(truncated);
        };
        packed = match head {
            0..=127 => {
                let count = usize::from(head) + 1;
                let (literal, rest) = rest.split_at_checked(count).ok_or(truncated)?;
                bytes.extend_from_slice(literal);
                rest
            }
            128 => rest,
            129.. => {
                let (&byte, rest) = rest.split_first().ok_or(truncated)?;
                bytes.resize(bytes.len() + 257 - usize::from(head), byte);
                rest
            }
        };
    }
    bytes.truncate(area);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::dicom::tests::fixtures::{Dicom, RUN_LENGTH};
    use crate::image::limits::DecodeLimits;
    use crate::image::radiograph::Radiograph;

    /// Segments after a header.
    fn packed(segments: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![segments.len() as u32];
        let mut start = 64;
        for segment in segments {
            header.push(start);
            start += segment.len() as u32;
        }
        header.resize(1 + SEGMENTS, 0);
        let mut data: Vec<_> = header.into_iter().flat_map(u32::to_le_bytes).collect();
        data.extend(segments.concat());
        data
    }

    #[test]
    fn runs_literals_and_no_ops_are_expanded() {
        // Three times 7, a no-op, then 1 and 2, and a padding byte.
        let data = packed(&[&[254, 7, 128, 1, 1, 2, 0]]);
        assert_eq!(decode(&data, 5, 1, 1).unwrap(), [7, 7, 7, 1, 2]);
    }

    #[test]
    fn high_bytes_come_first_and_samples_are_interleaved() {
        let data = packed(&[&[1, 1, 2], &[1, 3, 4]]);
        assert_eq!(decode(&data, 2, 1, 2).unwrap(), [0x0103, 0x0204]);
        let data = packed(&[&[1, 1, 2], &[1, 3, 4], &[1, 5, 6]]);
        assert_eq!(decode(&data, 2, 3, 1).unwrap(), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn a_run_length_coded_file_is_read() {
        let file = Dicom::grey_8(5, &[0; 5])
            .syntax(RUN_LENGTH)
            .fragment(&packed(&[&[254, 7, 128, 1, 1, 2, 0]]));
        let image = Radiograph::decode(&file.file(), Path::new("a.dcm"), &DecodeLimits::default());
        assert_eq!(
            image.unwrap(),
            Radiograph::from_u8(5, 1, 1, &[7, 7, 7, 1, 2])
        );
    }

    #[test]
    fn damaged_segments_are_errors() {
        let good = packed(&[&[254, 7, 1, 1, 2]]);
        for length in 0..good.len() {
            assert!(decode(&good[..length], 5, 1, 1).is_err(), "{length}");
        }
        assert!(decode(&good, 6, 1, 1).is_err(), "too few pixels");
        assert!(decode(&good, 5, 1, 2).is_err(), "too few segments");
        let mut beyond = good;
        beyond[4] = 200;
        assert!(decode(&beyond, 5, 1, 1).is_err(), "start beyond the end");
    }
}
