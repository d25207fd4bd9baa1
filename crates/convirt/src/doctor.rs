//! The examination of a configuration's data set before training.

mod page;

pub use page::doctor_page;

use convirt_data::{Diagnosis, DoctorConfig, Progress, ReportTokenizer, TextView, TokenCheck};

use crate::config::Config;
use crate::datasets::{
    draw_phantom, manifest_config, recognize_columns, split_config, with_config_keys,
};
use crate::error::Error;
use crate::training::{InitialWeights, TextTower};
use crate::weights::{WeightsKind, locate_local_weights};

/// Examines the rows, texts and images of a configuration's data set for problems, reading them as
/// a training would.
///
/// If the configuration asks for a chest phantom that does not exist yet, it is drawn first. Tokens
/// are counted with the text encoder's vocabulary if it is on this machine; nothing is downloaded.
/// `progress` is called from any thread.
///
/// # Errors
///
/// When there is no table of pairs to examine; those of [`DoctorConfig::examine`].
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use convirt::Config;
/// use convirt::data::Severity;
/// use convirt::doctor::examine;
/// use convirt::phantom::PhantomConfig;
///
/// let folder = tempfile::tempdir()?;
/// let mut config = Config::default();
/// config.dataset.csv_file = folder.path().join("phantom/pairs.csv");
/// config.dataset.phantom = Some(PhantomConfig { patients: 8, longer_side: 64, seed: 0 });
///
/// let diagnosis = examine(&config, |_| ())?;
/// assert!(diagnosis.counts().images >= 8);
/// assert_eq!(diagnosis.count(Severity::Error), 0);
/// # Ok(())
/// # }
/// ```
pub fn examine(config: &Config, progress: impl Fn(Progress) + Sync) -> Result<Diagnosis, Error> {
    let data = &config.dataset;
    draw_phantom(data)?;
    let columns = recognize_columns(config)?;
    let manifest = manifest_config(config, &columns);
    let views = [data.train_text, data.eval_text];
    let doctor = DoctorConfig {
        column_remarks: columns.remarks,
        split: split_config(config),
        image_size: config.image_size(),
        batch_size: config.batch_size,
        whole_reports: views.contains(&TextView::WholeReport),
        tokens: token_check(config).unwrap_or_else(|error| TokenCheck::Off {
            reason: error.to_string(),
        }),
        ..DoctorConfig::new(manifest)
    };
    Ok(doctor.examine(progress).map_err(with_config_keys)?)
}

/// Returns how a training with the configuration would count tokens.
fn token_check(config: &Config) -> Result<TokenCheck, Error> {
    if !config.objective.reads_texts() {
        let reason = "SimCLR reads no texts".into();
        return Ok(TokenCheck::Off { reason });
    }
    let model = &config.model;
    let initial = InitialWeights::from_config(config)?;
    let vocabulary = initial.and_then(|initial| initial.tokenizer);
    if model.text_is_from_scratch() {
        let shape = &model.text_from_scratch;
        let max_tokens = model.longest_text(shape.max_tokens);
        return Ok(match vocabulary {
            Some(tokenizer) => TokenCheck::Given {
                tokenizer: tokenizer.into(),
                max_tokens,
            },
            None => TokenCheck::Learned {
                vocab_size: shape.vocab_size,
                do_lower_case: model.lower_cases_from_scratch(),
                max_tokens,
            },
        });
    }
    let name = &model.bert_base_model;
    let Some(folder) = locate_local_weights(name, WeightsKind::TextEncoder) else {
        let reason =
            format!("`{name}` is neither a folder nor in the cache of the Hugging Face hub");
        return Ok(TokenCheck::Off { reason });
    };
    let own = || ReportTokenizer::from_folder(&folder, model.do_lower_case);
    let vocabulary = vocabulary.map_or_else(own, Ok)?;
    let tower = TextTower::from_folder(folder, vocabulary)?;
    Ok(TokenCheck::Given {
        max_tokens: model.longest_text(tower.config.max_tokens()),
        tokenizer: tower.tokenizer.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use convirt_data::{FindingKind, Thumbnail};

    use super::*;

    #[test]
    fn a_column_that_is_passed_over_is_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        let levels: Vec<u8> = (0..40 * 40).map(|pixel| (pixel % 251) as u8).collect();
        let image = Thumbnail::new(&convirt_data::Radiograph::from_u8(40, 40, 1, &levels));
        fs::write(folder.path().join("a.png"), image.png).unwrap();
        let mut config = Config::default();
        config.dataset.phantom = None;
        config.dataset.csv_file = folder.path().join("pairs.csv");
        let table = "image,text,fold\na.png,The lungs are clear.,3\n";
        fs::write(&config.dataset.csv_file, table).unwrap();
        let diagnosis = examine(&config, |_| ()).unwrap();
        let unused = diagnosis.get(FindingKind::UnusedColumn).unwrap();
        let detail = &unused.examples[0].detail;
        assert!(detail.starts_with("column `fold` is not used"), "{detail}");
    }
}
