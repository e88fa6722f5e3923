//! The report as JSON.

use super::Report;

/// The report as one JSON text, ending its line.
///
/// # Errors
///
/// Never, as far as can be seen; serde's own word is passed on.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    Ok(format!("{}\n", serde_json::to_string_pretty(report)?))
}
