//! Names of models on the Hugging Face hub.

use std::ffi::OsStr;
use std::path::Path;

use convirt_data::is_plain_name;

/// The name of a model on the hub, `owner/model` or `model`, with an optional revision:
/// `owner/model@revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelName {
    pub name: String,
    /// Branch, tag or commit; `main` by default.
    pub revision: String,
}

impl ModelName {
    /// Parses a name; `None` if the text cannot be a name on the hub.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let mut parts = name.split('/');
        let extension = Path::new(name).extension().and_then(OsStr::to_str);
        let is_file = matches!(
            extension,
            Some("safetensors" | "pth" | "pt" | "bin" | "bpk")
        );
        let is_name = !is_file && parts.clone().count() <= 2 && parts.all(is_plain_name);
        // Revisions may have slashes: `refs/pr/3`.
        let is_revision = revision.split('/').all(is_plain_name);
        (is_name && is_revision).then(|| Self {
            name: name.to_string(),
            revision: revision.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    #[test]
    fn paths_are_not_names() {
        let parsed = parse("emilyalsentzer/Bio_ClinicalBERT@refs/pr/3");
        assert_eq!(parsed.name, "emilyalsentzer/Bio_ClinicalBERT");
        assert_eq!(parsed.revision, "refs/pr/3");
        assert_eq!(parse("bert-base-uncased").revision, "main");
        for path in [
            "a/b/c",
            "./a",
            "/a/b",
            "a b",
            "",
            "a@",
            "~/a",
            "a/b.safetensors",
            "a\\b",
        ] {
            assert_eq!(ModelName::parse(path), None, "{path}");
        }
    }
}
