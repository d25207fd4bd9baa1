//! What the encoders' own runs have seen of the labelled images.

use std::collections::HashMap;

use convirt_data::{LabelledImage, Split};

use super::encoder::OpenEncoder;
use crate::error::Error;
use crate::run::RunSplit;

/// The records of the runs that encoders come from.
pub(super) struct Pretraining {
    runs: Vec<RunSplit>,
}

impl Pretraining {
    /// Reads the records of those encoders that come from a run.
    pub fn new(encoders: &[OpenEncoder]) -> Result<Self, Error> {
        let files = encoders.iter().filter_map(OpenEncoder::weights);
        let runs = files.filter_map(|file| RunSplit::load(file).transpose());
        let runs = runs.collect::<Result<_, _>>()?;
        Ok(Self { runs })
    }

    /// Puts the images on the sides on which a run had them, if one knows at least half of them and
    /// held some of them out, and returns its name. A group with a training image is a training
    /// group, as are groups that the run does not know.
    pub fn assign_sides(&self, images: &mut [LabelledImage]) -> Option<&str> {
        self.runs.iter().find_map(|run| {
            let known: usize = run.count(images).iter().sum();
            if 2 * known < images.len() {
                return None;
            }
            let mut sides: HashMap<&str, Split> = HashMap::new();
            for image in images.iter() {
                if let Some(side) = run.side(image.image_content) {
                    let group = sides.entry(&image.group).or_insert(side);
                    *group = (*group).min(side);
                }
            }
            let of_images = images.iter().map(|image| sides.get(image.group.as_str()));
            let of_images: Vec<Split> = of_images
                .map(|side| side.copied().unwrap_or(Split::Train))
                .collect();
            let trained = of_images
                .iter()
                .filter(|side| **side == Split::Train)
                .count();
            if trained == 0 || trained == images.len() {
                return None;
            }
            for (image, side) in images.iter_mut().zip(of_images) {
                image.split = Some(side);
            }
            Some(run.run())
        })
    }

    /// Returns, for each run that trained on some of the images, its name and their number.
    pub fn trained_on(&self, images: &[LabelledImage]) -> Vec<(String, usize)> {
        let count = |run: &RunSplit| (run.run().to_string(), run.trained(images));
        let counts = self.runs.iter().map(count);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}
