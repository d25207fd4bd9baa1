//! How a preparation writes images.

use clap::Args;
use convirt::data::{DecodeLimits, PreparedImages};

/// Where small images are written, and how large those may be that they are made of.
#[derive(Args)]
pub struct ImageArguments {
    /// Longer side of the images written, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = PreparedImages::default().longer_side)]
    longer_side: usize,

    /// Longest side of an image file that is read, in pixels; longer ones are left out
    #[arg(long, value_name = "PIXELS", default_value_t = DecodeLimits::default().max_side)]
    max_image_side: u32,

    /// Largest image file that is read, packed or decoded, in MiB; larger ones are left out
    #[arg(long, value_name = "MIB", default_value_t = (DecodeLimits::default().max_bytes >> 20) as u32)]
    max_image_mb: u32,

    /// Leave JPEG and PNG files as they are stored, and do not turn them as their EXIF asks
    #[arg(long)]
    no_exif_orientation: bool,

    /// Write no images: the manifest names those below --root, whether they are there or not
    #[arg(long)]
    no_images: bool,
}

impl ImageArguments {
    /// Returns what they say, or `None` where no images are to be written.
    pub fn config(&self) -> Option<PreparedImages> {
        (!self.no_images).then(|| PreparedImages {
            longer_side: self.longer_side,
            limits: DecodeLimits {
                max_side: self.max_image_side,
                max_bytes: u64::from(self.max_image_mb) << 20,
                exif_orientation: !self.no_exif_orientation,
            },
        })
    }
}
