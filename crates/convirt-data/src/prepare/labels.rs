//! Labels of studies, from tables or from MeSH index terms.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::table::Table;
use crate::manifest::TableError;

/// Labels and the MeSH main headings that imply them; named as in CheXpert where possible.
const MESH: [(&str, &[&str]); 16] = [
    ("no_finding", &["normal"]),
    ("cardiomegaly", &["cardiomegaly"]),
    (
        "lung_opacity",
        &["opacity", "airspace disease", "infiltrate"],
    ),
    ("lung_lesion", &["nodule", "mass"]),
    ("edema", &["pulmonary edema"]),
    ("consolidation", &["consolidation"]),
    ("pneumonia", &["pneumonia"]),
    ("atelectasis", &["pulmonary atelectasis"]),
    ("pneumothorax", &["pneumothorax"]),
    ("pleural_effusion", &["pleural effusion"]),
    ("fracture", &["fractures, bone"]),
    (
        "support_devices",
        &[
            "catheters, indwelling",
            "implanted medical device",
            "medical device",
            "tube, inserted",
            "stents",
        ],
    ),
    ("emphysema", &["emphysema", "pulmonary emphysema"]),
    ("fibrosis", &["pulmonary fibrosis"]),
    ("hernia", &["hernia, hiatal"]),
    ("calcified_granuloma", &["calcified granuloma"]),
];

/// Index terms that do not describe findings.
const UNINDEXED: [&str; 2] = ["no indexing", "technical quality of image unsatisfactory"];

/// Returns the names of the columns of [`mesh_labels`].
pub(super) fn mesh_columns() -> Vec<String> {
    let labels = MESH.iter().map(|(label, _)| (*label).to_owned());
    labels
        .chain(["mesh".into(), "mesh_automatic".into()])
        .collect()
}

/// Converts the manual index terms of a report to labels, 1 or 0, and appends the manual and the
/// automatic index terms. The labels of a report without manual index terms are blank.
pub(super) fn mesh_labels(major: &[String], automatic: &[String]) -> Arc<[String]> {
    let headings: Vec<String> = major
        .iter()
        .map(|term| term.split('/').next().unwrap_or("").trim().to_lowercase())
        .collect();
    let is_indexed = headings
        .iter()
        .any(|heading| !UNINDEXED.contains(&heading.as_str()));
    let labels = MESH.iter().map(|(_, names)| {
        let has = headings
            .iter()
            .any(|heading| names.contains(&heading.as_str()));
        match (is_indexed, has) {
            (false, _) => String::new(),
            (true, has) => u8::from(has).to_string(),
        }
    });
    labels
        .chain([major.join("; "), automatic.join("; ")])
        .collect()
}

/// The numbers of a patient and a study.
type StudyKey = (String, String);

/// A table with the labels of each study, as written by the labellers of CheXpert and NegBio.
pub(super) struct StudyLabels {
    pub(super) columns: Vec<String>,
    by_study: HashMap<StudyKey, Vec<String>>,
}

impl StudyLabels {
    /// Reads a table; `prefix` is added to the column names.
    pub(super) fn read(path: &Path, prefix: &str) -> Result<Self, TableError> {
        let mut table = Table::open(path)?;
        let (subject, study) = (table.column("subject_id")?, table.column("study_id")?);
        let labels: Vec<usize> = (0..table.header().len())
            .filter(|&column| column != subject && column != study)
            .collect();
        let columns = labels.iter().map(|&column| {
            let name = table.header()[column].to_lowercase();
            format!("{prefix}{}", name.replace([' ', '-'], "_"))
        });
        let columns = columns.collect();
        let mut by_study: HashMap<StudyKey, Vec<String>> = HashMap::new();
        while let Some(row) = table.next_row()? {
            let cells = labels.iter().map(|&column| {
                let label = match row.cell(column) {
                    "" => "",
                    "1" | "1.0" => "1",
                    "0" | "0.0" => "0",
                    "-1" | "-1.0" => "-1",
                    _ => return Err(row.error(column, "1, 0, -1 or nothing")),
                };
                Ok(label.to_owned())
            });
            let cells: Vec<_> = cells.collect::<Result<_, _>>()?;
            let numbers = (row.number(subject)?.into(), row.number(study)?.into());
            if by_study
                .get(&numbers)
                .is_some_and(|earlier| *earlier != cells)
            {
                return Err(row.error(study, "named once: an earlier row has other labels for it"));
            }
            by_study.insert(numbers, cells);
        }
        Ok(Self { columns, by_study })
    }

    /// Returns the labels of a study, blank if the table lacks it.
    pub(super) fn get(&self, subject: &str, study: &str) -> Vec<String> {
        let numbers = (subject.to_owned(), study.to_owned());
        let labels = self.by_study.get(&numbers).cloned();
        labels.unwrap_or_else(|| vec![String::new(); self.columns.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(major: &[&str], name: &str) -> String {
        let major: Vec<_> = major.iter().map(ToString::to_string).collect();
        let column = mesh_columns().iter().position(|column| column == name);
        mesh_labels(&major, &["nodule".into()])[column.unwrap()].clone()
    }

    #[test]
    fn index_terms_become_labels_by_their_main_heading() {
        let terms = ["Pulmonary Atelectasis/base/left", "Cardiomegaly/mild"];
        for (name, expected) in [
            ("atelectasis", "1"),
            ("cardiomegaly", "1"),
            ("no_finding", "0"),
            ("lung_lesion", "0"),
            ("mesh", "Pulmonary Atelectasis/base/left; Cardiomegaly/mild"),
            ("mesh_automatic", "nodule"),
        ] {
            assert_eq!(label(&terms, name), expected, "{name}");
        }
        assert_eq!(label(&["normal"], "no_finding"), "1");
        for unindexed in [&["No Indexing"][..], &[]] {
            assert_eq!(label(unindexed, "no_finding"), "");
        }
    }

    fn read(table: &str) -> Result<StudyLabels, TableError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chexpert.csv");
        std::fs::write(&path, table).unwrap();
        StudyLabels::read(&path, "")
    }

    #[test]
    fn labels_are_found_by_patient_and_study() {
        let labels = read("subject_id,study_id,Edema\n1,5,1.0\n2,5,\n1,5,1.0\n").unwrap();
        assert_eq!(labels.get("1", "5"), ["1"]);
        assert_eq!(labels.get("2", "5"), [""]);
        assert_eq!(labels.get("3", "5"), [""]);
        let table = "subject_id;study_id;Edema\n1;5;1.0\n1;5;0.0\n";
        let error = read(table).err().unwrap().to_string();
        for fact in ["row 2", "`study_id`", "`5` is not named once"] {
            assert!(error.contains(fact), "`{fact}` in {error}");
        }
    }
}
