//! Chooses one encoder of a weights file with several.

use std::path::Path;

use super::scope::{EncoderKind, encoder_prefixes};
use crate::error::Error;
use crate::weights::{WeightsError, WeightsFile};

/// Opens weights files, and chooses an encoder by its name prefix if a file has several.
pub(crate) struct ChosenEncoder<'a> {
    /// The prefix of the chosen encoder's tensor names.
    prefix: Option<&'a str>,
    was_used: bool,
}

impl<'a> ChosenEncoder<'a> {
    /// Creates a choice by `prefix`, the value of `weights_prefix`.
    pub fn new(prefix: Option<&'a str>) -> Self {
        Self {
            prefix,
            was_used: false,
        }
    }

    /// Opens a weights file. If it has several encoders, the result contains only the chosen one.
    ///
    /// # Errors
    ///
    /// The errors of [`WeightsFile::open`]; [`WeightsError::Ambiguous`] if the prefix is unknown.
    pub fn open(&mut self, path: &Path, kind: EncoderKind) -> Result<WeightsFile, Error> {
        let file = WeightsFile::open(path)?;
        let prefixes = encoder_prefixes(&file, kind);
        let Some(prefix) = self.prefix.filter(|_| prefixes.len() > 1) else {
            return Ok(file);
        };
        self.was_used = true;
        let chosen = prefix.trim_end_matches('.');
        let is_chosen = |candidate: &String| candidate.trim_end_matches('.') == chosen;
        if !prefixes.iter().any(is_chosen) {
            return Err(Error::Weights(WeightsError::Ambiguous {
                path: file.path().to_path_buf(),
                part: kind.name(),
                prefixes,
            }));
        }
        Ok(file.under(prefix)?)
    }

    /// Checks that the prefix, if there is one, was needed to choose an encoder.
    ///
    /// # Errors
    ///
    /// [`WeightsError::UnusedPrefix`] if it was not.
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

    /// Writes two encoders into one file, as in a checkpoint of MoCo.
    fn save_two_encoders(path: &Path) {
        let network = |seed| {
            let device = Device::flex();
            device.seed(seed);
            ResNetConfig::new(ResNetDepth::ResNet18).init(&device)
        };
        let named_tensors = |prefix, seed| {
            tensors(
                &network(seed),
                &Layout::encoder(prefix, Naming::TORCHVISION),
            )
        };
        let mut both = named_tensors("module.encoder_q.", 1);
        both.extend(named_tensors("module.encoder_k.", 2));
        save(both, path).unwrap();
    }

    #[test]
    fn the_prefix_chooses_among_several_encoders_and_the_error_lists_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moco.pth");
        save_two_encoders(&path);
        let load = |prefix: Option<&str>| -> Result<_, Error> {
            let mut chosen = ChosenEncoder::new(prefix);
            let file = chosen.open(&path, EncoderKind::ImageEncoder)?;
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
