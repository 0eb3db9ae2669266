//! One value for both encodings.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{bencode, json};

/// Longest message: the largest UDP payload over IPv4.
pub(super) const MAX_BYTES: usize = 65_507;
/// Deepest nesting; what clients send is at most 3 deep.
pub(super) const MAX_DEPTH: usize = 16;
/// Most values in one message, so that a small message cannot become a large allocation.
pub(super) const MAX_VALUES: usize = 4096;

/// How a message is written. The reply is written as the request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `d...e`, keys in any order.
    Bencode,
    /// `{...}`.
    Json,
}

/// A decoded value. JSON's booleans arrive as 0 and 1, its fractions as text, its nulls not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string; bytes that are not UTF-8 are read as Latin-1.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A list.
    List(Vec<Value>),
    /// A dictionary.
    Dict(Dict),
}

impl Value {
    /// The text, also of an integer.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::List(_) | Self::Dict(_) => None,
        }
    }

    /// The integer, also where it was written as text.
    #[must_use]
    pub fn to_integer(&self) -> Option<i64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Integer(number) => Some(*number),
            Self::List(_) | Self::Dict(_) => None,
        }
    }

    /// The words of a list of strings; a single string is a list of one.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().filter_map(Self::to_text).collect(),
            one => one.to_text().into_iter().collect(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Dict> for Value {
    fn from(dict: Dict) -> Self {
        Self::Dict(dict)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::List(items) => items.serialize(serializer),
            Self::Dict(dict) => dict.serialize(serializer),
        }
    }
}

/// A dictionary in the order in which it came or is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dict(Vec<(Cow<'static, str>, Value)>);

impl Dict {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends an entry.
    pub fn push(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// The same with one entry more.
    #[must_use]
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.push(key, value);
        self
    }

    /// The first entry whose key is a spelling of `key`, which is given in its canonical spelling.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| is_spelling_of(name, key))
            .map(|(_, value)| value)
    }

    /// The text of that entry; an empty one counts as absent.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.to_text().filter(|text| !text.is_empty())
    }

    /// The words of that entry, canonical; none where it is absent.
    #[must_use]
    pub fn words(&self, key: &str) -> Vec<String> {
        let words = self.get(key).map(Value::to_words).unwrap_or_default();
        words.iter().map(|word| canonical(word)).collect()
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }
}

impl Serialize for Dict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// The one spelling of a word: lower case, hyphens for spaces and underscores.
#[must_use]
pub fn canonical(word: &str) -> String {
    word.trim().chars().map(canonical_letter).collect()
}

const fn canonical_letter(letter: char) -> char {
    match letter {
        ' ' | '_' => '-',
        letter => letter.to_ascii_lowercase(),
    }
}

/// Whether `word` is a spelling of `known`, which is given in its canonical one.
pub(super) fn is_spelling_of(word: &str, known: &str) -> bool {
    // A message is asked for more keys than it has: most are told apart by their lengths.
    let word = word.trim();
    word.len() == known.len() && word.chars().map(canonical_letter).eq(known.chars())
}

/// Why bytes are not a message. Holds no part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Neither encoding.
    #[error("the message starts with neither 'd' (bencode) nor '{{' (JSON)")]
    Encoding,
    /// Larger than any datagram.
    #[error("the message has {0} bytes; expected at most {MAX_BYTES}")]
    TooLong(usize),
    /// A string that promises more bytes than there are.
    #[error("the string at byte {at} promises {promised} bytes, {left} are left")]
    CutString {
        /// Where the string's length stands.
        at: usize,
        /// How many bytes it promises.
        promised: usize,
        /// How many there are.
        left: usize,
    },
    /// A byte that begins nothing.
    #[error("bencode: byte {0} begins no value; expected a digit, 'i', 'l' or 'd'")]
    Value(usize),
    /// An integer or a length that is none, or too large.
    #[error("bencode: no number between -2^63 and 2^63-1 at byte {0}")]
    Number(usize),
    /// A dictionary whose key is no string.
    #[error("bencode: the dictionary's key at byte {0} is no string")]
    Key(usize),
    /// A key at the very end.
    #[error("bencode: the last key of a dictionary has no value")]
    NoValue,
    /// Too deep.
    #[error("the message nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Too many values.
    #[error("the message holds more than {MAX_VALUES} values")]
    TooMany,
    /// Not JSON.
    #[error("JSON: line {line}, column {column} cannot be read")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

/// Decodes a message, telling the encoding by its first byte. What follows the dictionary is
/// ignored, and dictionaries and lists that lack their ends are taken as ended.
pub fn decode(bytes: &[u8]) -> Result<(Encoding, Dict), DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    match bytes.first() {
        Some(b'd') => Ok((Encoding::Bencode, bencode::decode(bytes)?)),
        Some(b'{') => Ok((Encoding::Json, json::decode(bytes)?)),
        Some(_) | None => Err(DecodeError::Encoding),
    }
}

/// Encodes a message.
#[must_use]
pub fn encode(dict: &Dict, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Bencode => bencode::encode(dict),
        Encoding::Json => json::encode(dict),
    }
}

/// Bytes as text: UTF-8, else Latin-1, in which every byte string is a text.
pub(super) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}
