//! The one spelling of a request target that is let through. Anything else is refused, never repaired:
//! what the gate decided on is then, byte for byte, what the server is asked for.
//!
//! No percent encoding, no empty segment, no dot segment, no parameter, no backslash, nothing outside
//! ASCII, no absolute form. Case is compared as it is; [`CanonicalPath::is_disguise_of`] tells a
//! disguised path from an unknown one, so that the refusal can say so.

use std::fmt;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 512;
/// The longest query, in bytes.
pub const MAX_QUERY: usize = 512;
/// The longest value of one query parameter, in bytes.
pub const MAX_QUERY_VALUE: usize = 128;

/// Why a request target was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`MAX_PATH`] or [`MAX_QUERY`].
    #[error("the target is too long")]
    TooLong,
    /// Not a path: absolute form, authority form, `*`, or empty.
    #[error("the target does not start with a path")]
    NotAPath,
    /// `//`, or a slash at the end.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.`, `..`, or a segment that ends with a dot.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A percent sign: every octet that we serve has a plain spelling.
    #[error("the path is percent-encoded")]
    Encoded,
    /// A character outside letters, digits and `-._~:@`.
    #[error("the path has a character that no route has")]
    Character,
    /// The same path as a route, but for case.
    #[error("the path is a route's in another case")]
    Case,
}

/// A path in its one canonical spelling, made by [`CanonicalPath::parse`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalPath<'a>(&'a str);

impl<'a> CanonicalPath<'a> {
    /// Takes `path`, without a query, as canonical.
    ///
    /// # Errors
    /// When there is any other way to write it.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let segments = path.strip_prefix('/').ok_or(PathError::NotAPath)?;
        if segments.is_empty() {
            return Ok(Self(path));
        }
        // The whole text first: an encoded dot must read as encoded, not as an unknown segment.
        for byte in path.bytes() {
            match byte {
                b'%' => return Err(PathError::Encoded),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {}
                b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'/' => {}
                _ => return Err(PathError::Character),
            }
        }
        for segment in segments.split('/') {
            if segment.is_empty() {
                return Err(PathError::EmptySegment);
            }
            if segment.ends_with('.') {
                return Err(PathError::DotSegment);
            }
        }
        Ok(Self(path))
    }

    /// The path as text.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether this is `route`'s path but for the case of letters.
    #[must_use]
    pub fn is_disguise_of(&self, route: &str) -> bool {
        self.0 != route && self.0.eq_ignore_ascii_case(route)
    }
}

impl fmt::Display for CanonicalPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// Why a query was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Longer than [`MAX_QUERY`].
    #[error("the query is too long")]
    TooLong,
    /// A parameter that the route does not allow.
    #[error("the route allows no such query parameter")]
    Unknown,
    /// A parameter given twice.
    #[error("a query parameter is given twice")]
    Twice,
    /// A value with a character outside letters, digits and `-._~`, too long, or no value at all.
    #[error("a query parameter has a value that is not plain")]
    Value,
}

/// Checks that `query`, without its `?`, has only parameters of `allowed`, each once, with a plain value.
///
/// # Errors
/// When it has anything else. An empty query is refused too: `/x?` and `/x` are two spellings.
pub fn check_query<S: AsRef<str>>(query: &str, allowed: &[S]) -> Result<(), QueryError> {
    if query.len() > MAX_QUERY {
        return Err(QueryError::TooLong);
    }
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    for (index, parameter) in query.split('&').enumerate() {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !allowed.iter().any(|known| known.as_ref() == name) {
            return Err(QueryError::Unknown);
        }
        if !(1..=MAX_QUERY_VALUE).contains(&value.len()) || !value.bytes().all(plain) {
            return Err(QueryError::Value);
        }
        let named = |earlier: &str| {
            earlier
                .split_once('=')
                .is_some_and(|(other, _)| other == name)
        };
        if query.split('&').take(index).any(named) {
            return Err(QueryError::Twice);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
