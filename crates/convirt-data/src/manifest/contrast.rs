//! Checks that pairs differ, as contrastive learning requires.

use super::study::Study;
use crate::manifest::error::ManifestError;

/// Checks that the texts of the studies are not all equal, apart from whitespace.
///
/// Equal texts give a contrastive loss nothing to learn from. Studies without texts pass.
///
/// # Errors
///
/// [`ManifestError::EqualTexts`].
pub fn check_texts_differ(studies: &[Study]) -> Result<(), ManifestError> {
    let words = |study: &Study| -> Vec<String> {
        let words = study.report.text.split_whitespace();
        words.map(String::from).collect()
    };
    let Some((first, others)) = studies.split_first() else {
        return Ok(());
    };
    let first = words(first);
    if !first.is_empty() && others.iter().all(|study| words(study) == first) {
        check_equal_texts(studies.len())
    } else {
        Ok(())
    }
}

/// Returns a warning when a validation set of `pairs` is too small for a meaningful loss.
///
/// ```
/// use convirt_data::small_validation_warning;
///
/// assert_eq!(small_validation_warning(100, 32), None);
/// assert!(small_validation_warning(20, 32).is_some());
/// ```
pub fn small_validation_warning(pairs: usize, batch_size: usize) -> Option<String> {
    match pairs {
        0 => None,
        1 => Some("only 1 to validate on: its loss is 0 whatever the model says".into()),
        _ if pairs < batch_size => Some(format!(
            "only {pairs} to validate on, fewer than a batch of {batch_size}: their loss is lower \
             by that alone, and does not compare with that of training"
        )),
        _ => None,
    }
}

/// Returns the error for `texts` equal texts; a single text is not an error.
pub(crate) fn check_equal_texts(texts: usize) -> Result<(), ManifestError> {
    match texts {
        0 | 1 => Ok(()),
        _ => Err(ManifestError::EqualTexts {
            texts,
            setting: "text_col",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::study::Report;

    fn studies(texts: &[&str]) -> Vec<Study> {
        let studies = texts.iter().enumerate().map(|(row, text)| Study {
            row,
            image: format!("{row}.png").into(),
            image_size: [8, 8],
            image_content: 0,
            report: Report::new(*text, 3),
            group: row.to_string(),
            split: None,
        });
        studies.collect()
    }

    #[test]
    fn texts_that_are_all_equal_are_an_error_with_their_number() {
        let check = |texts: &[&str]| check_texts_differ(&studies(texts));
        let error = check(&["Clear  lungs.", "Clear lungs.", "Clear\nlungs."]).unwrap_err();
        assert!(error.to_string().contains("all 3 texts"), "{error}");
        for sound in [
            &["Clear.", "Clear.", "Edema."][..],
            &["Clear."],
            &["", ""],
            &[],
        ] {
            assert!(check(sound).is_ok(), "{sound:?}");
        }
    }

    #[test]
    fn a_small_validation_set_is_warned_of_with_its_size() {
        let told = |pairs| small_validation_warning(pairs, 8);
        assert!(
            told(1)
                .unwrap()
                .starts_with("only 1 to validate on: its loss is 0")
        );
        assert!(
            told(7)
                .unwrap()
                .contains("only 7 to validate on, fewer than a batch of 8")
        );
        assert_eq!((told(8), told(0)), (None, None));
    }
}
