//! Learning of a WordPiece vocabulary.
//!
//! The trainer in the crate `tokenizers` iterates over a hash map with a random seed, so that two
//! runs give different vocabularies. This one is deterministic.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use crate::text::error::TokenizerError;

/// Prefix of pieces that continue a word.
pub(crate) const CONTINUATION: &str = "##";

/// Smallest count of a pair that is merged.
const MIN_COUNT: u64 = 2;

/// Position of a piece in the vocabulary.
type Id = u32;

/// Learns at most `vocab_size` pieces by repeatedly merging the most frequent pair of pieces.
///
/// Among equally frequent pairs, the one with the smaller ids is merged. `words` has the count of
/// each word. The vocabulary begins with the `special` pieces, followed by the characters in order
/// and the merged pieces in the order of merging.
///
/// # Errors
///
/// [`TokenizerError::NoWords`] without words, [`TokenizerError::VocabularyTooSmall`] when the
/// special pieces and the characters alone are more than `vocab_size`.
pub(crate) fn learn(
    words: &BTreeMap<String, u64>,
    special: &[&str],
    vocab_size: usize,
) -> Result<Vec<String>, TokenizerError> {
    if words.is_empty() {
        return Err(TokenizerError::NoWords);
    }
    let alphabet: BTreeSet<String> = words.keys().flat_map(|word| characters(word)).collect();
    let mut pieces: Vec<String> = special.iter().map(|&piece| piece.to_owned()).collect();
    pieces.extend(alphabet);
    if pieces.len() > vocab_size {
        return Err(TokenizerError::VocabularyTooSmall {
            asked: vocab_size,
            needed: pieces.len(),
        });
    }
    let mut ids: HashMap<String, Id> = (0..).zip(&pieces).map(|(id, p)| (p.clone(), id)).collect();
    let mut merging = Merging::new(words, &ids);
    while pieces.len() < vocab_size
        && let Some((left, right)) = merging.most_frequent()
    {
        let tail = &pieces[right as usize];
        let tail = tail.strip_prefix(CONTINUATION).unwrap_or(tail);
        let merged = format!("{}{tail}", pieces[left as usize]);
        // Different merges may give the same piece.
        let id = *ids.entry(merged.clone()).or_insert_with(|| {
            pieces.push(merged);
            pieces.len() as Id - 1
        });
        merging.merge((left, right), id);
    }
    Ok(pieces)
}

/// A word as its current pieces, and its count.
struct Word {
    pieces: Vec<Id>,
    count: u64,
}

/// Words and the pairs of adjacent pieces in them.
struct Merging {
    words: Vec<Word>,
    counts: HashMap<(Id, Id), u64>,
    // Words of each pair; may include words that no longer contain the pair.
    words_with: HashMap<(Id, Id), HashSet<usize>>,
    // May contain outdated counts; each change of a count adds an entry.
    queue: BinaryHeap<(u64, Reverse<(Id, Id)>)>,
}

impl Merging {
    fn new(words: &BTreeMap<String, u64>, ids: &HashMap<String, Id>) -> Self {
        let words = words.iter().map(|(word, &count)| Word {
            pieces: characters(word).map(|piece| ids[&piece]).collect(),
            count,
        });
        let mut merging = Self {
            words: words.collect(),
            counts: HashMap::new(),
            words_with: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for word in 0..merging.words.len() {
            merging.count_pairs(word);
        }
        merging.queue = merging
            .counts
            .iter()
            .map(|(&pair, &count)| (count, Reverse(pair)))
            .collect();
        merging
    }

    /// Removes and returns the most frequent pair, unless it is too rare.
    fn most_frequent(&mut self) -> Option<(Id, Id)> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if count < MIN_COUNT {
                return None;
            }
            if self.counts.get(&pair) == Some(&count) {
                return Some(pair);
            }
        }
        None
    }

    /// Replaces a pair by one piece in all words.
    fn merge(&mut self, pair: (Id, Id), id: Id) {
        let mut changed = HashSet::new();
        for word in self.words_with.remove(&pair).unwrap_or_default() {
            let Word { pieces, count } = &mut self.words[word];
            for neighbours in pairs(pieces) {
                if let Some(total) = self.counts.get_mut(&neighbours) {
                    *total -= *count;
                    changed.insert(neighbours);
                }
            }
            join(pieces, pair, id);
            changed.extend(pairs(pieces));
            self.count_pairs(word);
        }
        for pair in changed {
            let count = self.counts.get(&pair).copied().unwrap_or(0);
            if count == 0 {
                self.counts.remove(&pair);
            } else {
                self.queue.push((count, Reverse(pair)));
            }
        }
    }

    fn count_pairs(&mut self, word: usize) {
        let Word { pieces, count } = &self.words[word];
        for pair in pairs(pieces) {
            *self.counts.entry(pair).or_default() += count;
            self.words_with.entry(pair).or_default().insert(word);
        }
    }
}

/// Splits a word into characters; those after the first are marked as a continuation.
fn characters(word: &str) -> impl Iterator<Item = String> {
    word.char_indices().map(|(i, c)| match i {
        0 => c.to_string(),
        _ => format!("{CONTINUATION}{c}"),
    })
}

fn pairs(pieces: &[Id]) -> impl Iterator<Item = (Id, Id)> {
    pieces.windows(2).map(|pair| (pair[0], pair[1]))
}

fn join(pieces: &mut Vec<Id>, (left, right): (Id, Id), id: Id) {
    let mut joined = Vec::with_capacity(pieces.len());
    let mut i = 0;
    while i < pieces.len() {
        if pieces[i..].starts_with(&[left, right]) {
            joined.push(id);
            i += 2;
        } else {
            joined.push(pieces[i]);
            i += 1;
        }
    }
    *pieces = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(words: &[(&str, u64)]) -> BTreeMap<String, u64> {
        words
            .iter()
            .map(|&(word, n)| (word.to_owned(), n))
            .collect()
    }

    #[test]
    fn the_most_frequent_pair_becomes_a_piece_first() {
        // By hand: ##u ##n occurs 12 + 4 times. Then p ##un 12; ##u ##g 5, whose ids are smaller
        // than those of h ##u 5; h ##ug 5; b ##un 4.
        let words = counted(&[("hug", 5), ("pun", 12), ("bun", 4), ("x", 1)]);
        let pieces = learn(&words, &["[UNK]"], 14).unwrap();
        assert_eq!(
            pieces,
            [
                "[UNK]", "##g", "##n", "##u", "b", "h", "p", "x", "##un", "pun", "##ug", "hug",
                "bun"
            ]
        );
    }

    #[test]
    fn counts_stay_right_when_a_piece_repeats_in_a_word() {
        // a ##a ##a ##a: three pairs, the first (a, ##a) once, the second (##a, ##a) twice.
        let pieces = learn(&counted(&[("aaaa", 3)]), &[], 9).unwrap();
        assert_eq!(pieces, ["##a", "a", "##aa", "aaa", "aaaa"]);
    }

    #[test]
    fn pairs_that_occur_once_are_not_merged() {
        assert_eq!(learn(&counted(&[("ab", 1)]), &[], 9).unwrap(), ["##b", "a"]);
    }

    #[test]
    fn the_vocabulary_has_exactly_the_requested_size() {
        let words = counted(&[("hug", 5), ("pun", 12), ("bun", 4)]);
        for size in 6..10 {
            assert_eq!(learn(&words, &[], size).unwrap().len(), size);
        }
        let error = learn(&words, &["[PAD]"], 6).unwrap_err();
        assert!(
            matches!(
                error,
                TokenizerError::VocabularyTooSmall {
                    asked: 6,
                    needed: 7
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn no_words_are_an_error() {
        assert!(matches!(
            learn(&BTreeMap::new(), &[], 9),
            Err(TokenizerError::NoWords)
        ));
    }
}
