//! Applies `key=value` arguments of the command line to the tree.

use super::tree::{self, Node, Value};
use crate::config::{ConfigError, Place};

/// Returns the value of the last of `overrides` that sets `key`; `None` if none does, or if it is
/// null.
///
/// ```
/// use convirt::config::overridden;
///
/// let overrides = ["seed=1".to_string(), "seed=2".to_string(), "device=null".to_string()];
/// assert_eq!(overridden(&overrides, "seed"), Some("2"));
/// assert_eq!(overridden(&overrides, "device"), None);
/// ```
pub fn overridden<'a>(overrides: &'a [String], key: &str) -> Option<&'a str> {
    let pairs = overrides.iter().filter_map(|it| it.split_once('='));
    let values = pairs.filter(|(name, _)| name.trim() == key);
    let text = values.map(|(_, value)| value.trim()).next_back()?;
    let place = Place::Override { key: key.into() };
    let value = Value::Scalar {
        text: text.to_string(),
        plain: true,
    };
    (!Node::new(place, value).is_nothing()).then_some(text)
}

/// Sets the value of `argument`, which has the form `a.b=value`. Missing sections are created.
///
/// A value that starts like a list, a section or a quoted string is parsed as YAML. Any other value
/// is a scalar with exactly this text.
pub(super) fn apply(root: &mut Node, argument: &str) -> Result<(), ConfigError> {
    let refuse = |problem: String| ConfigError::Override {
        argument: argument.to_string(),
        problem,
    };
    let parts = argument.split_once('=').map(|(key, value)| {
        let parts: Vec<_> = key.split('.').map(str::trim).collect();
        (parts, value.trim())
    });
    let Some((keys, text)) = parts.filter(|(keys, _)| !keys.iter().any(|key| key.is_empty()))
    else {
        return Err(refuse("not of the form key=value".to_string()));
    };
    let place = Place::Override {
        key: keys.join(".").into(),
    };
    let mut node = root;
    for (depth, key) in keys.iter().enumerate() {
        let entries = node
            .section_mut()
            .ok_or_else(|| refuse(format!("`{}` is not a section", keys[..depth].join("."))))?;
        let index = match entries.iter().position(|(name, _)| name == key) {
            Some(index) => index,
            None => {
                let empty = Value::Section(Vec::new());
                entries.push((key.to_string(), Node::new(place.clone(), empty)));
                entries.len() - 1
            }
        };
        node = &mut entries[index].1;
    }
    *node = if text.starts_with(['[', '{', '\'', '"']) {
        tree::parse(text, &|_| place.clone())?
    } else {
        let text = text.to_string();
        Node::new(place, Value::Scalar { text, plain: true })
    };
    Ok(())
}
