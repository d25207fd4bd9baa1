//! Names that become part of a path.

/// Whether a name stays in its folder whatever it is made of: ASCII letters, digits, `-`, `_` and
/// `.`, not beginning with a `.`.
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
