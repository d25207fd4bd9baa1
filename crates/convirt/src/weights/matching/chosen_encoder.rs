//! Which encoder is taken of a file that has several.

use std::path::Path;

use super::scope::{Part, prefixes};
use crate::error::Error;
use crate::weights::{WeightsError, WeightsFile};

/// Opens weights, and chooses by a prefix where a file has several encoders.
pub(crate) struct ChosenEncoder<'a> {
    /// What the names of the chosen encoder's tensors begin with.
    prefix: Option<&'a str>,
    was_used: bool,
}

impl<'a> ChosenEncoder<'a> {
    pub fn new(prefix: Option<&'a str>) -> Self {
        Self {
            prefix,
            was_used: false,
        }
    }

    /// Opens a file of weights; of several encoders, only the chosen one is in it.
    ///
    /// # Errors
    ///
    /// Those of [`WeightsFile::open`], and [`WeightsError::Ambiguous`] when none has the prefix.
    pub fn open(&mut self, path: &Path, part: Part) -> Result<WeightsFile, Error> {
        let file = WeightsFile::open(path)?;
        let prefixes = prefixes(&file, part);
        let Some(prefix) = self.prefix.filter(|_| prefixes.len() > 1) else {
            return Ok(file);
        };
        self.was_used = true;
        let chosen = prefix.trim_end_matches('.');
        let is_chosen = |it: &String| it.trim_end_matches('.') == chosen;
        if !prefixes.iter().any(is_chosen) {
            return Err(Error::Weights(WeightsError::Ambiguous {
                path: file.path().to_path_buf(),
                part: part.name(),
                prefixes,
            }));
        }
        Ok(file.under(prefix)?)
    }

    /// Checks that there was something to choose.
    ///
    /// # Errors
    ///
    /// [`WeightsError::UnusedPrefix`].
    pub fn check_used(&self) -> Result<(), WeightsError> {
        match self.prefix.filter(|_| !self.was_used) {
            None => Ok(()),
            Some(prefix) => Err(WeightsError::UnusedPrefix {
                prefix: prefix.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use convirt_model::{ResNetConfig, ResNetDepth};

    use super::*;
    use crate::weights::{Layout, Naming, load_image_encoder, save, tensors};

    /// MoCo's two encoders in one file, as its checkpoints have them.
    fn two_encoders(path: &Path) {
        let network = |seed| {
            let device = Device::flex();
            device.seed(seed);
            ResNetConfig::new(ResNetDepth::ResNet18).init(&device)
        };
        let under = |prefix, seed| {
            tensors(
                &network(seed),
                &Layout::encoder(prefix, Naming::TORCHVISION),
            )
        };
        let mut both = under("module.encoder_q.", 1);
        both.extend(under("module.encoder_k.", 2));
        save(both, path).unwrap();
    }

    #[test]
    fn of_several_encoders_the_prefix_chooses_and_the_error_lists_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moco.pth");
        two_encoders(&path);
        let load = |prefix: Option<&str>| -> Result<_, Error> {
            let mut chosen = ChosenEncoder::new(prefix);
            let file = chosen.open(&path, Part::ImageEncoder)?;
            chosen.check_used()?;
            let encoder = ResNetConfig::new(ResNetDepth::ResNet18).init(&Device::flex());
            Ok(load_image_encoder(encoder, &file, &[])?.0)
        };
        let error = load(None).unwrap_err().to_string();
        for part in ["module.encoder_q.", "module.encoder_k.", "weights_prefix"] {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
        let stem = |prefix| load(Some(prefix)).unwrap().conv1.weight.val().into_data();
        assert!(stem("module.encoder_q") == stem("module.encoder_q."));
        assert!(stem("module.encoder_q") != stem("module.encoder_k"));
        for prefix in ["module.encoder", "encoder_q"] {
            let error = load(Some(prefix)).unwrap_err().to_string();
            assert!(error.contains("module.encoder_q."), "{error}");
        }
    }

    #[test]
    fn a_prefix_that_chooses_nothing_is_an_error() {
        let error = ChosenEncoder::new(Some("a")).check_used().unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }
}
