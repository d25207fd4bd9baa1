//! Merging of groups that contain the same image (union–find).

use std::collections::HashMap;
use std::hash::Hash;

/// Merges groups that contain the same image.
///
/// Returns for each row the smallest of the groups that it is connected with; where no image is in
/// two groups, that is its own group.
pub(crate) fn joined_groups<G, I>(rows: impl Iterator<Item = (G, I)>) -> Vec<G>
where
    G: Copy + Ord + Hash,
    I: Hash + Eq,
{
    // A forest: each group points to a smaller one that it is merged with, roots to themselves.
    let mut parent: HashMap<G, G> = HashMap::new();
    let mut group_of_image: HashMap<I, G> = HashMap::new();
    let groups: Vec<G> = rows
        .map(|(group, image)| {
            parent.entry(group).or_insert(group);
            let other = *group_of_image.entry(image).or_insert(group);
            let (one, other) = (root(&mut parent, group), root(&mut parent, other));
            parent.insert(one.max(other), one.min(other));
            group
        })
        .collect();
    let root_of = |group| root(&mut parent, group);
    groups.into_iter().map(root_of).collect()
}

/// Returns the root of a tree and halves the path to it.
fn root<G: Copy + Eq + Hash>(parent: &mut HashMap<G, G>, mut group: G) -> G {
    while parent[&group] != group {
        let next = parent[&parent[&group]];
        parent.insert(group, next);
        group = next;
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_with_a_common_image_become_the_smallest_of_them() {
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
