//! A cached image at the bit depth of its file.

use twox_hash::XxHash3_64;

use crate::image::radiograph::{Depth, Radiograph};

/// An image at the bit depth of its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    width: usize,
    height: usize,
    samples: Samples,
}

#[derive(Clone, Debug, PartialEq)]
enum Samples {
    Eight(Box<[u8]>),
    Sixteen(Box<[u16]>),
}

/// Length of the header: magic, width, height, depth in bits, checksum.
const HEADER: usize = 4 + 4 + 4 + 4 + 8;

const MAGIC: [u8; 4] = *b"CVI1";

impl Stored {
    pub(super) fn new(image: &Radiograph) -> Self {
        let white = image.depth().white();
        // Values are in 0 to 1; adding 0.5 makes the casts round.
        let levels = image.pixels().iter().map(|value| value * white + 0.5);
        Self {
            width: image.width(),
            height: image.height(),
            samples: match image.depth() {
                Depth::Eight => Samples::Eight(levels.map(|level| level as u8).collect()),
                Depth::Sixteen => Samples::Sixteen(levels.map(|level| level as u16).collect()),
            },
        }
    }

    pub(super) fn to_radiograph(&self) -> Radiograph {
        let (depth, pixels) = match &self.samples {
            Samples::Eight(samples) => (Depth::Eight, brightness(samples, Depth::Eight)),
            Samples::Sixteen(samples) => (Depth::Sixteen, brightness(samples, Depth::Sixteen)),
        };
        Radiograph::from_planes(self.width, self.height, depth, pixels)
    }

    /// Returns the bytes of the samples.
    pub(super) fn bytes(&self) -> usize {
        match &self.samples {
            Samples::Eight(samples) => size_of_val(&**samples),
            Samples::Sixteen(samples) => size_of_val(&**samples),
        }
    }

    /// Returns the content of a cache file, which [`from_file`](Self::from_file) reads.
    pub(super) fn to_file(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEADER + self.bytes());
        file.extend(MAGIC);
        file.extend((self.width as u32).to_le_bytes());
        file.extend((self.height as u32).to_le_bytes());
        let bits: u32 = match self.samples {
            Samples::Eight(_) => 8,
            Samples::Sixteen(_) => 16,
        };
        file.extend(bits.to_le_bytes());
        file.extend([0; 8]);
        match &self.samples {
            Samples::Eight(samples) => file.extend_from_slice(samples),
            Samples::Sixteen(samples) => {
                file.extend(samples.iter().flat_map(|it| it.to_le_bytes()))
            }
        }
        let checksum = XxHash3_64::oneshot(&file);
        file[HEADER - 8..HEADER].copy_from_slice(&checksum.to_le_bytes());
        file
    }

    /// Reads the content of a cache file; `None` if it is damaged.
    pub(super) fn from_file(mut file: Vec<u8>) -> Option<Self> {
        let checksum = file.get_mut(HEADER - 8..HEADER)?;
        let expected = u64::from_le_bytes((&*checksum).try_into().ok()?);
        checksum.fill(0);
        if expected != XxHash3_64::oneshot(&file) {
            return None;
        }
        let (magic, rest) = file.split_first_chunk::<4>()?;
        let (numbers, _) = rest.as_chunks::<4>();
        let [width, height, bits] = numbers.first_chunk()?.map(u32::from_le_bytes);
        let samples = &file[HEADER..];
        let (sample_bytes, samples) = match bits {
            8 => (1, Samples::Eight(samples.into())),
            16 => {
                let (pairs, _) = samples.as_chunks::<2>();
                let levels = pairs.iter().copied().map(u16::from_le_bytes);
                (2, Samples::Sixteen(levels.collect()))
            }
            _ => return None,
        };
        let (width, height) = (width as usize, height as usize);
        let plane = width.checked_mul(height)?.checked_mul(sample_bytes)?;
        let is_whole = [plane, plane.checked_mul(3)?].contains(&(file.len() - HEADER));
        (*magic == MAGIC && plane > 0 && is_whole).then_some(Self {
            width,
            height,
            samples,
        })
    }
}

fn brightness<T: Copy + Into<f32>>(samples: &[T], depth: Depth) -> Vec<f32> {
    let white = depth.white();
    samples
        .iter()
        .map(|&sample| sample.into() / white)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> [Stored; 3] {
        [
            Radiograph::from_u8(3, 2, 1, &[0, 50, 100, 150, 200, 255]),
            Radiograph::from_u8(2, 1, 3, &[255, 0, 0, 0, 255, 7]),
            Radiograph::from_u16(2, 2, 1, &[0, 1000, 2000, 4095]),
        ]
        .map(|image| Stored::new(&image))
    }

    #[test]
    fn an_image_is_restored_from_its_file() {
        for image in images() {
            assert_eq!(Stored::from_file(image.to_file()), Some(image));
        }
    }

    #[test]
    fn a_file_with_a_wrong_or_missing_byte_is_rejected() {
        for image in images() {
            let file = image.to_file();
            for position in 0..file.len() {
                let mut damaged = file.clone();
                damaged[position] ^= 0x10;
                assert_eq!(Stored::from_file(damaged), None, "byte {position}");
                assert_eq!(Stored::from_file(file[..position].into()), None);
            }
        }
    }
}
