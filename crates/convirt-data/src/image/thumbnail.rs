//! Thumbnails for reports.

use super::radiograph::Radiograph;

/// A thumbnail as an 8-bit PNG file.
///
/// ```
/// use convirt_data::{Radiograph, Thumbnail};
///
/// let image = Radiograph::from_u8(224, 100, 1, &[128; 22_400]);
/// let thumbnail = Thumbnail::new(&image);
/// assert_eq!((thumbnail.width, thumbnail.height), (112, 50));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Content of the PNG file.
    pub png: Vec<u8>,
}

impl Thumbnail {
    /// Longer side that larger images are scaled down to, in pixels.
    pub const LONGER_SIDE: usize = 112;

    /// Scales `image` down to a longer side of [`LONGER_SIDE`](Self::LONGER_SIDE), if it is larger.
    pub fn new(image: &Radiograph) -> Self {
        Self::whole(&image.within(Self::LONGER_SIDE))
    }

    /// Encodes `image` without scaling.
    pub fn whole(image: &Radiograph) -> Self {
        Self {
            width: image.width(),
            height: image.height(),
            png: image.to_png().expect("writing to memory cannot fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::limits::DecodeLimits;
    use crate::tests::fixtures::data_file;

    #[test]
    fn the_longer_side_is_bounded_and_colour_kept() {
        for (file, size, channels) in [
            ("img_grey_111x130.png", (96, 112), 1),
            ("img_rgb_61x97.png", (61, 97), 3),
        ] {
            let limits = DecodeLimits::default();
            let image = Radiograph::read(&data_file(file), &limits).unwrap();
            let small = Thumbnail::new(&image);
            let read = Radiograph::decode(&small.png, Path::new(file), &limits).unwrap();
            assert_eq!((small.width, small.height), size);
            assert_eq!((read.width(), read.height()), size);
            assert_eq!(read.channels(), channels);
        }
    }
}
