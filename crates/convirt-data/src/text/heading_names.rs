//! The usual headings of report sections, and their misspellings.

use super::section_name::SectionName::{self, *};

/// Whole headings, in lower case.
const NAMES: [(&str, SectionName); 60] = [
    ("findings", Findings),
    ("finding", Findings),
    ("reference findings", Findings),
    ("report", Findings),
    ("impression", Impression),
    ("impressions", Impression),
    ("conclusion", Impression),
    ("conclusions", Impression),
    ("interpretation", Impression),
    ("opinion", Impression),
    ("summary", Impression),
    ("findings and impression", Impression),
    ("findings/impression", Impression),
    ("indication", Indication),
    ("indications", Indication),
    ("history", Indication),
    ("clinical history", Indication),
    ("patient history", Indication),
    ("clinical indication", Indication),
    ("clinical information", Indication),
    (
        "clinical information & questions to be answered",
        Indication,
    ),
    ("clinical data", Indication),
    ("clinical statement", Indication),
    ("reason for exam", Indication),
    ("reason for examination", Indication),
    ("reason for study", Indication),
    ("reason", Indication),
    ("pfi", Indication),
    ("comparison", Comparison),
    ("comparisons", Comparison),
    ("comparison exam", Comparison),
    ("comparison film", Comparison),
    ("comparison study", Comparison),
    ("reference exam", Comparison),
    ("technique", Technique),
    ("procedure", Technique),
    ("dose", Technique),
    ("contrast", Technique),
    ("examination", Examination),
    ("exam", Examination),
    ("exam type", Examination),
    ("type of exam", Examination),
    ("type of examination", Examination),
    ("study", Examination),
    ("exam date", Examination),
    ("date", Examination),
    ("recommendation", Recommendations),
    ("recommendations", Recommendations),
    ("notification", Notification),
    ("notifications", Notification),
    ("communication", Notification),
    ("wet read", WetRead),
    ("wetread", WetRead),
    ("preliminary read", WetRead),
    ("provisional findings impression", WetRead),
    ("provisional findings impression (pfi)", WetRead),
    ("addendum", Addendum),
    ("addenda", Addendum),
    ("final addendum", Addendum),
    ("addendum end", Addendum),
];

/// Keywords that identify the section of a longer heading in capitals, the most specific first.
pub(crate) const KEYWORDS: [(&str, SectionName); 20] = [
    ("addendum", Addendum),
    ("impression", Impression),
    ("impressions", Impression),
    ("conclusion", Impression),
    ("findings", Findings),
    ("recommendation", Recommendations),
    ("recommendations", Recommendations),
    ("notification", Notification),
    ("comparison", Comparison),
    ("comparisons", Comparison),
    ("technique", Technique),
    ("indication", Indication),
    ("history", Indication),
    ("reason", Indication),
    ("examination", Examination),
    ("exam", Examination),
    ("exams", Examination),
    ("procedure", Examination),
    ("study", Examination),
    ("read", WetRead),
];

/// Words that occur in headings in addition to those of the tables.
const OTHER_HEADING_WORDS: [&str; 7] = [
    "diagnosis",
    "information",
    "radiograph",
    "radiographs",
    "view",
    "views",
    "worksheet",
];

/// Shortest word in which one typing error is tolerated ("IMPERSSION", "FINDNINGS").
const MIN_MISSPELT_LENGTH: usize = 7;

/// Returns the section of a whole heading; case does not matter.
pub(crate) fn exact(label: &str) -> Option<SectionName> {
    let label = normalized(label);
    let entry = NAMES.iter().find(|(name, _)| *name == label)?;
    Some(entry.1)
}

/// Returns the section of a [`normalized`] heading that may be misspelt.
pub(crate) fn misspelt(label: &str) -> Option<SectionName> {
    let entry = NAMES.iter().find(|(name, _)| is_nearly(label, name))?;
    Some(entry.1)
}

/// Whether a word occurs in headings.
pub(crate) fn names_a_section(word: &str) -> bool {
    let word = word.to_lowercase();
    let names = NAMES.iter().chain(&KEYWORDS).map(|(name, _)| name);
    names
        .chain(&OTHER_HEADING_WORDS)
        .any(|name| is_nearly(&word, name))
}

/// Whether a word in lower case equals `name`, or differs by one typing error if `name` is long.
///
/// A typing error is a wrong, missing or additional letter, or two swapped letters.
pub(crate) fn is_nearly(word: &str, name: &str) -> bool {
    // The edit distance needs memory for the product of the lengths, and words may be very long.
    let has_similar_length = || {
        let mut letters = word.chars().skip(name.len() - 2);
        letters.by_ref().take(3).count() > 0 && letters.next().is_none()
    };
    word == name
        || name.len() >= MIN_MISSPELT_LENGTH
            && has_similar_length()
            && strsim::damerau_levenshtein(word, name) <= 1
}

/// Whether a text has at least two capitals and no lower-case letters.
pub(crate) fn is_capitals(text: &str) -> bool {
    text.chars().filter(|c| c.is_uppercase()).count() >= 2 && !text.contains(char::is_lowercase)
}

/// Normalizes a heading: lower case, single spaces, no spaces around slashes, no trailing "(s)".
pub(crate) fn normalized(label: &str) -> String {
    let words: Vec<_> = label.split_whitespace().collect();
    let joined = words.join(" ").to_lowercase();
    let joined = joined.replace(" /", "/").replace("/ ", "/");
    joined.trim_end_matches("(s)").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_typing_error_is_tolerated_in_a_long_word_and_none_in_a_short_one() {
        for word in [
            "findings",
            "findngs",
            "findnings",
            "fidnings",
            "finding\u{15b}",
            "findingss",
        ] {
            assert!(is_nearly(word, "findings"), "{word}");
        }
        for word in ["", "findin", "findnigs s", "fnidigns", "findingsss"] {
            assert!(!is_nearly(word, "findings"), "{word}");
        }
        assert!(!is_nearly("exams", "exam"));
        assert!(!is_nearly(&"x".repeat(1 << 24), "findings"));
    }

    #[test]
    fn every_word_that_names_a_section_is_known_in_any_case() {
        for word in ["Findings", "IMPERSSION", "views", "Reason", "addenda"] {
            assert!(names_a_section(word), "{word}");
        }
        for word in ["lungs", "the", "clinical", "CT"] {
            assert!(!names_a_section(word), "{word}");
        }
    }
}
