//! The names of models on the Hugging Face hub.

use std::ffi::OsStr;
use std::path::Path;

use convirt_data::is_plain_name;

/// A model on the hub: `owner/model` or `model`, with an optional revision after `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelName {
    /// `owner/model` or `model`.
    pub name: String,
    /// A branch, tag or commit; `main` by default.
    pub revision: String,
}

impl ModelName {
    /// Parses a name; returns `None` if the text is not a valid name on the hub.
    ///
    /// A name with the extension of a weights file is a path and never a name on the hub.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let mut parts = name.split('/');
        let extension = Path::new(name).extension().and_then(OsStr::to_str);
        let is_file = matches!(
            extension,
            Some("safetensors" | "pth" | "pt" | "bin" | "bpk" | "onnx")
        );
        let is_name = !is_file && parts.clone().count() <= 2 && parts.all(is_plain_name);
        // Revisions may contain slashes, for example `refs/pr/3`.
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
    fn a_name_has_a_revision() {
        let parsed = parse("emilyalsentzer/Bio_ClinicalBERT@refs/pr/3");
        assert_eq!(parsed.name, "emilyalsentzer/Bio_ClinicalBERT");
        assert_eq!(parsed.revision, "refs/pr/3");
        assert_eq!(parse("bert-base-uncased").revision, "main");
    }

    #[test]
    fn paths_are_not_names() {
        for path in ["a/b/c", "./a", "/a/b", "a b", "", "a@", "~/a", "a\\b"] {
            assert_eq!(ModelName::parse(path), None, "{path}");
        }
    }

    #[test]
    fn weight_files_are_not_names() {
        for extension in ["safetensors", "pth", "pt", "bin", "bpk", "onnx"] {
            let path = format!("a/b.{extension}");
            assert_eq!(ModelName::parse(&path), None, "{path}");
        }
    }
}
