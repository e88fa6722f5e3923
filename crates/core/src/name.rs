//! Names of the parts of an enclosure. Parsed once at the edge; a value of these types is well formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// The name is empty or longer than 63 characters.
    #[error("`{0}` has {len} characters; a name has 1 to 63", len = .0.len())]
    Length(String),
    /// The name has a character outside the allowed set or in the wrong place.
    #[error(
        "`{0}` is not a name: use lower-case letters, digits and `-`, starting and ending with a letter or digit"
    )]
    Character(String),
    /// A model reference without its version.
    #[error("`{0}` names no version; write `name@version`")]
    NoVersion(String),
    /// A version with a character outside `[A-Za-z0-9._-]`, or not 1 to 63 characters long.
    #[error("`{0}` is not a version: use 1 to 63 letters, digits, `.`, `_` and `-`")]
    Version(String),
}

/// A DNS label (RFC 1123), the form of every name in an enclosure. Dots are also allowed in model names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 63 {
            return Err(ParseNameError::Length(text.chars().take(80).collect()));
        }
        let inner = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        };
        let outer = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let ends = outer(text.bytes().next()) && outer(text.bytes().last());
        if ends && text.bytes().all(inner) && !text.contains("..") {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNameError::Character(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One version of one model, written `name@version`: the unit that is sealed, released and granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelVersion {
    /// The model's name, also the name of its view inside the stage: `/models/<name>`.
    pub name: Name,
    /// The version, as declared.
    pub version: String,
}

impl FromStr for ModelVersion {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = text
            .split_once('@')
            .ok_or_else(|| ParseNameError::NoVersion(text.to_owned()))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if version.is_empty() || version.len() > 63 || !version.bytes().all(legal) {
            return Err(ParseNameError::Version(version.to_owned()));
        }
        Ok(Self {
            name: name.parse()?,
            version: version.to_owned(),
        })
    }
}

impl TryFrom<String> for ModelVersion {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelVersion> for String {
    fn from(model: ModelVersion) -> Self {
        model.to_string()
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.name, self.version)
    }
}
