//! The CheXpert 8×200 retrieval set, as its authors publish it.

use std::path::{Path, PathBuf};

use super::column::Column;
use super::labels::{BlankPolicy, LabelColumns, LabelledConfig, LabelledManifest, UncertainPolicy};
use super::row::{NamedColumn, Unusable, check_length, filled, usable_rows};
use super::table::Table;
use crate::manifest::error::ManifestError;
use crate::skips::{Skip, Skips};

/// The CheXpert 8×200 retrieval set (Zhang et al. 2022, section 4.3): images with exactly one of
/// eight findings each, and images and texts to find them by.
///
/// An image answers a query when it has the query's finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Chexpert8x200 {
    /// Names of the findings, sorted.
    pub findings: Vec<String>,
    /// The images to be found, 200 for each finding.
    pub candidates: Vec<ChexpertCandidate>,
    /// The images to find others by, 10 for each finding.
    pub image_queries: Vec<ChexpertQuery<PathBuf>>,
    /// The sentences to find images by, 5 for each finding.
    pub text_queries: Vec<ChexpertQuery<String>>,
}

/// An image to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChexpertCandidate {
    /// The file.
    pub image: PathBuf,
    /// Whether it has each of the findings.
    pub has: Vec<bool>,
}

/// What images are found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChexpertQuery<T> {
    /// The image or the sentence.
    pub of: T,
    /// Position of its finding among the findings.
    pub finding: usize,
}

impl Chexpert8x200 {
    /// Reads the lists that come with the paper (<https://github.com/yuhaozhang/convirt>):
    ///
    /// | file in `lists` | columns |
    /// |---|---|
    /// | `image-retrieval/candidate.csv` | `Path`, and one for each finding: 1, 0, −1 or blank |
    /// | `image-retrieval/query.csv` | `Variable` (the finding), `Path` |
    /// | `text-retrieval/query.csv` | `Variable`, `Text` |
    ///
    /// `text-retrieval/candidate.csv` lists the same images and is not read. Paths begin with
    /// `CheXpert-v1.0-small/` and start from `images`, the folder that CheXpert was unpacked into.
    ///
    /// # Errors
    ///
    /// Those of [`LabelledManifest::read`] for each list; a query that cannot be used, and more
    /// than `max_bad_share` of the candidates, from 0 to 1, are too many bad rows.
    pub fn read(lists: &Path, images: &Path, max_bad_share: f64) -> Result<Self, ManifestError> {
        let image_queries = queries(&lists.join("image-retrieval/query.csv"), "Path")?;
        let text_queries = queries(&lists.join("text-retrieval/query.csv"), "Text")?;
        let named = image_queries.iter().chain(&text_queries);
        let mut findings: Vec<String> = named.map(|(finding, _)| finding.clone()).collect();
        findings.sort();
        findings.dedup();

        let candidates = LabelledManifest::read(&LabelledConfig {
            img_root_dir: Some(images.into()),
            image: Column::Name("Path".into()),
            max_bad_share,
            ..LabelledConfig::new(
                lists.join("image-retrieval/candidate.csv"),
                LabelColumns::Findings {
                    columns: findings.iter().cloned().map(Column::Name).collect(),
                    uncertain: UncertainPolicy::Zeros,
                    blank: BlankPolicy::Zeros,
                },
            )
        })?;
        let candidates = candidates
            .images
            .into_iter()
            .map(|image| ChexpertCandidate {
                image: image.image,
                has: image.targets.iter().map(|has| *has == Some(true)).collect(),
            });
        let numbered = |queries: Vec<(String, String)>| {
            queries.into_iter().map(|(finding, of)| {
                let place = findings.binary_search(&finding);
                (of, place.expect("the findings are those of the queries"))
            })
        };
        Ok(Self {
            candidates: candidates.collect(),
            image_queries: numbered(image_queries)
                .map(|(path, finding)| ChexpertQuery {
                    of: images.join(path),
                    finding,
                })
                .collect(),
            text_queries: numbered(text_queries)
                .map(|(of, finding)| ChexpertQuery { of, finding })
                .collect(),
            findings,
        })
    }
}

/// Reads the findings of a list of queries, and what they are found by.
fn queries(csv: &Path, column: &str) -> Result<Vec<(String, String)>, ManifestError> {
    let table = Table::read(csv)?;
    let find =
        |name: &str, key| NamedColumn::find(&Column::Name(name.into()), &table.header, csv, key);
    let (finding, of) = (find("Variable", "finding")?, find(column, "query")?);
    usable_rows(
        &table,
        &Skips::new(csv, table.rows.len(), 0.0),
        |row, record| {
            let read = check_length(record, table.header.len())
                .and_then(|()| Ok((filled(record, &finding)?, filled(record, &of)?)));
            match read {
                Ok((finding, of)) => Ok((finding.trim().into(), of.trim().into())),
                Err((reason, detail)) => Err(Unusable::Row(Skip {
                    file: csv.into(),
                    row,
                    reason,
                    detail,
                })),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const IMAGES: [&str; 3] = ["patient1", "patient2", "patient3"];

    /// The lists in a folder `lists`, in the authors' layout, and the images they name.
    fn folder(candidates: &str, texts: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let lists = folder.path().join("lists");
        for (name, text) in [
            ("image-retrieval/candidate.csv", candidates),
            (
                "image-retrieval/query.csv",
                "Variable,Path\nNo Finding,CheXpert-v1.0-small/patient3.png\n",
            ),
            ("text-retrieval/query.csv", texts),
        ] {
            let path = lists.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let images = folder.path().join("CheXpert-v1.0-small");
        fs::create_dir(&images).unwrap();
        for name in IMAGES {
            let path = images.join(format!("{name}.png"));
            image::GrayImage::new(8, 8).save(path).unwrap();
        }
        folder
    }

    fn read(folder: &TempDir) -> Result<Chexpert8x200, ManifestError> {
        let root = folder.path();
        Chexpert8x200::read(&root.join("lists"), root, 0.0)
    }

    const CANDIDATES: &str = "\
Path,Sex,No Finding,Edema
CheXpert-v1.0-small/patient1.png,Male,1.0,0.0
CheXpert-v1.0-small/patient2.png,Female,,1.0
";

    #[test]
    fn lists_are_read_as_their_authors_wrote_them() {
        let folder = folder(CANDIDATES, "Variable,Text\nEdema,\"Edema, mild.\"\n");
        let set = read(&folder).unwrap();
        assert_eq!(set.findings, ["Edema", "No Finding"]);
        let has: Vec<_> = set.candidates.iter().map(|found| &found.has[..]).collect();
        assert_eq!(has, [[false, true], [true, false]]);
        let images = folder.path().join("CheXpert-v1.0-small");
        assert_eq!(set.candidates[1].image, images.join("patient2.png"));
        assert_eq!(
            set.image_queries,
            [ChexpertQuery {
                of: images.join("patient3.png"),
                finding: 1
            }]
        );
        assert_eq!(
            set.text_queries,
            [ChexpertQuery {
                of: "Edema, mild.".to_string(),
                finding: 0
            }]
        );
    }

    #[test]
    fn a_finding_that_no_candidate_is_labelled_for_is_an_error_that_names_it() {
        let folder = folder(CANDIDATES, "Variable,Text\nFracture,A fracture.\n");
        let message = read(&folder).unwrap_err().to_string();
        assert!(
            message.contains("candidate.csv: no column `Fracture`"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_candidate_or_an_empty_query_is_an_error_that_names_it() {
        let texts = "Variable,Text\nEdema,Edema.\n";
        let missing = format!("{CANDIDATES}CheXpert-v1.0-small/patient9.png,Male,1.0,0.0\n");
        let message = read(&folder(&missing, texts)).unwrap_err().to_string();
        assert!(message.contains("patient9.png"), "{message}");
        let empty = "Variable,Text\nEdema,\n";
        let message = read(&folder(CANDIDATES, empty)).unwrap_err().to_string();
        assert!(message.contains("column `Text`, line 2"), "{message}");
    }
}
