//! Names that are safe as part of a path.

/// Whether a name is safe as a file name: only ASCII letters, digits, `-`, `_` and `.`, and no `.`
/// at the beginning.
///
/// ```
/// use convirt_data::is_plain_name;
///
/// assert!(is_plain_name("s50414267"));
/// assert!(!is_plain_name("../secret"));
/// ```
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_in_their_folder() {
        assert!(is_plain_name(
            "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014"
        ));
        for name in ["", "..", ".hidden", "a/b", "a\\b", "C:x", "a\0", "é"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }
}
