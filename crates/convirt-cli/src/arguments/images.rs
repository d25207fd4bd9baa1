//! The options for images of a preparation.

use clap::Args;
use convirt::data::{DecodeLimits, PreparedImages};

/// The size of the images written, and the limits for the images read.
#[derive(Args)]
pub struct ImageArguments {
    /// Longer side of the images written, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = PreparedImages::default().longer_side)]
    longer_side: usize,

    /// Maximum side of an image file, in pixels; larger ones are left out
    #[arg(long, value_name = "PIXELS", default_value_t = DecodeLimits::default().max_side)]
    max_image_side: u32,

    /// Maximum size of an image file, packed or decoded, in MiB; larger ones are left out
    #[arg(long, value_name = "MIB", default_value_t = (DecodeLimits::default().max_bytes >> 20) as u32)]
    max_image_mb: u32,

    /// Do not rotate or mirror JPEG and PNG files as their EXIF orientation says
    #[arg(long)]
    no_exif_orientation: bool,

    /// Write no images: the manifest names those below --root, whether they exist or not
    #[arg(long)]
    no_images: bool,
}

impl ImageArguments {
    /// Returns the settings, or `None` if no images are to be written.
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
