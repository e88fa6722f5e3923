//! Shows findings: a table for the terminal, JSON for programs, one HTML page for people and archives.
//!
//! Every form prints what stays open and why; colour never carries meaning alone.

mod html;
mod table;
#[cfg(test)]
mod tests;

use casemate_core::finding::{Finding, Summary, Verdict};
use serde::Serialize;

use crate::evidence::Statement;
use crate::expected::{self, ExpectedOpen};

pub use html::html;
pub use table::{Columns, table};

/// How a finding counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Blocked, or nothing to attack.
    Held,
    /// Open, and on the argued list.
    ExpectedOpen,
    /// Open, and not on the list.
    Open,
    /// Could not tell.
    Unknown,
}

impl Standing {
    /// The standing of one finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        match finding.verdict {
            Verdict::Blocked | Verdict::NotApplicable => Self::Held,
            Verdict::Inconclusive => Self::Unknown,
            // An arrival at the witness is never expected.
            Verdict::Open
                if finding.evidence.witnessed.unwrap_or(0) == 0
                    && expected::expected_open(&finding.check).is_some() =>
            {
                Self::ExpectedOpen
            }
            Verdict::Open => Self::Open,
        }
    }
}

/// The findings that are open, with the argument where there is one.
pub fn open<'a>(
    findings: impl IntoIterator<Item = &'a Finding>,
) -> impl Iterator<Item = (&'a Finding, Option<&'static ExpectedOpen>)> {
    findings
        .into_iter()
        .filter(|finding| finding.verdict == Verdict::Open)
        .map(|finding| (finding, expected::expected_open(&finding.check)))
}

/// What a report is about and what it found, as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    subject: &'a str,
    nonce: &'a str,
    kernel: &'a str,
    runtime: &'a str,
    summary: Summary,
    unexpected_open: Vec<&'a str>,
    expected_open: Vec<&'static ExpectedOpen>,
    findings: Vec<&'a Finding>,
}

/// The report as JSON; the signed evidence says the same with its chain.
#[must_use]
pub fn json(statement: &Statement) -> String {
    let predicate = &statement.predicate;
    let report = Report {
        subject: subject(statement),
        nonce: &predicate.nonce,
        kernel: &predicate.kernel,
        runtime: &predicate.runtime,
        summary: predicate.summary,
        unexpected_open: statement
            .findings()
            .filter(|finding| Standing::of(finding) == Standing::Open)
            .map(|finding| finding.check.as_str())
            .collect(),
        expected_open: open(statement.findings())
            .filter_map(|(_, expected)| expected)
            .collect(),
        findings: statement.findings().collect(),
    };
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn subject(statement: &Statement) -> &str {
    statement
        .subject
        .first()
        .map_or("", |subject| subject.name.as_str())
}
