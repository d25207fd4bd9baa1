//! The preprocessing of images, as other libraries read it.

use convirt_data::{EvalResize, EvalTransform};
use serde::Serialize;

use crate::inference::Description;

/// Pillow's number of bilinear interpolation.
const BILINEAR: u8 = 2;

/// The content of `preprocessor_config.json`, which is also the metadata of an ONNX file.
///
/// The keys are those of CLIP's image processor in `transformers`, which ignores the last three: with
/// `pad_to_square` its inputs are others.
#[derive(Serialize)]
pub(super) struct Preprocessing {
    image_processor_type: &'static str,
    do_convert_rgb: bool,
    do_resize: bool,
    size: Size,
    resample: u8,
    do_center_crop: bool,
    crop_size: Size,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    /// Length that the longer side of an image is scaled down to before everything else, in pixels.
    longer_side: Option<usize>,
    /// Whether the shorter side is padded with black before the image is scaled to `size`.
    pad_to_square: bool,
    /// Whether JPEG and PNG files are first rotated as their EXIF orientation says.
    exif_orientation: bool,
}

/// What an image is scaled to, in pixels.
#[derive(Serialize)]
#[serde(untagged)]
enum Size {
    ShorterSide { shortest_edge: usize },
    Both { height: usize, width: usize },
}

impl Preprocessing {
    pub(super) fn new(description: &Description) -> Self {
        let side = description.image_size;
        let both = || Size::Both {
            height: side,
            width: side,
        };
        let is_cropped = description.eval_resize == EvalResize::CenterCrop;
        Self {
            image_processor_type: "CLIPImageProcessor",
            do_convert_rgb: true,
            do_resize: true,
            size: if is_cropped {
                Size::ShorterSide {
                    shortest_edge: side,
                }
            } else {
                both()
            },
            resample: BILINEAR,
            do_center_crop: is_cropped,
            crop_size: both(),
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: EvalTransform::MEAN,
            image_std: EvalTransform::DEVIATION,
            longer_side: description.longer_side,
            pad_to_square: description.eval_resize == EvalResize::PadSquare,
            exif_orientation: description.exif_orientation,
        }
    }
}
