//! What is said of each class.

use std::collections::BTreeMap;
use std::path::Path;

use convirt_data::{FileError, read_regular_text};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Document, yaml};
use crate::error::Error;

/// The classes and what is said of each, by name.
///
/// ```yaml
/// Pneumonia:
///   positive: [Findings suggesting pneumonia., There is focal consolidation.]
///   negative: [No evidence of pneumonia.]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroShotPrompts {
    classes: BTreeMap<String, ClassPrompts>,
}

/// What is said of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrompts {
    /// Sentences of images of the class, at least one.
    pub positive: Vec<String>,
    /// Sentences of images that are not of the class: of all classes, or of none.
    #[serde(default)]
    pub negative: Vec<String>,
}

impl ZeroShotPrompts {
    /// Reads a YAML file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and those of [`from_yaml`](Self::from_yaml).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text =
            read_regular_text(path, yaml::MAX_BYTES as u64).map_err(FileError::read(path))?;
        Ok(Self::from_yaml(&path.display().to_string(), &text)?)
    }

    /// Reads YAML, which errors call `source`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the line: a key is unknown, a class has no positive prompt, only some
    /// have negative ones, or none has and there is but one class.
    pub fn from_yaml(source: &str, text: &str) -> Result<Self, ConfigError> {
        let document = Document::parse(source, text, &[])?;
        let classes: BTreeMap<String, ClassPrompts> = document.read()?;
        let problem = |key: &str, problem: &str| {
            Err(ConfigError::Contradiction {
                at: document.locate(key),
                problem: problem.to_string(),
            })
        };
        let with_negative = classes.values().filter(|class| !class.negative.is_empty());
        let with_negative = with_negative.count();
        if classes.is_empty() {
            return problem("", "no classes");
        }
        if classes.len() == 1 && with_negative == 0 {
            return problem(
                "",
                "one class without `negative` prompts: there is nothing to tell it from",
            );
        }
        for (name, class) in &classes {
            if class.positive.is_empty() {
                return problem(&format!("{name}.positive"), "no prompts");
            }
            if class.negative.is_empty() && with_negative > 0 {
                return problem(name, "no `negative` prompts, while other classes have some");
            }
            let prompts = class.positive.iter().chain(&class.negative);
            if prompts.map(|prompt| prompt.trim()).any(str::is_empty) {
                return problem(name, "an empty prompt");
            }
        }
        Ok(Self { classes })
    }

    /// The classes by name.
    pub fn classes(&self) -> &BTreeMap<String, ClassPrompts> {
        &self.classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ZeroShotPrompts, String> {
        ZeroShotPrompts::from_yaml("prompts.yaml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn classes_have_several_prompts_and_pairs_their_opposite() {
        let prompts = read(
            "Edema:\n  positive: [Pulmonary edema., \"Edema, mild.\"]\n  negative: [No edema.]\n",
        )
        .unwrap();
        let edema = &prompts.classes()["Edema"];
        assert_eq!(edema.positive, ["Pulmonary edema.", "Edema, mild."]);
        assert_eq!(edema.negative, ["No edema."]);
        let classes = read("wrist: {positive: [A wrist.]}\nhand: {positive: [A hand.]}\n").unwrap();
        assert_eq!(
            classes.classes().keys().collect::<Vec<_>>(),
            ["hand", "wrist"]
        );
    }

    #[test]
    fn what_cannot_tell_anything_apart_is_an_error_with_its_line() {
        for (text, parts) in [
            ("a: {positive: [x]}\n", ["prompts.yaml", "one class"]),
            (
                "a: {positive: [x]}\nb: {positive: []}\n",
                [":2", "no prompts"],
            ),
            (
                "a: {positive: [x], negative: [y]}\nb: {positive: [z]}\n",
                [":2", "no `negative`"],
            ),
            (
                "a: {positive: [x]}\nb: {positive: [\" \"]}\n",
                [":2", "empty prompt"],
            ),
            ("a: {positiv: [x]}\n", [":1", "`positive`"]),
            ("{}\n", ["prompts.yaml", "no classes"]),
        ] {
            let error = read(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
