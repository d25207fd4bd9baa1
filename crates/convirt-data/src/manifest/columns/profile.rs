//! What the cells of a column hold.

use std::path::{Path, PathBuf};

use crate::files::{DataFile, Roots};
use crate::image::{FileContent, has_ending, has_image_name};
use crate::manifest::table::Table;
use crate::text::word_count;

/// Maximum number of rows that are looked at.
const SAMPLE_ROWS: usize = 64;

/// Maximum length of a path, in bytes; longer cells are texts.
const MAX_PATH_BYTES: usize = 1024;

/// Maximum number of characters of the example.
const EXAMPLE_LENGTH: usize = 60;

/// Endings of text files.
const TEXT_ENDINGS: [&str; 3] = ["txt", "text", "rpt"];

/// Numbers of cells of a column by what they hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// Cells that are not blank.
    filled: usize,
    /// Paths of existing image files.
    pub images: usize,
    /// Cells that end like the name of an image file, whether it exists or not.
    pub image_names: usize,
    /// Cells that end like the name of an image file, and lead outside of the roots.
    pub outside: usize,
    /// Paths of existing files that are not images.
    pub text_files: usize,
    /// Cells that end like the name of a text file, whether it exists or not.
    text_names: usize,
    words: usize,
    /// The first cell that is not blank, cut.
    pub example: String,
}

impl Profile {
    /// Looks at rows spread evenly over the table, and at the files in `roots` that they name,
    /// relative to the folders of images and of texts. Ragged rows and cells that are not UTF-8 are
    /// passed over.
    pub fn of_columns(table: &Table, folders: [&Path; 2], roots: &Roots) -> Vec<Self> {
        let columns = table.header.len();
        let mut profiles = vec![Self::default(); columns];
        let stride = table.rows.len().div_ceil(SAMPLE_ROWS).max(1);
        for row in table.rows.iter().step_by(stride) {
            if row.len() != columns {
                continue;
            }
            for (profile, cell) in profiles.iter_mut().zip(row) {
                if let Ok(cell) = str::from_utf8(cell) {
                    profile.add(cell.trim(), folders, roots);
                }
            }
        }
        profiles
    }

    fn add(&mut self, cell: &str, [image_root, text_root]: [&Path; 2], roots: &Roots) {
        if cell.is_empty() {
            return;
        }
        self.filled += 1;
        self.words += word_count(cell);
        if self.example.is_empty() {
            self.example = cell.chars().take(EXAMPLE_LENGTH).collect();
        }
        if cell.len() > MAX_PATH_BYTES || cell.contains('\n') {
            return;
        }
        let path = Path::new(cell);
        self.image_names += usize::from(has_image_name(path));
        self.text_names += usize::from(has_ending(path, &TEXT_ENDINGS));
        let image = roots.locate(image_root, cell);
        self.outside += usize::from(image.is_none() && has_image_name(path));
        let is_found = |path: &PathBuf| DataFile::exists(path);
        let image = image.filter(is_found);
        if image.is_some_and(|image| has_image_name(&image) || is_image(&image)) {
            self.images += 1;
        } else if roots
            .locate(text_root, cell)
            .is_some_and(|text| is_found(&text))
        {
            self.text_files += 1;
        }
    }

    /// Returns the share of `cells` among the filled cells, from 0 to 1.
    pub fn share(&self, cells: usize) -> f64 {
        cells as f64 / self.filled.max(1) as f64
    }

    /// Returns the mean number of words of a filled cell.
    pub fn mean_words(&self) -> f64 {
        self.share(self.words)
    }

    /// Returns whether most cells are paths of text files, existing ones or by their names.
    pub fn holds_paths(&self) -> bool {
        self.filled > 0 && self.share(self.text_files.max(self.text_names)) >= 0.5
    }
}

fn is_image(path: &Path) -> bool {
    matches!(FileContent::detect(path), Ok(FileContent::Image(_)))
}
