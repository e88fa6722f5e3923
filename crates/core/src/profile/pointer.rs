//! Where a body says something: a JSON pointer to a member.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A JSON pointer (RFC 6901) to a member of an object, one or more levels deep, without `~` escapes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(String);

/// A text that is not a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pointer to a member: write `/name` or `/outer/name`")]
pub struct ParsePointerError(String);

impl Pointer {
    /// The pointer as text, starting with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The member names, from the outside in.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl FromStr for Pointer {
    type Err = ParsePointerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let member = |name: &str| !name.is_empty() && name.bytes().all(legal);
        let members = text.strip_prefix('/').filter(|_| text.len() <= 128);
        if members.is_some_and(|members| members.split('/').all(member)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParsePointerError(text.chars().take(128).collect()))
        }
    }
}

impl TryFrom<String> for Pointer {
    type Error = ParsePointerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
