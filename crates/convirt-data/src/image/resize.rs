//! Antialiased bilinear resizing, as in Pillow and torchvision.

use std::borrow::Cow;

use bytemuck::cast_slice;
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use super::jpeg::reduced::Reduced;
use super::radiograph::Radiograph;

/// A rectangle of pixels in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// Columns to the left of the rectangle.
    pub left: usize,
    /// Rows above the rectangle.
    pub top: usize,
    /// Width in pixels, at least 1.
    pub width: usize,
    /// Height in pixels, at least 1.
    pub height: usize,
}

impl CropBox {
    /// Returns the rectangle of the whole image.
    pub fn whole(image: &Radiograph) -> Self {
        Self {
            left: 0,
            top: 0,
            width: image.width(),
            height: image.height(),
        }
    }

    /// Returns the central `width` × `height` of a larger image; as in torchvision's `CenterCrop`,
    /// half pixels are rounded to even.
    pub(crate) fn center(image: &Radiograph, width: usize, height: usize) -> Self {
        let middle = |outer: usize, inner: usize| {
            let spare = outer.saturating_sub(inner) as f32;
            (spare / 2.0).round_ties_even() as usize
        };
        Self {
            left: middle(image.width(), width),
            top: middle(image.height(), height),
            width: width.min(image.width()),
            height: height.min(image.height()),
        }
    }
}

/// Resizes a part of an image to `width` × `height`.
///
/// Pixels outside the part have no influence: cropping comes first, as in torchvision.
///
/// # Panics
///
/// When `part` exceeds the image or has no pixels.
pub(crate) fn resize(image: &Radiograph, part: CropBox, width: usize, height: usize) -> Radiograph {
    resize_planes(image, width, height, |source, resizer, target| {
        let source = TypedCroppedImage::from_ref(
            source,
            part.left as u32,
            part.top as u32,
            part.width as u32,
            part.height as u32,
        )
        .expect("the part lies inside the image");
        resizer.resize_typed(&source, target, &bilinear())
    })
}

fn bilinear() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
}

fn resize_planes(
    image: &Radiograph,
    width: usize,
    height: usize,
    resize: impl Fn(
        &TypedImageRef<'_, F32>,
        &mut Resizer,
        &mut TypedImage<'_, F32>,
    ) -> Result<(), ResizeError>,
) -> Radiograph {
    let mut resizer = Resizer::new();
    let mut pixels = Vec::with_capacity(image.channels() * width * height);
    for plane in image.planes() {
        let (columns, rows) = (image.width() as u32, image.height() as u32);
        let source = TypedImageRef::from_buffer(columns, rows, cast_slice(plane))
            .expect("a plane has a sample for each pixel");
        let mut target = TypedImage::<F32>::new(width as u32, height as u32);
        resize(&source, &mut resizer, &mut target).expect("the source is not empty");
        pixels.extend(target.pixels().iter().map(|pixel| pixel.0));
    }
    Radiograph::from_planes(width, height, image.depth(), pixels)
}

/// Resizes an image so that its shorter side is `side`; the longer side is rounded down, as in
/// torchvision's `Resize`.
pub(crate) fn resize_shorter_side(image: &Radiograph, side: usize) -> Radiograph {
    let (shorter, longer) = sides(image);
    let other = longer * side / shorter;
    let (width, height) = if image.width() <= image.height() {
        (side, other)
    } else {
        (other, side)
    };
    resize(image, CropBox::whole(image), width, height)
}

impl Radiograph {
    /// Scales the image down so that its longer side is at most `longer_side` pixels, as
    /// [`read_within`](Self::read_within) does.
    pub fn within(&self, longer_side: usize) -> Cow<'_, Self> {
        match shrink_longer_side(self, longer_side) {
            Some(small) => Cow::Owned(small),
            None => Cow::Borrowed(self),
        }
    }
}

/// Scales an image down so that its longer side is `side`; `None` if it is not longer.
pub(crate) fn shrink_longer_side(image: &Radiograph, side: usize) -> Option<Radiograph> {
    let size = (image.width(), image.height());
    let is_longer = size.0.max(size.1) > side;
    is_longer.then(|| {
        let (width, height) = shrunk_size(size, side);
        resize(image, CropBox::whole(image), width, height)
    })
}

/// Scales an image that was decoded at reduced size down to its final size.
pub(crate) fn shrink_reduced(reduced: &Reduced, side: usize) -> Radiograph {
    let (width, height) = shrunk_size(reduced.original, side);
    let options = bilinear().crop(0.0, 0.0, reduced.extent.0, reduced.extent.1);
    resize_planes(&reduced.image, width, height, |source, resizer, target| {
        resizer.resize_typed(source, target, &options)
    })
}

/// Returns the width and height of an image scaled to a longer side of `side`.
fn shrunk_size((width, height): (usize, usize), side: usize) -> (usize, usize) {
    let scaled = |length: usize| {
        let exact = length as f64 * side as f64 / width.max(height) as f64;
        (exact.round() as usize).max(1)
    };
    (scaled(width), scaled(height))
}

/// Pads the shorter side with black on both ends to make the image square; an odd pixel is added at
/// the right or the bottom.
pub(crate) fn pad_to_square(image: &Radiograph) -> Radiograph {
    let (width, height) = (image.width(), image.height());
    let (_, side) = sides(image);
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let mut pixels = vec![0.0; image.channels() * side * side];
    for (plane, padded) in image.planes().zip(pixels.chunks_exact_mut(side * side)) {
        let rows = padded.chunks_exact_mut(side).skip(top);
        for (row, padded) in plane.chunks_exact(width).zip(rows) {
            padded[left..left + width].copy_from_slice(row);
        }
    }
    Radiograph::from_planes(side, side, image.depth(), pixels)
}

fn sides(image: &Radiograph) -> (usize, usize) {
    let (width, height) = (image.width(), image.height());
    (width.min(height), width.max(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{levels_apart, reference_bytes};

    fn reference(name: &str) -> Radiograph {
        let (shape, samples) = reference_bytes(name);
        let channels = shape.get(2).copied().unwrap_or(1);
        Radiograph::from_u8(shape[1], shape[0], channels, &samples)
    }

    // Pillow rounds to whole levels after each of two passes, half a level each; we do not round.
    // Measured: 0.98.
    const PILLOW_ROUNDING: f32 = 1.01;

    #[test]
    fn shrinking_and_growing_agree_with_pillow() {
        for colours in ["grey", "rgb"] {
            let image = reference(colours);
            for (width, height) in [(32, 32), (224, 224)] {
                let ours = resize(&image, CropBox::whole(&image), width, height);
                let pillow = reference(&format!("{colours}.resize_{width}x{height}"));
                let apart = levels_apart(ours.pixels(), pillow.pixels());
                assert!(apart < PILLOW_ROUNDING, "{colours} {width}: {apart}");
            }
            // torchvision's Resize((height, width)).
            let ours = resize(&image, CropBox::whole(&image), 90, 17);
            let pillow = reference(&format!("{colours}.resize_17x90"));
            assert_eq!(pillow.height(), 17);
            assert!(levels_apart(ours.pixels(), pillow.pixels()) < PILLOW_ROUNDING);
        }
    }

    #[test]
    fn the_shorter_side_sets_the_scale_as_in_torchvision() {
        for colours in ["grey", "rgb"] {
            let ours = resize_shorter_side(&reference(colours), 40);
            let pillow = reference(&format!("{colours}.resize_40"));
            assert_eq!(
                (ours.width(), ours.height()),
                (pillow.width(), pillow.height())
            );
            assert!(levels_apart(ours.pixels(), pillow.pixels()) < PILLOW_ROUNDING);
        }
    }

    #[test]
    fn pixels_outside_the_part_have_no_influence() {
        let part = CropBox {
            left: 9,
            top: 5,
            width: 41,
            height: 50,
        };
        for colours in ["grey", "rgb"] {
            let ours = resize(&reference(&format!("{colours}.64")), part, 64, 64);
            let pillow = reference(&format!("{colours}.rrc"));
            let apart = levels_apart(ours.pixels(), pillow.pixels());
            assert!(apart < PILLOW_ROUNDING, "{colours}: {apart}");
        }
    }

    #[test]
    fn the_center_crop_agrees_with_torchvision() {
        let shorter = reference("rgb.resize_40");
        let part = CropBox::center(&shorter, 32, 32);
        let ours = resize(&shorter, part, 32, 32);
        assert_eq!(ours, reference("rgb.resize40_crop32"));
    }

    #[test]
    fn shrinking_keeps_the_aspect_ratio_and_leaves_small_images_unchanged() {
        let image = reference("rgb");
        let small = shrink_longer_side(&image, 48).unwrap();
        assert_eq!((small.width(), small.height()), (30, 48));
        assert_eq!(shrink_longer_side(&image, 97), None);
        let sliver = Radiograph::from_u8(1000, 1, 1, &[9; 1000]);
        assert_eq!(shrink_longer_side(&sliver, 10).unwrap().height(), 1);
    }
}
