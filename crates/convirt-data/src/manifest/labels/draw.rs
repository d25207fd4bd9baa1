//! Seeded, stratified subsets of labelled images that keep groups together.

use std::collections::{BTreeMap, BTreeSet};

use super::{LabelledImage, Labels};
use crate::manifest::error::ManifestError;
use crate::manifest::split::seeded_hash;
use crate::setting::check;

/// A label and whether it is present. Subsets are stratified by these outcomes.
type Outcome = (usize, bool);

/// Images that belong together, such as those of a patient.
#[derive(Default)]
struct Group {
    /// Positions of its images.
    images: Vec<usize>,
    outcomes: BTreeSet<Outcome>,
}

/// Draws a stratified fraction of the images, in whole groups; returns their positions, ascending.
///
/// About `fraction` of the groups with and without each label are drawn. Rare labels are drawn
/// first, so that a group with several rare labels counts for all of them.
///
/// # Errors
///
/// - [`ManifestError::OneSided`]: a label is present in all images, or in none
/// - [`ManifestError::FractionTooSmall`]: the fraction rounds to no group with, or without, a label
/// - `SettingError::OutOfRange`: `fraction` is not above 0 and at most 1
///
/// # Examples
///
/// ```
/// use convirt_data::{LabelledImage, Labels, draw_fraction};
///
/// // 100 patients, 10 of them with an edema.
/// let images: Vec<_> = (0..100)
///     .map(|number| LabelledImage {
///         row: number + 1,
///         image: format!("{number}.png").into(),
///         image_content: number as u64,
///         group: format!("patient {number}"),
///         split: None,
///         targets: vec![Some(number % 10 == 0)],
///     })
///     .collect();
/// let labels = Labels::Findings(vec!["Edema".into()]);
/// let drawn = draw_fraction(&images, &labels, 0.2, 7)?;
/// assert_eq!(drawn.len(), 20);
/// let has_edema = |position: &&usize| images[**position].targets[0] == Some(true);
/// assert_eq!(drawn.iter().filter(has_edema).count(), 2);
/// # Ok::<(), convirt_data::ManifestError>(())
/// ```
pub fn draw_fraction(
    images: &[LabelledImage],
    labels: &Labels,
    fraction: f64,
    seed: u64,
) -> Result<Vec<usize>, ManifestError> {
    check(
        "fraction",
        fraction,
        f64::MIN_POSITIVE..=1.0,
        "above 0 and at most 1",
    )?;
    let groups = groups(images, seed);
    let counts = counts(&groups, labels, images.len())?;
    let mut remaining = BTreeMap::new();
    for (&(label, holds), &count) in &counts {
        let share = (fraction * count as f64).round() as usize;
        if share == 0 {
            return Err(ManifestError::FractionTooSmall {
                fraction,
                label: labels.names()[label].clone(),
                holds,
                groups: count,
            });
        }
        remaining.insert((label, holds), share);
    }
    Ok(image_positions(&take(&groups, &counts, remaining)))
}

/// Holds out about `share` of the groups, stratified by label; returns the positions of their
/// images, ascending.
///
/// Both the held-out images and the rest have at least one group with and one without each label.
///
/// # Errors
///
/// - [`ManifestError::OneSided`]: a label is present in all images, or in none
/// - [`ManifestError::TooFewWithLabel`]: an outcome of a label is in too few groups to be both held
///   out and left
/// - [`SettingError::OutOfRange`](crate::SettingError::OutOfRange): `share` is not between 0 and 1
pub fn hold_out(
    images: &[LabelledImage],
    labels: &Labels,
    share: f64,
    seed: u64,
) -> Result<Vec<usize>, ManifestError> {
    check(
        "share held out",
        share,
        f64::MIN_POSITIVE..=1.0 - f64::EPSILON,
        "between 0 and 1, both excluded",
    )?;
    let groups = groups(images, seed);
    let counts = counts(&groups, labels, images.len())?;
    let remaining = counts.iter().map(|(&outcome, &count)| {
        let nearest = (share * count as f64).round() as usize;
        (outcome, nearest.min(count.saturating_sub(1)).max(1))
    });
    let taken = take(&groups, &counts, remaining.collect());
    let left = groups.len() - taken.len();
    let mut taken_of: BTreeMap<Outcome, usize> = BTreeMap::new();
    for group in &taken {
        for &outcome in &group.outcomes {
            *taken_of.entry(outcome).or_default() += 1;
        }
    }
    let used_up = counts
        .iter()
        .filter(|&(outcome, count)| taken_of.get(outcome) == Some(count) || left == 0);
    // The rarest outcome is the cause when others were used up with it.
    match used_up.min_by_key(|&(_, count)| count) {
        None => Ok(image_positions(&taken)),
        Some((&(label, holds), &groups)) => Err(ManifestError::TooFewWithLabel {
            label: labels.names()[label].clone(),
            holds,
            groups,
        }),
    }
}

/// Assigns rows to at most `folds` cross-validation folds, stratified by class; returns the fold of
/// each row, from 0.
///
/// A group is never divided. There are fewer folds if a class has fewer groups. If each of two
/// classes has at least two groups, both classes are in more than one fold.
///
/// # Examples
///
/// ```
/// let patients = ["p1", "p1", "p2", "p3", "p4"];
/// let folds = convirt_data::assign_folds(&patients, &[0, 0, 0, 1, 1], 5, 7);
/// // Each class has two patients, which allows two folds.
/// assert_eq!(folds[0], folds[1]);
/// assert_ne!(folds[0], folds[2]);
/// assert_ne!(folds[3], folds[4]);
/// ```
///
/// # Panics
///
/// When `groups` and `classes` differ in length.
pub fn assign_folds(groups: &[&str], classes: &[usize], folds: usize, seed: u64) -> Vec<usize> {
    assert_eq!(groups.len(), classes.len(), "a class for each row");
    let mut classes_of: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (&group, &class) in groups.iter().zip(classes) {
        classes_of.entry(group).or_default().insert(class);
    }
    let mut groups_with: BTreeMap<usize, usize> = BTreeMap::new();
    for class in classes_of.values().flatten() {
        *groups_with.entry(*class).or_default() += 1;
    }
    let folds = folds
        .min(groups_with.values().copied().min().unwrap_or(0))
        .max(1);
    let mut sequence: Vec<_> = classes_of.into_iter().collect();
    // Groups of the same classes follow each other, so that they get different folds.
    sequence
        .sort_by_cached_key(|(group, classes)| (classes.clone(), seeded_hash(seed, group), *group));
    let numbered = sequence.iter().enumerate();
    let fold_of: BTreeMap<&str, usize> = numbered
        .map(|(position, (group, _))| (*group, position % folds))
        .collect();
    groups.iter().map(|group| fold_of[group]).collect()
}

/// Returns the groups of `images` in a seeded random order.
fn groups(images: &[LabelledImage], seed: u64) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for (position, image) in images.iter().enumerate() {
        let group = groups.entry(&image.group).or_default();
        group.images.push(position);
        let known = image.targets.iter().enumerate();
        let known = known.filter_map(|(label, target)| Some((label, (*target)?)));
        group.outcomes.extend(known);
    }
    let mut sequence: Vec<_> = groups.into_iter().collect();
    sequence.sort_by_cached_key(|(name, _)| (seeded_hash(seed, name), *name));
    sequence.into_iter().map(|(_, group)| group).collect()
}

/// Counts the groups with each outcome of each label; a count of 0 is an error.
fn counts(
    groups: &[Group],
    labels: &Labels,
    images: usize,
) -> Result<BTreeMap<Outcome, usize>, ManifestError> {
    let names = labels.names().iter().enumerate();
    names
        .flat_map(|(label, name)| [false, true].map(|holds| (label, name, holds)))
        .map(|(label, name, holds)| {
            let outcome = (label, holds);
            let with_it = groups
                .iter()
                .filter(|group| group.outcomes.contains(&outcome));
            match with_it.count() {
                0 => Err(ManifestError::OneSided {
                    label: name.clone(),
                    holds,
                    images,
                }),
                count => Ok((outcome, count)),
            }
        })
        .collect()
}

/// Takes groups until each outcome has the required count, the rarest outcome first.
fn take<'a>(
    groups: &'a [Group],
    counts: &BTreeMap<Outcome, usize>,
    mut remaining: BTreeMap<Outcome, usize>,
) -> Vec<&'a Group> {
    let mut rarest_first: Vec<Outcome> = counts.keys().copied().collect();
    rarest_first.sort_by_key(|outcome| counts[outcome]);
    let mut is_taken = vec![false; groups.len()];
    for outcome in rarest_first {
        // Groups with outcomes that already have enough groups come last.
        for brings_excess in [false, true] {
            for (group, is_taken) in groups.iter().zip(&mut is_taken) {
                let is_excess = group.outcomes.iter().any(|outcome| remaining[outcome] == 0);
                let fits = group.outcomes.contains(&outcome) && is_excess == brings_excess;
                if remaining[&outcome] == 0 || *is_taken || !fits {
                    continue;
                }
                *is_taken = true;
                for (outcome, remaining) in &mut remaining {
                    if group.outcomes.contains(outcome) {
                        *remaining = remaining.saturating_sub(1);
                    }
                }
            }
        }
    }
    let taken = groups.iter().zip(is_taken);
    taken
        .filter_map(|(group, is_taken)| is_taken.then_some(group))
        .collect()
}

fn image_positions(groups: &[&Group]) -> Vec<usize> {
    let mut images: Vec<usize> = groups
        .iter()
        .flat_map(|group| group.images.clone())
        .collect();
    images.sort_unstable();
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::SettingError;

    /// An image of a group, each target 1, 0, or -1 for unknown.
    fn image(row: usize, group: impl ToString, targets: &[i8]) -> LabelledImage {
        LabelledImage {
            row,
            image: format!("{row}.png").into(),
            image_content: row as u64,
            group: group.to_string(),
            split: None,
            targets: targets
                .iter()
                .map(|&target| (target >= 0).then_some(target == 1))
                .collect(),
        }
    }

    /// 400 patients with 1 to 3 images each; `a` holds for 1 of 20 of them, `b` for 1 of 2.
    fn images() -> Vec<LabelledImage> {
        let patients = (0..400).flat_map(|patient| vec![patient; patient % 3 + 1]);
        let images = patients.enumerate();
        images
            .map(|(row, patient)| {
                let targets = [i8::from(patient % 20 == 0), i8::from(patient % 4 < 2)];
                image(row, patient, &targets)
            })
            .collect()
    }

    fn labels() -> Labels {
        Labels::Findings(vec!["a".into(), "b".into()])
    }

    fn drawn(fraction: f64, seed: u64) -> BTreeSet<usize> {
        draw_fraction(&images(), &labels(), fraction, seed)
            .unwrap()
            .into_iter()
            .collect()
    }

    fn names(positions: &BTreeSet<usize>) -> BTreeSet<String> {
        let images = images();
        positions
            .iter()
            .map(|&position| images[position].group.clone())
            .collect()
    }

    #[test]
    fn a_fraction_holds_for_groups_and_for_each_label() {
        let images = images();
        for seed in 0..20 {
            for (fraction, groups, with_a) in [(0.05, 20, 1), (0.1, 40, 2), (0.5, 200, 10)] {
                let drawn = drawn(fraction, seed);
                let names = names(&drawn);
                assert!(
                    names.len().abs_diff(groups) <= 1,
                    "{} {fraction}",
                    names.len()
                );
                let with = |label: usize| {
                    let holds = |image: &&LabelledImage| image.targets[label] == Some(true);
                    let of_drawn = images.iter().filter(|image| names.contains(&image.group));
                    let groups: BTreeSet<_> =
                        of_drawn.filter(holds).map(|image| &image.group).collect();
                    groups.len()
                };
                assert_eq!(with(0), with_a);
                assert!(with(1).abs_diff(groups / 2) <= 1);
                let whole = images.iter().filter(|image| names.contains(&image.group));
                assert_eq!(whole.count(), drawn.len(), "groups stay whole");
            }
        }
    }

    #[test]
    fn the_seed_alone_decides_and_a_fraction_of_1_takes_all() {
        assert_eq!(drawn(0.1, 3), drawn(0.1, 3));
        assert_ne!(drawn(0.1, 3), drawn(0.1, 4));
        assert_eq!(drawn(1.0, 0).len(), images().len());
        let mut reversed = images();
        reversed.reverse();
        let from_reversed = draw_fraction(&reversed, &labels(), 0.1, 3).unwrap();
        let rows: BTreeSet<_> = from_reversed.iter().map(|&i| reversed[i].row).collect();
        assert_eq!(rows, drawn(0.1, 3));
    }

    #[test]
    fn many_correlated_labels_do_not_increase_the_fraction() {
        // Ten labels of falling frequency, each only where the one before it holds.
        let images: Vec<_> = (0..2000)
            .map(|patient| {
                let nested = (0..10).map(|label| i8::from(patient % (1 << label) == 0));
                let mut targets: Vec<_> = nested.collect();
                targets[0] = i8::from(patient % 3 > 0);
                image(patient, patient, &targets)
            })
            .collect();
        let labels = Labels::Findings((0..10).map(|label| format!("l{label}")).collect());
        for seed in 0..10 {
            let drawn = draw_fraction(&images, &labels, 0.2, seed).unwrap();
            assert!(drawn.len().abs_diff(400) <= 20, "{}", drawn.len());
        }
    }

    #[test]
    fn a_fraction_without_a_positive_is_an_error_with_the_smallest_possible_fraction() {
        // 20 groups with `a`: 2 % of them are 0.4.
        let error = draw_fraction(&images(), &labels(), 0.02, 0).unwrap_err();
        let message = error.to_string();
        for fact in ["0.02", "20 groups", "`a` is positive", "is 0.025"] {
            assert!(message.contains(fact), "`{fact}` in {message}");
        }
        for fraction in [0.0, -0.1, 1.1, f64::NAN] {
            let error = draw_fraction(&images(), &labels(), fraction, 0).unwrap_err();
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
    fn a_label_that_is_always_or_never_present_is_an_error_that_names_it() {
        for (value, word) in [(1, "negative"), (0, "positive")] {
            let images: Vec<_> = (0..9)
                .map(|i| image(i, i, &[i8::from(i < 4), value]))
                .collect();
            let message = draw_fraction(&images, &labels(), 1.0, 0)
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("`b`") && message.contains(word),
                "{message}"
            );
        }
        let unknown: Vec<_> = (0..9)
            .map(|i| image(i, i, &[i8::from(i < 4), -1]))
            .collect();
        assert!(draw_fraction(&unknown, &labels(), 1.0, 0).is_err());
    }

    #[test]
    fn the_rarest_label_is_named_where_nothing_would_be_left() {
        // Each of four groups is the only one with its label: all four would be held out.
        let images: Vec<_> = (0..4)
            .map(|i| image(i, i, &[0, 1, 2, 3].map(|label| i8::from(label == i))))
            .collect();
        let labels = Labels::Findings((0..4).map(|label| format!("l{label}")).collect());
        let error = hold_out(&images, &labels, 0.2, 0).unwrap_err();
        assert!(
            matches!(
                error,
                ManifestError::TooFewWithLabel {
                    holds: true,
                    groups: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn both_parts_have_every_label_and_share_no_group() {
        for seed in 0..20 {
            let images = images();
            let out = hold_out(&images, &labels(), 0.2, seed).unwrap();
            let out: BTreeSet<_> = out.into_iter().collect();
            let left: BTreeSet<_> = (0..images.len()).filter(|i| !out.contains(i)).collect();
            assert!(names(&out).is_disjoint(&names(&left)));
            assert!(names(&out).len().abs_diff(80) <= 1);
            for part in [&out, &left] {
                for outcome in [0, 1].into_iter().flat_map(|l| [(l, false), (l, true)]) {
                    let has = |&i: &usize| images[i].targets[outcome.0] == Some(outcome.1);
                    assert!(part.iter().any(has), "{outcome:?}");
                }
            }
        }
    }

    #[test]
    fn one_group_with_a_label_cannot_be_held_out() {
        let images: Vec<_> = (0..10)
            .map(|i| image(i, i, &[i8::from(i == 0), 1 - i8::from(i < 5)]))
            .collect();
        let error = hold_out(&images, &labels(), 0.2, 0).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`a` is positive in 1 group"), "{message}");
    }

    #[test]
    fn folds_spread_each_class_and_keep_groups_together() {
        let images = images();
        let groups: Vec<&str> = images.iter().map(|image| image.group.as_str()).collect();
        let classes: Vec<usize> = images
            .iter()
            .map(|image| usize::from(image.targets[0] == Some(true)))
            .collect();
        let folds = assign_folds(&groups, &classes, 5, 1);
        let mut fold_of = BTreeMap::new();
        for (group, fold) in groups.iter().zip(&folds) {
            assert_eq!(fold_of.entry(group).or_insert(fold), &fold);
        }
        for class in [0, 1] {
            let mut sizes = [
                BTreeSet::new(),
                BTreeSet::new(),
                BTreeSet::new(),
                BTreeSet::new(),
                BTreeSet::new(),
            ];
            for ((group, &fold), _) in groups
                .iter()
                .zip(&folds)
                .zip(&classes)
                .filter(|(_, of)| **of == class)
            {
                sizes[fold].insert(group);
            }
            let expected = if class == 1 { 4 } else { 76 };
            assert!(sizes.iter().all(|groups| groups.len() == expected));
        }
        assert_ne!(assign_folds(&groups, &classes, 5, 2), folds);
    }

    #[test]
    fn a_class_of_few_groups_makes_fewer_folds() {
        let groups = ["a", "b", "c", "d", "e", "e"];
        let folds = assign_folds(&groups, &[0, 0, 0, 1, 1, 0], 5, 0);
        assert_eq!(folds.iter().max(), Some(&1));
        assert_ne!(folds[3], folds[4], "each fold has a group of class 1");
        let one = assign_folds(&groups, &[0, 0, 0, 0, 1, 0], 5, 0);
        assert_eq!(one, [0; 6]);
    }

    #[test]
    fn both_classes_occur_outside_of_every_fold() {
        // Groups of class 1, of both, or of 0, in changing numbers.
        for (ones, both, zeros) in [
            (2, 0, 2),
            (0, 2, 0),
            (3, 2, 0),
            (0, 2, 5),
            (1, 1, 1),
            (9, 1, 1),
        ] {
            let groups = ones + both + zeros;
            let names: Vec<String> = (0..groups).map(|group| format!("g{group}")).collect();
            let (mut rows, mut classes) = (Vec::new(), Vec::new());
            for (group, name) in names.iter().enumerate() {
                let has_one = group < ones + both;
                let has_zero = group >= ones;
                for (class, has) in [(0, has_zero), (1, has_one)] {
                    if has {
                        rows.push(name.as_str());
                        classes.push(class);
                    }
                }
            }
            for seed in 0..20 {
                let folds = assign_folds(&rows, &classes, 5, seed);
                for fold in 0..=folds.iter().copied().max().unwrap() {
                    let outside = folds.iter().zip(&classes).filter(|(of, _)| **of != fold);
                    let outside: BTreeSet<_> = outside.map(|(_, class)| class).collect();
                    assert_eq!(outside.len(), 2, "{ones} {both} {zeros}");
                }
            }
        }
    }
}
