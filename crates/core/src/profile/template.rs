//! Path templates: literal segments and `{parameter}` segments, matched byte for byte. A parameter may end
//! in a verb behind a colon, as in `/v1/models/{model}:predict`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A path with at most a few `{parameter}` segments, each standing for exactly one segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// A text that is not a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTemplateError {
    /// It does not start with `/`, or is too long.
    #[error("a path template starts with `/` and has at most 256 characters")]
    Shape,
    /// A segment is empty, `.`, `..`, or has a character that a canonical path does not have.
    #[error("segment `{0}` is neither a plain path segment nor `{{parameter}}`")]
    Segment(String),
}

impl Template {
    /// The template as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` is one of the paths this template stands for.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut segments = path.split('/');
        let same = self.segments().all(|pattern| {
            segments.next().is_some_and(|segment| {
                parameter(pattern).map_or(pattern == segment, |verb| {
                    segment.strip_suffix(verb).is_some_and(is_plain)
                })
            })
        });
        same && segments.next().is_none()
    }

    /// How many segments are parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.segments()
            .filter(|segment| parameter(segment).is_some())
            .count()
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl FromStr for Template {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text
            .strip_prefix('/')
            .filter(|_| text.len() <= 256)
            .ok_or(ParseTemplateError::Shape)?;
        // `/` alone is the root; elsewhere an empty segment would make two spellings of one path.
        let bad = path.split('/').find(|segment| {
            !(is_plain(segment)
                || parameter(segment).is_some()
                || (segment.is_empty() && path.is_empty()))
        });
        bad.map_or_else(
            || Ok(Self(text.to_owned())),
            |segment| Err(ParseTemplateError::Segment(segment.to_owned())),
        )
    }
}

impl TryFrom<String> for Template {
    type Error = ParseTemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One non-empty segment of unreserved characters (RFC 3986 section 2.3) that is not a dot segment.
fn is_plain(segment: &str) -> bool {
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(legal)
}

/// What stands behind the parameter of a segment: nothing, or `:` and a verb. None for other segments.
fn parameter(segment: &str) -> Option<&str> {
    let (name, verb) = segment.strip_prefix('{')?.split_once('}')?;
    let lower = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    let plain_verb = verb.is_empty() || verb.strip_prefix(':').is_some_and(lower);
    (lower(name) && plain_verb).then_some(verb)
}
