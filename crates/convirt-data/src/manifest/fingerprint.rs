//! A fingerprint of the training data, to detect changes.

use twox_hash::XxHash3_128;

use super::study::Study;

/// Hashes the content of studies: names and contents of the image files, texts and groups, in
/// order. The folder of the images does not count.
///
/// A resumed run compares fingerprints to detect that its data has changed.
///
/// ```
/// use convirt_data::{Report, Study, fingerprint};
///
/// let study = |folder: &str, text: &str| Study {
///     row: 1,
///     image: format!("{folder}/chest.png").into(),
///     image_size: [8, 8],
///     image_content: 7,
///     report: Report::new(text, 3),
///     group: "p10".into(),
///     split: None,
/// };
/// let original = fingerprint(&[study("images", "The lungs are clear.")]);
/// assert_eq!(original, fingerprint(&[study("moved", "The lungs are clear.")]));
/// assert_ne!(original, fingerprint(&[study("images", "The lungs are hazy.")]));
/// ```
pub fn fingerprint(studies: &[Study]) -> u128 {
    let mut hash = XxHash3_128::new();
    let mut add = |part: &[u8]| {
        hash.write(&(part.len() as u64).to_le_bytes());
        hash.write(part);
    };
    for study in studies {
        let name = study.image.file_name().unwrap_or_default();
        add(name.as_encoded_bytes());
        add(&study.image_content.to_le_bytes());
        add(study.report.text.as_bytes());
        add(study.group.as_bytes());
    }
    hash.finish_128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::study::Report;

    fn study(image: &str, text: &str, group: &str) -> Study {
        Study {
            row: 1,
            image: image.into(),
            image_size: [1, 1],
            image_content: 0,
            report: Report::new(text, 0),
            group: group.into(),
            split: None,
        }
    }

    #[test]
    fn a_change_of_any_row_is_detected_but_not_of_the_folder() {
        let rows = |image| [study(image, "ab", "c"), study("2.png", "d", "e")];
        let before = fingerprint(&rows("here/1.png"));
        assert_eq!(fingerprint(&rows("elsewhere/1.png")), before);
        let [one, other] = rows("1.png");
        for changed in [
            vec![one.clone()],
            vec![other.clone(), one.clone()],
            vec![study("3.png", "ab", "c"), other.clone()],
            vec![study("1.png", "a", "bc"), other.clone()],
            vec![study("1.png", "ab", "x"), other.clone()],
            vec![
                Study {
                    image_content: 1,
                    ..one.clone()
                },
                other.clone(),
            ],
        ] {
            assert_ne!(fingerprint(&changed), before);
        }
    }
}
