//! What is never divided: the rows of a group, and those of an image.

use std::collections::HashMap;
use std::hash::Hash;

/// Joins groups that have an image in common: returns for each row the least of the groups that it
/// is connected with. Where no image is in two groups, that is its own.
pub(crate) fn joined_groups<G, I>(rows: impl Iterator<Item = (G, I)>) -> Vec<G>
where
    G: Copy + Ord + Hash,
    I: Hash + Eq,
{
    // A forest: each group points to a lesser one it is joined with, roots to themselves.
    let mut lesser: HashMap<G, G> = HashMap::new();
    let mut group_of_image: HashMap<I, G> = HashMap::new();
    let groups: Vec<G> = rows
        .map(|(group, image)| {
            lesser.entry(group).or_insert(group);
            let other = *group_of_image.entry(image).or_insert(group);
            let (one, other) = (root(&mut lesser, group), root(&mut lesser, other));
            lesser.insert(one.max(other), one.min(other));
            group
        })
        .collect();
    let root_of = |group| root(&mut lesser, group);
    groups.into_iter().map(root_of).collect()
}

/// The least group of a tree; the way there becomes shorter for the next.
fn root<G: Copy + Eq + Hash>(lesser: &mut HashMap<G, G>, mut group: G) -> G {
    while lesser[&group] != group {
        let next = lesser[&lesser[&group]];
        lesser.insert(group, next);
        group = next;
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_with_an_image_in_common_become_the_least_of_them() {
        // 4 and 2 have image a, 2 and 7 have b: one group. 5 is by itself.
        let rows = [(7, 'b'), (4, 'a'), (5, 'c'), (2, 'a'), (2, 'b'), (5, 'd')];
        let joined = joined_groups(rows.into_iter());
        assert_eq!(joined, [2, 2, 5, 2, 2, 5]);
    }

    #[test]
    fn groups_without_common_images_stay_as_they_are() {
        let rows = [(3, 'a'), (3, 'a'), (1, 'b'), (2, 'c')];
        assert_eq!(joined_groups(rows.into_iter()), [3, 3, 1, 2]);
    }

    #[test]
    fn a_long_chain_of_groups_is_one() {
        let rows = (0..10_000_u32).flat_map(|group| [(group, group), (group, group + 1)]);
        assert!(joined_groups(rows).into_iter().all(|group| group == 0));
    }
}
