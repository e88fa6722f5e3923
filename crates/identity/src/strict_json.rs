//! JSON that means one thing: what the gate's scan refuses in a body is refused in a token or a key set too.

use casemate_core::json::{ScanError, scan};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a text was refused as JSON.
#[derive(Debug, thiserror::Error)]
#[error("not acceptable as JSON")]
pub enum StrictJsonError {
    /// It is no object, or could be read in two ways.
    Scan(#[from] ScanError),
    /// It is not what was asked for.
    Form(#[from] serde_json::Error),
}

/// Parses the one object in `bytes`, refusing whatever two parsers could read differently: a member named
/// twice at any depth, deep nesting, trailing text.
///
/// # Errors
/// When `bytes` is not one JSON object or has one of the refused shapes.
pub fn parse(bytes: &[u8]) -> Result<Value, StrictJsonError> {
    parse_as(bytes)
}

/// Parses `bytes` as in [`parse`] and reads it as a `T`.
///
/// # Errors
/// As [`parse`], and when the object is not a `T`.
pub fn parse_as<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StrictJsonError> {
    scan(bytes, &[], bytes.len())?;
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_named_twice_is_an_error_at_any_depth() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"o":[{"a":1,"\u0061":2}]}"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{"#,
            "\u{feff}{}",
            "[]",
            "",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(br#" {"a":[1,{"a":2}]} "#).is_ok());
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        assert!(parse("{\"a\":".repeat(100_000).as_bytes()).is_err());
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(16).as_bytes()).is_ok());
        assert!(parse(nested(100).as_bytes()).is_err());
    }
}
