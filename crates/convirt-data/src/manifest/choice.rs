//! A setting whose value the program may choose.

use serde::{Deserialize, Serialize};

/// A setting that is given, or that the program chooses by looking at the data (`auto`).
///
/// # Examples
///
/// ```
/// use convirt_data::{Choice, Column};
///
/// type Optional = Choice<Option<Column>>;
/// let [auto, none, given]: [Optional; 3] = serde_json::from_str(r#"["auto", null, "patient"]"#)?;
/// assert_eq!(auto, Choice::Auto);
/// assert_eq!(none, Choice::Given(None));
/// assert_eq!(given, Choice::Given(Some(Column::Name("patient".into()))));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice<T> {
    /// The program chooses.
    #[default]
    Auto,
    /// The value.
    Given(T),
}

impl<T> Choice<T> {
    /// Returns a reference to the given value.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Auto => None,
            Self::Given(value) => Some(value),
        }
    }
}

/// The word for [`Choice::Auto`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Auto,
}

/// What a file contains in place of a [`Choice`].
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected auto, or the value: for a column, a position from 0 or a name"
)]
enum Written<T> {
    Word(Word),
    Value(T),
}

impl<T: Serialize + Clone> Serialize for Choice<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::Auto => Written::Word(Word::Auto),
            Self::Given(value) => Written::Value(value.clone()),
        };
        written.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Word(Word::Auto) => Self::Auto,
            Written::Value(value) => Self::Given(value),
        })
    }
}
