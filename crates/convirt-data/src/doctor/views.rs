//! Detection of views that are not frontal.

use std::path::Path;

use crate::image::named_view;

/// Names of the view column in MIMIC-CXR and CheXpert, in lower case and without punctuation, in
/// order of preference.
const COLUMNS: [&str; 3] = ["view", "viewposition", "frontallateral"];

/// Characters shown of a view; DICOM codes have at most 16.
const MAX_CODE: usize = 16;

/// Words of a frontal view.
const FRONTAL: [&str; 5] = ["pa", "ap", "frontal", "posteroanterior", "anteroposterior"];

/// Finds the view column.
pub(super) fn view_column(header: &[String]) -> Option<usize> {
    let names: Vec<_> = header
        .iter()
        .map(|name| without_punctuation(name))
        .collect();
    COLUMNS
        .iter()
        .find_map(|column| names.iter().position(|name| name == column))
}

/// Describes a view that is not frontal, from the cell of the view column or the name of the image;
/// `None` if it is frontal or unknown.
pub(super) fn other_view(cell: &str, image: &Path) -> Option<String> {
    let view = cell.trim();
    if view.is_empty() {
        let stem = image.file_stem()?.to_string_lossy().to_lowercase();
        let is_lateral = words(&stem).any(|word| word == "lateral");
        return is_lateral.then(|| "lateral, by its name".into());
    }
    let is_frontal = words(&view.to_lowercase()).any(|word| FRONTAL.contains(&word))
        || FRONTAL.contains(&without_punctuation(view).as_str())
        || matches!(named_view(view), Some("PA" | "AP"));
    (!is_frontal).then(|| view.chars().take(MAX_CODE).collect())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

fn without_punctuation(text: &str) -> String {
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    letters.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_column_is_recognized_by_its_usual_names() {
        let column = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            view_column(&names)
        };
        assert_eq!(column(&["image", "ViewPosition"]), Some(1));
        assert_eq!(column(&["Frontal/Lateral", "View"]), Some(1));
        assert_eq!(column(&["image", "review", "plane"]), None);
    }

    #[test]
    fn every_view_except_frontal_is_reported_and_a_blank_is_not() {
        for (cell, name, expected) in [
            ("PA", "a.png", None),
            ("AP Supine", "a.png", None),
            ("Frontal", "view1_lateral.jpg", None),
            ("postero-anterior", "a.png", None),
            ("Thorax p.-a. im Stehen", "a.png", None),
            ("seitlich", "a.png", Some("seitlich")),
            ("LATERAL", "a.png", Some("LATERAL")),
            ("LL", "a.png", Some("LL")),
            ("", "a.png", None),
            ("", "view2_lateral.jpg", Some("lateral, by its name")),
            ("", "bilateral_effusion.jpg", None),
        ] {
            let view = other_view(cell, Path::new(name));
            assert_eq!(view.as_deref(), expected, "{cell} {name}");
        }
    }
}
