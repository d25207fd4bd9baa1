//! Converts the tree to any `serde` type.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::read_error::{Problem, ReadError, alternatives};
use super::tree::{Node, Value, join};

/// Deserializes a node as the requested type.
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    key: String,
}

impl<'a> NodeDeserializer<'a> {
    /// Creates a deserializer of the root node, whose key is empty.
    pub fn root(node: &'a Node) -> Self {
        let key = String::new();
        Self { node, key }
    }

    /// Deserializes the node. An error without a location gets the location of this node.
    pub fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        let (place, key) = (self.node.place().clone(), self.key.clone());
        seed.deserialize(self)
            .map_err(|error| error.or_at(place, key))
    }

    /// Returns the text of a scalar that is not null.
    fn text(&self) -> Option<&'a str> {
        match self.node.value() {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => None,
        }
    }

    fn expected(&self, expected: impl Display) -> ReadError {
        Problem::Unexpected {
            expected: expected.to_string(),
            found: describe(self.node),
        }
        .into()
    }

    /// Parses an integer.
    ///
    /// The error expects `any_integer` if the text is not an integer, and `range` if the integer is
    /// outside the range of `T`.
    fn integer<T: FromStr>(&self, any_integer: &str, range: &str) -> Result<T, ReadError> {
        let digits = self.text().map(without_separators).unwrap_or_default();
        digits.parse().map_err(|_| {
            let is_integer = digits.parse::<u64>().is_ok();
            self.expected(if is_integer { range } else { any_integer })
        })
    }

    fn float(&self) -> Option<f64> {
        let number = without_separators(self.text()?).parse::<f64>().ok()?;
        number.is_finite().then_some(number)
    }

    fn boolean(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    /// Returns the items of a list, or of a scalar in the form of a Python tuple: `(224, 224, 3)`.
    fn items(&self) -> Option<Vec<Node>> {
        match self.node.value() {
            Value::List(items) => Some(items.clone()),
            Value::Scalar { .. } if self.node.is_nothing() => Some(Vec::new()),
            Value::Scalar { text, .. } => {
                let inner = text.strip_prefix('(')?.strip_suffix(')')?.trim();
                let inner = inner.strip_suffix(',').unwrap_or(inner);
                let item = |text: &str| {
                    let text = text.trim().to_string();
                    Node::new(
                        self.node.place().clone(),
                        Value::Scalar { text, plain: true },
                    )
                };
                match inner {
                    "" => Some(Vec::new()),
                    inner => Some(inner.split(',').map(item).collect()),
                }
            }
            Value::Section(_) => None,
        }
    }

    fn visit_items<'de, V: Visitor<'de>>(
        self,
        items: Vec<Node>,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items {
            items: items.into_iter().enumerate(),
            key: self.key,
        })
    }

    fn visit_entries<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let entries: &[_] = match self.node.value() {
            Value::Section(entries) => entries,
            _ if self.node.is_nothing() => &[],
            _ => return Err(self.expected("a section of keys")),
        };
        visitor.visit_map(Entries {
            entries: entries.iter(),
            value: None,
            key: self.key,
        })
    }
}

macro_rules! unsigned {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let range = format!("a whole number from 0 to {}", <$type>::MAX);
            visitor.$visit(self.integer::<$type>("a whole number from 0", &range)?)
        }
    )*};
}

macro_rules! signed {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let range = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
            visitor.$visit(self.integer::<$type>("a whole number", &range)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = ReadError;

    /// Interprets a plain scalar by its form, as in YAML 1.2. Untagged enums use this.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.value() {
            Value::List(items) => {
                let items = items.clone();
                self.visit_items(items, visitor)
            }
            Value::Section(_) => self.visit_entries(visitor),
            Value::Scalar { .. } if self.node.is_nothing() => visitor.visit_unit(),
            Value::Scalar { text, plain: false } => visitor.visit_str(text),
            Value::Scalar { text, plain: true } => match text.as_str() {
                "true" | "True" | "TRUE" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" => visitor.visit_bool(false),
                text => {
                    if let Ok(number) = text.parse::<u64>() {
                        visitor.visit_u64(number)
                    } else if let Ok(number) = text.parse::<i64>() {
                        visitor.visit_i64(number)
                    } else if let Some(number) = self.float() {
                        visitor.visit_f64(number)
                    } else {
                        visitor.visit_str(text)
                    }
                }
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let flag = self.boolean();
        visitor.visit_bool(flag.ok_or_else(|| self.expected("True or False"))?)
    }

    unsigned! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    signed! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let number = self.float();
        visitor.visit_f64(number.ok_or_else(|| self.expected("a number"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let text = self.text();
        visitor.visit_str(text.ok_or_else(|| self.expected("text"))?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.is_nothing() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.items() {
            Some(items) => self.visit_items(items, visitor),
            None => Err(self.expected("a list such as [0, 1]")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let expected = format!("a list of {len}");
        match self.items() {
            Some(items) if items.len() == len => self.visit_items(items, visitor),
            Some(items) if !items.is_empty() => Err(Problem::Unexpected {
                expected,
                found: format!("a list of {}", items.len()),
            }
            .into()),
            _ => Err(self.expected(expected)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit_entries(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.visit_entries(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.text() {
            Some(text) => visitor.visit_enum(Variant(text)),
            None => Err(self.expected(alternatives(variants))),
        }
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

/// Iterates over the keys and values of a section.
struct Entries<'a> {
    entries: std::slice::Iter<'a, (String, Node)>,
    value: Option<NodeDeserializer<'a>>,
    key: String,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((name, node)) = self.entries.next() else {
            return Ok(None);
        };
        let key = join(&self.key, name);
        self.value = Some(NodeDeserializer {
            node,
            key: key.clone(),
        });
        let name: StrDeserializer<'_, ReadError> = name.as_str().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|error| error.or_at(node.place().clone(), key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        match self.value.take() {
            Some(value) => value.read(seed),
            None => Err(ReadError::custom("a value without a key")),
        }
    }
}

/// Iterates over the items of a list.
struct Items {
    items: std::iter::Enumerate<std::vec::IntoIter<Node>>,
    key: String,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let key = format!("{}[{index}]", self.key);
        let item = NodeDeserializer { node: &node, key };
        item.read(seed).map(Some)
    }
}

/// The name of an enum variant.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ReadError> {
        let name: StrDeserializer<'_, ReadError> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, ReadError> {
        Err(ReadError::custom(NOT_A_NAME))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ReadError> {
        Err(ReadError::custom(NOT_A_NAME))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ReadError> {
        Err(ReadError::custom(NOT_A_NAME))
    }
}

const NOT_A_NAME: &str = "a choice that takes values cannot be read from a name";

/// Returns a number without a leading `+` and without `_` between digits, which YAML 1.1 allows.
fn without_separators(text: &str) -> String {
    let text = text.strip_prefix('+').unwrap_or(text);
    let between_digits = |index: usize| {
        let is_digit = |index: Option<usize>| {
            index
                .and_then(|index| text.as_bytes().get(index))
                .is_some_and(u8::is_ascii_digit)
        };
        is_digit(index.checked_sub(1)) && is_digit(Some(index + 1))
    };
    text.char_indices()
        .filter(|&(index, character)| character != '_' || !between_digits(index))
        .map(|(_, character)| character)
        .collect()
}

/// Describes a node for an error message; long texts are shortened.
fn describe(node: &Node) -> String {
    match node.value() {
        _ if node.is_null() => "nothing".to_string(),
        Value::Scalar { text, .. } if text.chars().count() > 60 => {
            format!("{:?}", text.chars().take(57).collect::<String>() + "...")
        }
        Value::Scalar { text, .. } => format!("{text:?}"),
        Value::List(_) => "a list".to_string(),
        Value::Section(_) => "a section".to_string(),
    }
}
