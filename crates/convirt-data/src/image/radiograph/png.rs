//! Encoding of a [`Radiograph`] as PNG, and removal of unused chunks before decoding.

use std::borrow::Cow;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use super::Radiograph;
use crate::image::segments::{Segment, segments};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Bytes of a chunk in addition to its content: length, name and checksum.
const CHUNK_OVERHEAD: usize = 12;

/// Removes the colour profile and texts from a PNG; other files are returned unchanged.
///
/// They are not used, but the decoder would unpack them, and a profile of kilobytes can unpack to
/// gigabytes.
pub(crate) fn without_profile(file: &[u8]) -> Cow<'_, [u8]> {
    let length = |segment: Segment| match segment {
        Segment::Png(name, content) => {
            let is_unread = matches!(name, b"iCCP" | b"zTXt" | b"iTXt" | b"tEXt");
            Some((CHUNK_OVERHEAD + content.len(), is_unread))
        }
        Segment::Jpeg(..) => None,
    };
    let mut copied = Vec::new();
    let mut start = SIGNATURE.len();
    // Start of the part that is not yet copied.
    let mut rest = 0;
    for (length, is_unread) in segments(file).map_while(length) {
        if is_unread {
            copied.extend(&file[rest..start]);
            rest = (start + length).min(file.len());
        }
        start += length;
    }
    match rest {
        0 => Cow::Borrowed(file),
        _ => {
            copied.extend(&file[rest..]);
            Cow::Owned(copied)
        }
    }
}

impl Radiograph {
    /// Returns the image as a PNG file of 8 bits, grey or colour.
    pub(crate) fn to_png(&self) -> ImageResult<Vec<u8>> {
        let area = self.width * self.height;
        // Values are in 0 to 1; adding 0.5 makes the cast round.
        let level = |value: f32| (value * 255.0 + 0.5) as u8;
        let channels = self.channels();
        let samples: Vec<u8> = (0..area * channels)
            .map(|i| level(self.pixels[i % channels * area + i / channels]))
            .collect();
        let color = match channels {
            1 => ExtendedColorType::L8,
            _ => ExtendedColorType::Rgb8,
        };
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(
            &samples,
            self.width as u32,
            self.height as u32,
            color,
        )?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use flate2::write::ZlibEncoder;
    use flate2::{Compression, Crc};

    use super::*;
    use crate::image::DecodeLimits;

    fn chunk(name: &[u8], content: &[u8]) -> Vec<u8> {
        let named = [name, content].concat();
        let mut crc = Crc::new();
        crc.update(&named);
        let length = (content.len() as u32).to_be_bytes();
        [&length, &named[..], &crc.sum().to_be_bytes()].concat()
    }

    /// An image, and its file with these chunks after the header, which has 13 bytes.
    fn image_with(chunks: &[Vec<u8>]) -> (Radiograph, Vec<u8>) {
        let samples: Vec<u8> = (0..48).collect();
        let image = Radiograph::from_u8(8, 6, 1, &samples);
        let mut file = image.to_png().unwrap();
        let header = SIGNATURE.len() + CHUNK_OVERHEAD + 13;
        file.splice(header..header, chunks.concat());
        (image, file)
    }

    /// 4 MiB of zeros, compressed to a few kilobytes.
    fn packed() -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; 4 << 20]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_profile_that_unpacks_beyond_the_limit_is_not_unpacked() {
        let profile = [&b"name\0\0"[..], &packed()].concat();
        let text = [&b"Comment\0\0"[..], &packed()].concat();
        let (image, file) = image_with(&[chunk(b"iCCP", &profile), chunk(b"zTXt", &text)]);
        assert!(file.len() < 1 << 16);
        let limits = DecodeLimits {
            max_bytes: 1 << 20,
            ..DecodeLimits::default()
        };
        let decoded = Radiograph::decode(&file, Path::new("image.png"), &limits).unwrap();
        assert_eq!(decoded, image);
    }

    #[test]
    fn the_rest_of_a_file_is_unchanged() {
        let (_, plain) = image_with(&[]);
        let gamma = chunk(b"gAMA", &45_455_u32.to_be_bytes());
        let (_, with_gamma) = image_with(std::slice::from_ref(&gamma));
        for file in [&plain[..], &with_gamma, b"\xFF\xD8\xFF", b""] {
            assert!(matches!(without_profile(file), Cow::Borrowed(same) if same == file));
        }
        let text = chunk(b"tEXt", b"Comment\0none");
        let (_, file) = image_with(&[text.clone(), gamma, text.clone()]);
        assert_eq!(without_profile(&file), with_gamma);
        // Without its checksum.
        let cut = [&plain[..], &text[..text.len() - 2]].concat();
        assert_eq!(without_profile(&cut), plain);
    }
}
