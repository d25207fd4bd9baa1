//! Splitting into training, validation and test set by group.

pub(crate) mod joined_groups;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::split::joined_groups::joined_groups;
use super::study::{Split, Study};
use crate::manifest::error::ManifestError;
use crate::setting::SettingError;

/// Groups shown in an error.
const EXAMPLES: usize = 3;

/// Characters of a group shown in an error; a group may be a whole text.
const EXAMPLE_LENGTH: usize = 40;

/// Configures the split of studies that have no split column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitConfig {
    /// Fraction of the pairs held out for validation, between 0 and 1, both excluded.
    pub valid_size: f64,
    /// Seed of the random choice.
    pub seed: u64,
}

/// Studies or labelled images, split into three sets, each in the original order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides<T> {
    /// Training set: the weights are learned from it.
    pub train: Vec<T>,
    /// Validation set: the best model is chosen by it.
    pub valid: Vec<T>,
    /// Test set, unseen in training and validation; for studies empty without a split column.
    pub test: Vec<T>,
}

/// Studies, split into three sets.
pub type SplitStudies = Sides<Study>;

/// A row that belongs to a group and may have a side of the split.
pub trait Grouped {
    /// Returns the row of the CSV, counted from 1 after the header.
    fn row(&self) -> usize;

    /// Returns the path of the image file.
    fn image(&self) -> &Path;

    /// Returns the hash of the image file's content.
    fn image_content(&self) -> u64;

    /// Returns the group, such as the patient.
    fn group(&self) -> &str;

    /// Returns the side that a split column gives.
    fn side(&self) -> Option<Split>;
}

impl Grouped for Study {
    fn row(&self) -> usize {
        self.row
    }

    fn image(&self) -> &Path {
        &self.image
    }

    fn image_content(&self) -> u64 {
        self.image_content
    }

    fn group(&self) -> &str {
        &self.group
    }

    fn side(&self) -> Option<Split> {
        self.split
    }
}

/// Splits studies by their split column, or else randomly by group.
///
/// Without a split column, about `valid_size` of the pairs are held out, in whole groups and at
/// least one group on each side. If the column has test rows but no validation rows, validation is
/// drawn in the same way from the training rows. Groups that contain the same image count as one;
/// [`Manifest::read`](crate::Manifest::read) says what a group is without a group column.
/// The choice depends on the seed and the names of the groups, not on the order of the rows, and
/// adding groups changes the side of few others.
///
/// # Errors
///
/// - [`ManifestError::RowWithoutSplit`], [`ManifestError::LeakedGroups`],
///   [`ManifestError::LeakedImages`], [`ManifestError::EmptySplit`]: the split column has gaps,
///   puts a group or an image on two sides, or leaves training or validation empty
/// - [`ManifestError::TooFewGroups`]: there are fewer than two groups
/// - [`SettingError::OutOfRange`]: `valid_size` is not between 0 and 1
///
/// # Examples
///
/// ```
/// use convirt_data::{Report, SplitConfig, Study, split};
///
/// // 20 patients with 2 images each.
/// let studies = (0..40).map(|number| Study {
///     row: number + 1,
///     image: format!("{number}.png").into(),
///     image_size: [8, 8],
///     image_content: number as u64,
///     report: Report::new("The lungs are clear.", 3),
///     group: format!("patient {}", number / 2),
///     split: None,
/// });
/// let config = SplitConfig { valid_size: 0.25, seed: 7 };
/// let sides = split(studies.collect(), &config)?;
/// assert_eq!((sides.train.len(), sides.valid.len()), (30, 10));
/// let trained = |group: &str| sides.train.iter().any(|study| study.group == group);
/// assert!(!sides.valid.iter().any(|study| trained(&study.group)));
/// # Ok::<(), convirt_data::ManifestError>(())
/// ```
pub fn split(studies: Vec<Study>, config: &SplitConfig) -> Result<SplitStudies, ManifestError> {
    if studies.iter().all(|study| study.split.is_none()) {
        return draw_valid(studies, config);
    }
    let sides = split_by_column(studies)?;
    if !sides.valid.is_empty() {
        return Ok(sides);
    }
    if sides.test.is_empty() {
        return Err(ManifestError::EmptySplit {
            split: Split::Valid,
        });
    }
    let drawn = draw_valid(sides.train, config)?;
    Ok(SplitStudies {
        test: sides.test,
        ..drawn
    })
}

/// Holds out about `valid_size` of the studies for validation, in whole groups.
fn draw_valid(studies: Vec<Study>, config: &SplitConfig) -> Result<SplitStudies, ManifestError> {
    let rows = studies.iter().map(|study| {
        let group = study.group.as_str();
        (
            (seeded_hash(config.seed, group), group),
            study.image_content,
        )
    });
    let groups = joined_groups(rows);
    let held_out = held_out_in_sequence(groups.iter().copied(), config.valid_size)?;
    let is_held_out: Vec<bool> = groups.iter().map(|it| held_out.contains(it)).collect();
    let mut sides = SplitStudies {
        train: Vec::new(),
        valid: Vec::new(),
        test: Vec::new(),
    };
    for (study, is_held_out) in studies.into_iter().zip(is_held_out) {
        if is_held_out {
            sides.valid.push(study)
        } else {
            sides.train.push(study)
        }
    }
    Ok(sides)
}

/// Counts the held-out images whose content is also in the training set.
///
/// A given split column may have copies of an image on both sides.
///
/// ```
/// let (trained, held_out) = ([11, 12, 13], [13, 14]);
/// let leaked = convirt_data::count_leaked_images(trained.into_iter(), held_out.into_iter());
/// assert_eq!(leaked, 1);
/// ```
pub fn count_leaked_images(
    trained: impl Iterator<Item = u64>,
    held_out: impl Iterator<Item = u64>,
) -> usize {
    let trained: HashSet<u64> = trained.collect();
    held_out.filter(|image| trained.contains(image)).count()
}

/// Splits by the split column, which must have no gaps and a training side.
pub(crate) fn split_by_column<T: Grouped>(rows: Vec<T>) -> Result<Sides<T>, ManifestError> {
    check_sides(&rows)?;
    let mut sides = Sides {
        train: Vec::new(),
        valid: Vec::new(),
        test: Vec::new(),
    };
    for row in rows {
        match row.side() {
            Some(Split::Train) => sides.train.push(row),
            Some(Split::Valid) => sides.valid.push(row),
            Some(Split::Test) => sides.test.push(row),
            None => {
                return Err(ManifestError::RowWithoutSplit {
                    row: row.row(),
                    image: row.image().into(),
                });
            }
        }
    }
    if sides.train.is_empty() {
        Err(ManifestError::EmptySplit {
            split: Split::Train,
        })
    } else {
        Ok(sides)
    }
}

/// Checks that no group or image is on more than one side.
fn check_sides(rows: &[impl Grouped]) -> Result<(), ManifestError> {
    let groups = on_several_sides(rows, |row| row.group());
    if !groups.is_empty() {
        let name = |group: &str| group.chars().take(EXAMPLE_LENGTH).collect();
        return Err(ManifestError::LeakedGroups {
            count: groups.len(),
            examples: examples(&groups, name),
        });
    }
    let images = on_several_sides(rows, |row| row.image());
    if !images.is_empty() {
        return Err(ManifestError::LeakedImages {
            count: images.len(),
            examples: examples(&images, |image| image.display().to_string()),
        });
    }
    Ok(())
}

/// Keys that are on several sides, in the order of the rows, with their first row on each side.
type Leaked<K> = Vec<(K, BTreeMap<Split, usize>)>;

fn on_several_sides<'a, R: Grouped, K: Ord>(rows: &'a [R], key: impl Fn(&'a R) -> K) -> Leaked<K> {
    let mut sides_of: BTreeMap<K, BTreeMap<Split, usize>> = BTreeMap::new();
    for row in rows {
        if let Some(side) = row.side() {
            let sides = sides_of.entry(key(row)).or_default();
            sides.entry(side).or_insert(row.row());
        }
    }
    let mut leaked: Leaked<K> = sides_of
        .into_iter()
        .filter(|(_, it)| it.len() > 1)
        .collect();
    leaked.sort_by_key(|(_, sides)| sides.values().copied().min());
    leaked
}

/// Describes the first few of them.
fn examples<K: Copy>(leaked: &Leaked<K>, name: impl Fn(K) -> String) -> Vec<String> {
    let examples = leaked.iter().take(EXAMPLES).map(|(key, sides)| {
        let sides: Vec<_> = sides
            .iter()
            .map(|(split, row)| format!("{split} in row {row}"))
            .collect();
        format!("`{}` is {}", name(*key), sides.join(" and "))
    });
    examples.collect()
}

/// Chooses the groups to hold out; `groups` has the group of each pair.
pub(crate) fn held_out_groups<'a>(
    groups: impl Iterator<Item = &'a str>,
    config: &SplitConfig,
) -> Result<BTreeSet<String>, ManifestError> {
    let groups = groups.map(|group| (seeded_hash(config.seed, group), group));
    let held_out = held_out_in_sequence(groups, config.valid_size)?;
    Ok(held_out
        .into_iter()
        .map(|(_, group)| group.into())
        .collect())
}

/// Holds out groups in ascending order, each if it brings the held-out pairs nearer to
/// `valid_size`.
///
/// `groups` has the group of each pair. Groups order by the seeded hash of their names.
pub(crate) fn held_out_in_sequence<G: Copy + Ord>(
    groups: impl Iterator<Item = G>,
    valid_size: f64,
) -> Result<BTreeSet<G>, ManifestError> {
    if !(valid_size > 0.0 && valid_size < 1.0) {
        return Err(ManifestError::Setting(SettingError::OutOfRange {
            setting: "valid_size",
            value: valid_size,
            allowed: "between 0 and 1, both excluded",
        }));
    }
    let mut pairs: BTreeMap<G, usize> = BTreeMap::new();
    for group in groups {
        *pairs.entry(group).or_default() += 1;
    }
    let total: usize = pairs.values().sum();
    if pairs.len() < 2 {
        return Err(ManifestError::TooFewGroups {
            groups: pairs.len(),
            pairs: total,
            setting: "group_col",
        });
    }
    let target = valid_size * total as f64;
    let (mut held_out, mut trained) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for group in pairs {
        let with_it = taken + group.1;
        if (with_it as f64 - target).abs() < (taken as f64 - target).abs() {
            held_out.push(group);
            taken = with_it;
        } else {
            trained.push(group);
        }
    }
    // A `valid_size` near 0 or 1 can leave a side empty; moving the smallest group changes least.
    if held_out.is_empty() {
        held_out.extend(take_smallest(&mut trained));
    } else if trained.is_empty() {
        take_smallest(&mut held_out);
    }
    Ok(held_out.into_iter().map(|(group, _)| group).collect())
}

fn take_smallest<G>(groups: &mut Vec<(G, usize)>) -> Option<(G, usize)> {
    let smallest = (0..groups.len()).min_by_key(|&i| groups[i].1)?;
    Some(groups.remove(smallest))
}

/// Hashes a seed and a name with FNV-1a and the finalizer of SplitMix64.
///
/// Unlike the hashes of the standard library, it is the same on every machine and in every release.
pub(crate) fn seeded_hash(seed: u64, name: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash: u64 = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::study::Report;

    fn study(row: usize, group: &str, split: Option<Split>) -> Study {
        Study {
            row,
            image: format!("{row}.png").into(),
            image_size: [40, 30],
            image_content: row as u64,
            report: Report::new("The heart is normal.", 3),
            group: group.into(),
            split,
        }
    }

    /// 300 pairs of 100 patients, of 1 to 5 pairs each.
    fn studies() -> Vec<Study> {
        let groups = (0..100).flat_map(|group| vec![group; group % 5 + 1]);
        groups
            .enumerate()
            .map(|(i, group)| study(i + 1, &format!("p{group}"), None))
            .collect()
    }

    fn config(valid_size: f64, seed: u64) -> SplitConfig {
        SplitConfig { valid_size, seed }
    }

    fn groups(studies: &[Study]) -> BTreeSet<&str> {
        studies.iter().map(|study| study.group.as_str()).collect()
    }

    #[test]
    fn no_group_is_on_two_sides_and_no_pair_is_lost() {
        for seed in 0..50 {
            let sides = split(studies(), &config(0.2, seed)).unwrap();
            assert!(groups(&sides.train).is_disjoint(&groups(&sides.valid)));
            assert_eq!(sides.train.len() + sides.valid.len(), 300);
            assert!(sides.test.is_empty());
        }
    }

    #[test]
    fn the_held_out_fraction_is_met_as_nearly_as_groups_allow() {
        for (valid_size, pairs) in [(0.1, 30), (0.25, 75), (0.5, 150), (0.003, 1), (0.999, 299)] {
            let valid = split(studies(), &config(valid_size, 7)).unwrap().valid;
            assert!(
                valid.len().abs_diff(pairs) <= 2,
                "{valid_size}: {}",
                valid.len()
            );
        }
    }

    #[test]
    fn the_seed_alone_decides_and_not_the_order_of_rows() {
        let sides = split(studies(), &config(0.2, 3)).unwrap();
        let reversed = studies().into_iter().rev().collect();
        let from_reversed = split(reversed, &config(0.2, 3)).unwrap();
        assert_eq!(groups(&sides.valid), groups(&from_reversed.valid));
        let other = split(studies(), &config(0.2, 4)).unwrap();
        assert_ne!(groups(&sides.valid), groups(&other.valid));
    }

    #[test]
    fn new_groups_leave_most_of_the_old_ones_on_their_side() {
        let before = split(studies(), &config(0.2, 3)).unwrap();
        let mut more = studies();
        more.extend((0..6).map(|i| study(301 + i, "new", None)));
        let after = split(more, &config(0.2, 3)).unwrap();
        let (before, after) = (groups(&before.valid), groups(&after.valid));
        assert!(before.symmetric_difference(&after).count() <= 4);
    }

    #[test]
    fn neither_side_is_ever_empty() {
        let giant: Vec<_> = (1..=20)
            .map(|row| study(row, if row == 1 { "small" } else { "giant" }, None))
            .collect();
        for valid_size in [0.001, 0.3, 0.999] {
            for seed in 0..8 {
                let sides = split(giant.clone(), &config(valid_size, seed)).unwrap();
                assert!(!sides.train.is_empty() && !sides.valid.is_empty());
            }
        }
        let sides = split(giant, &config(0.1, 0)).unwrap();
        assert_eq!(groups(&sides.valid), BTreeSet::from(["small"]));
    }

    #[test]
    fn the_hash_of_a_group_never_changes() {
        // An implementation in Python of the two published functions gave this number.
        assert_eq!(seeded_hash(42, "p10000032"), 0x98be_d5fc_0bd8_e715);
    }

    #[test]
    fn one_group_cannot_be_divided() {
        for studies in [vec![], vec![study(1, "p", None), study(2, "p", None)]] {
            let error = split(studies, &config(0.5, 0)).unwrap_err();
            assert!(
                matches!(error, ManifestError::TooFewGroups { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_fraction_of_0_or_1_is_an_error() {
        for valid_size in [0.0, 1.0, -0.5, f64::NAN] {
            let error = split(studies(), &config(valid_size, 0)).unwrap_err();
            assert!(
                matches!(
                    error,
                    ManifestError::Setting(SettingError::OutOfRange { .. })
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn a_split_column_overrides_the_fraction() {
        let sides = split(
            vec![
                study(1, "a", Some(Split::Test)),
                study(2, "b", Some(Split::Train)),
                study(3, "c", Some(Split::Valid)),
                study(4, "b", Some(Split::Train)),
            ],
            &config(0.9, 0),
        )
        .unwrap();
        let rows = |studies: &[Study]| studies.iter().map(|study| study.row).collect::<Vec<_>>();
        assert_eq!(rows(&sides.train), [2, 4]);
        assert_eq!(rows(&sides.valid), [3]);
        assert_eq!(rows(&sides.test), [1]);
    }

    #[test]
    fn without_validation_rows_validation_is_drawn_from_the_training_rows() {
        let mut studies = studies();
        for study in &mut studies {
            let is_test = study.group.ends_with('7');
            study.split = Some(if is_test { Split::Test } else { Split::Train });
        }
        let sides = split(studies, &config(0.25, 0)).unwrap();
        assert!(sides.test.iter().all(|study| study.group.ends_with('7')));
        assert!(groups(&sides.train).is_disjoint(&groups(&sides.valid)));
        let drawn = sides.train.len() + sides.valid.len();
        assert_eq!(drawn + sides.test.len(), 300);
        assert!(sides.valid.len().abs_diff(drawn / 4) <= 2);
    }

    #[test]
    fn gaps_leaks_and_empty_sides_of_a_split_column_are_errors() {
        let by_column = |studies| split(studies, &config(0.1, 0)).unwrap_err();
        let gap = by_column(vec![study(1, "a", Some(Split::Train)), study(2, "b", None)]);
        assert!(matches!(gap, ManifestError::RowWithoutSplit { row: 2, .. }));

        let leak = by_column(vec![
            study(1, "a", Some(Split::Train)),
            study(2, "b", Some(Split::Valid)),
            study(3, "a", Some(Split::Valid)),
        ]);
        let message = leak.to_string();
        assert!(
            message.contains("`a` is train in row 1 and valid in row 3"),
            "{message}"
        );

        let empty = by_column(vec![study(1, "a", Some(Split::Train))]);
        let valid = Split::Valid;
        assert!(matches!(empty, ManifestError::EmptySplit { split } if split == valid));
    }

    /// 40 rows of 20 images, two captions each, every text its own group.
    fn captions() -> Vec<Study> {
        let rows = (0..40_u64).map(|row| Study {
            image: format!("{}.png", row / 2).into(),
            image_content: row / 2,
            ..study(row as usize + 1, &format!("text {row}"), None)
        });
        rows.collect()
    }

    #[test]
    fn rows_of_one_image_are_on_one_side() {
        for seed in 0..5 {
            let sides = split(captions(), &config(0.2, seed)).unwrap();
            assert_eq!((sides.train.len(), sides.valid.len()), (32, 8));
            let images = |studies: &[Study]| -> BTreeSet<_> {
                studies.iter().map(|study| study.image.clone()).collect()
            };
            assert!(images(&sides.train).is_disjoint(&images(&sides.valid)));
        }
    }

    #[test]
    fn a_column_that_puts_an_image_on_two_sides_leaks_it() {
        let mut studies = captions();
        for study in &mut studies {
            study.split = Some(match study.row {
                8 => Split::Valid,
                _ => Split::Train,
            });
        }
        let error = split(studies, &config(0.2, 0)).unwrap_err().to_string();
        for part in ["1 images", "3.png", "train in row 7", "valid in row 8"] {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    }
}
