//! Usual names of columns, best first, in lower case without separators.

pub(super) const IMAGES: &[&str] = &[
    "image",
    "imagepath",
    "imagefile",
    "img",
    "imgpath",
    "path",
    "imagefilename",
    "filename",
    "filepath",
    "file",
    "dicompath",
    "dicom",
    "dicomfile",
];

pub(super) const TEXTS: &[&str] = &[
    "text",
    "report",
    "reporttext",
    "fullreport",
    "textpath",
    "reportpath",
    "textfile",
    "reportfile",
    "caption",
    "description",
    "findings",
    "impression",
    "note",
    "notes",
    "clinicalnotes",
];

/// Patients, and failing that their examinations.
pub(super) const GROUPS: &[&str] = &[
    "subjectid",
    "subject",
    "patientid",
    "patient",
    "patientidentifier",
    "patientnumber",
    "personid",
    "person",
    "mrn",
    "caseid",
    "case",
    "studyid",
    "study",
    "studyinstanceuid",
    "accession",
    "accessionnumber",
    "accessionid",
];

pub(super) const SPLITS: &[&str] = &[
    "split",
    "datasplit",
    "datasetsplit",
    "subset",
    "set",
    "partition",
    "fold",
    "phase",
];

/// Returns the position of a column's name in `names`, or their number if it is not one of them.
pub(super) fn rank(names: &[&str], column: &str) -> usize {
    let plain: String = column.chars().filter(|c| c.is_alphanumeric()).collect();
    let plain = plain.to_lowercase();
    let position = names.iter().position(|name| *name == plain);
    position.unwrap_or(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_separators_of_a_name_do_not_count() {
        for name in ["subject_id", "SubjectID", " subject-id ", "Subject Id"] {
            assert_eq!(rank(GROUPS, name), 0, "{name}");
        }
        assert!(rank(GROUPS, "patient") < rank(GROUPS, "study_id"));
        assert_eq!(rank(GROUPS, "subjects"), GROUPS.len());
    }
}
