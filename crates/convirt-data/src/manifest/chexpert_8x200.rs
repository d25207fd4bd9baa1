//! The CheXpert 8×200 retrieval set, as its authors publish it.

use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::column::Column;
use super::labels::{BlankPolicy, LabelColumns, LabelledConfig, LabelledManifest, UncertainPolicy};
use super::row::{NamedColumn, check_length, file, filled, root, unusable, usable_rows};
use super::table::Table;
use crate::files::Roots;
use crate::image::Fault;
use crate::manifest::error::ManifestError;
use crate::skips::Skips;

/// The CheXpert 8×200 retrieval set (Zhang et al. 2022, section 4.3): images with exactly one of
/// eight findings each, with image and text queries.
///
/// A candidate is relevant to a query when it has the query's finding.
///
/// # Examples
///
/// ```
/// use std::fs;
///
/// use convirt_data::Chexpert8x200;
///
/// # let folder = tempfile::tempdir()?;
/// # let (lists, images) = (folder.path().join("lists"), folder.path());
/// # fs::create_dir_all(lists.join("image-retrieval"))?;
/// # fs::create_dir_all(lists.join("text-retrieval"))?;
/// # fs::create_dir_all(images.join("CheXpert-v1.0-small"))?;
/// # image::GrayImage::new(8, 8).save(images.join("CheXpert-v1.0-small/a.png"))?;
/// # fs::write(
/// #     lists.join("image-retrieval/candidate.csv"),
/// #     "Path,Edema,Fracture\nCheXpert-v1.0-small/a.png,1.0,0.0\n",
/// # )?;
/// # fs::write(
/// #     lists.join("image-retrieval/query.csv"),
/// #     "Variable,Path\nFracture,CheXpert-v1.0-small/b.png\n",
/// # )?;
/// # fs::write(
/// #     lists.join("text-retrieval/query.csv"),
/// #     "Variable,Text\nEdema,Mild pulmonary edema.\n",
/// # )?;
/// let set = Chexpert8x200::read(&lists, images, 0.0)?;
/// assert_eq!(set.findings, ["Edema", "Fracture"]);
/// let query = &set.text_queries[0];
/// assert_eq!(query.input, "Mild pulmonary edema.");
/// // The first candidate has the finding of the query.
/// assert!(set.candidates[0].has[query.finding]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Chexpert8x200 {
    /// Names of the findings, sorted.
    pub findings: Vec<String>,
    /// The images to retrieve, 200 for each finding.
    pub candidates: Vec<ChexpertCandidate>,
    /// The image queries, 10 for each finding.
    pub image_queries: Vec<ChexpertQuery<PathBuf>>,
    /// The text queries, 5 sentences for each finding.
    pub text_queries: Vec<ChexpertQuery<String>>,
}

/// An image to retrieve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChexpertCandidate {
    /// The file.
    pub image: PathBuf,
    /// Whether the image has each finding, in the order of [`Chexpert8x200::findings`].
    pub has: Vec<bool>,
}

/// An image or a sentence that images are retrieved by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChexpertQuery<T> {
    /// The image file or the sentence.
    pub input: T,
    /// Position of its finding in [`Chexpert8x200::findings`].
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
    /// `CheXpert-v1.0-small/` and are relative to `images`, the folder that contains that folder.
    ///
    /// # Errors
    ///
    /// Those of [`LabelledManifest::read`] for each list. Every query must be usable; of the
    /// candidates a fraction of `max_bad_share`, from 0 to 1, may be bad rows. Images outside of
    /// `images` and of the lists' folder are [`ManifestError::OutsideRoots`].
    pub fn read(lists: &Path, images: &Path, max_bad_share: f64) -> Result<Self, ManifestError> {
        let (image_list, text_list) = ("image-retrieval/query.csv", "text-retrieval/query.csv");
        let (image_list, text_list) = (lists.join(image_list), lists.join(text_list));
        let roots = Roots::new([root(None, &image_list), images], false);
        let image_queries = read_queries(&image_list, "Path", |record, column| {
            file(record, column, images, &roots)
        })?;
        let text_queries = read_queries(&text_list, "Text", |record, column| {
            Ok(filled(record, column)?.trim().to_owned())
        })?;
        let of_images = image_queries.iter().map(|(finding, _)| finding.clone());
        let of_texts = text_queries.iter().map(|(finding, _)| finding.clone());
        let mut findings: Vec<String> = of_images.chain(of_texts).collect();
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
        Ok(Self {
            candidates: candidates.collect(),
            image_queries: numbered(image_queries, &findings),
            text_queries: numbered(text_queries, &findings),
            findings,
        })
    }
}

/// Replaces the findings of queries by their positions.
fn numbered<T>(queries: Vec<(String, T)>, findings: &[String]) -> Vec<ChexpertQuery<T>> {
    let queries = queries.into_iter().map(|(finding, input)| {
        let position = findings.binary_search(&finding);
        ChexpertQuery {
            input,
            finding: position.expect("the findings are those of the queries"),
        }
    });
    queries.collect()
}

/// Reads a list of queries: the finding of each, and what `input` reads from its cell.
fn read_queries<T: Send>(
    csv: &Path,
    column: &str,
    input: impl Fn(&ByteRecord, &NamedColumn) -> Result<T, Fault> + Sync,
) -> Result<Vec<(String, T)>, ManifestError> {
    let table = Table::read(csv)?;
    let find =
        |name: &str, key| NamedColumn::find(&Column::Name(name.into()), &table.header, csv, key);
    let (finding, query) = (find("Variable", "finding")?, find(column, "query")?);
    let skips = Skips::new(csv, table.rows.len(), 0.0);
    usable_rows(&table, &skips, |row, record| {
        let read = check_length(record, table.header.len()).and_then(|()| {
            let finding = filled(record, &finding)?.trim().to_owned();
            Ok((finding, input(record, &query)?))
        });
        read.map_err(|fault| unusable(csv, row, csv, fault))
    })
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
        let has: Vec<_> = set
            .candidates
            .iter()
            .map(|candidate| &candidate.has[..])
            .collect();
        assert_eq!(has, [[false, true], [true, false]]);
        let images = folder.path().join("CheXpert-v1.0-small");
        assert_eq!(set.candidates[1].image, images.join("patient2.png"));
        assert_eq!(
            set.image_queries,
            [ChexpertQuery {
                input: images.join("patient3.png"),
                finding: 1
            }]
        );
        assert_eq!(
            set.text_queries,
            [ChexpertQuery {
                input: "Edema, mild.".to_string(),
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

    #[test]
    fn a_query_outside_of_the_folder_of_images_is_an_error_that_names_it() {
        let folder = folder(CANDIDATES, "Variable,Text\nEdema,Edema.\n");
        let list = folder.path().join("lists/image-retrieval/query.csv");
        fs::write(list, "Variable,Path\nNo Finding,../secret.png\n").unwrap();
        let message = read(&folder).unwrap_err().to_string();
        assert!(message.contains("row 1: `../secret.png`"), "{message}");
    }
}
