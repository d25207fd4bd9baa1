//! The prompts that describe each class.

use std::collections::BTreeMap;
use std::path::Path;

use convirt_data::{FileError, read_regular_text};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Document, yaml};
use crate::error::Error;

/// The prompts of each class, by the name of the class.
///
/// # Examples
///
/// ```
/// use convirt::zero_shot::ZeroShotPrompts;
///
/// let yaml = "
/// Pneumonia:
///   positive: [Findings suggesting pneumonia., There is focal consolidation.]
///   negative: [No evidence of pneumonia.]
/// ";
/// let prompts = ZeroShotPrompts::from_yaml("prompts.yaml", yaml).unwrap();
/// assert_eq!(prompts.classes()["Pneumonia"].positive.len(), 2);
/// // A single class needs negative prompts.
/// let error = ZeroShotPrompts::from_yaml("prompts.yaml", "Edema: {positive: [Edema.]}");
/// assert!(error.unwrap_err().to_string().contains("without `negative` prompts"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroShotPrompts {
    classes: BTreeMap<String, ClassPrompts>,
}

/// The prompts of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrompts {
    /// Sentences that describe images of the class, at least one.
    pub positive: Vec<String>,
    /// Sentences that describe images without the class. Either every class has some, or none has.
    #[serde(default)]
    pub negative: Vec<String>,
}

impl ZeroShotPrompts {
    /// Reads the prompts from a YAML file.
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

    /// Reads the prompts from YAML text; `source` is its name in errors.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the line: for an unknown key, for a class without positive prompts,
    /// when only some classes have negative prompts, and when the only class has none.
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
                "one class without `negative` prompts: there is nothing to compare it with",
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

    /// Returns the prompts of each class, by name.
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
    fn classes_have_positive_and_negative_prompts() {
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
    fn prompts_that_cannot_be_compared_are_an_error_with_the_line() {
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
