//! What a scan says, put together once and written in several forms.
//!
//! A report owns everything it says, so that it outlives what was read. Much of it was chosen by whoever wrote
//! the documents: every form makes control and direction characters harmless in its own way.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::rule::{Finding, Severity};
use crate::suppress::{Baseline, By, Suppressions};

mod build;
pub(crate) mod clean;
mod html;
mod json;
mod junit;
mod lines;
mod sarif;
mod save;
mod table;

pub use self::html::html;
pub use self::json::json;
pub use self::junit::junit;
pub use self::sarif::sarif;
pub use self::save::save;
pub use self::table::{Look, table, wrapped};

pub use self::clean::visible;

/// Everything a scan says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What is wrong, the worst first.
    pub findings: Vec<Reported>,
    /// What could not be told.
    pub not_evaluable: Vec<Untold>,
    /// What could not be read, and suppressions that do not count.
    pub errors: Vec<Problem>,
    /// How much of each.
    pub summary: Summary,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Reported {
    /// The rule.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Whose it is.
    pub resource: String,
    /// What it allows.
    pub message: String,
    /// How to put it right.
    pub fix: String,
    /// What the rule maps to.
    pub mappings: &'static [&'static str],
    /// A name that stays when lines move.
    pub fingerprint: String,
    /// Why it does not count; absent when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppressed>,
    /// Where the value ends: line and column of the character behind it.
    #[serde(skip)]
    pub end: (u32, u32),
    /// The edits that put it right.
    #[serde(skip)]
    pub edits: Vec<Replacement>,
    /// Whether the fix is mechanical.
    #[serde(skip)]
    pub fixable: bool,
    /// Its workload, with the workload's file; both are empty for what belongs to none.
    #[serde(skip)]
    pub workload: Named,
}

/// A workload by its title and the file that declares it: several files may declare one of the same title.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Such as `Deployment/llm`.
    pub title: String,
    /// The file.
    pub file: String,
}

/// Why a finding does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suppressed {
    /// How that was said.
    pub by: By,
    /// The reason that was given.
    pub reason: String,
    /// The last day on which it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// One edit with lines and columns, counted from 1 in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The file.
    pub file: String,
    /// The first character that goes.
    pub start: (u32, u32),
    /// The character after the last one that goes.
    pub end: (u32, u32),
    /// What comes in their place.
    pub text: String,
}

/// Something that could not be told.
#[derive(Clone, Debug, Serialize)]
pub struct Untold {
    /// The rule; absent for a whole document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// Whose it is.
    pub resource: String,
    /// What is missing.
    pub message: String,
    /// Its workload.
    #[serde(skip)]
    pub workload: Named,
}

/// Something that could not be read, or does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// The file.
    pub file: String,
    /// The line; 0 for the whole file.
    pub line: u32,
    /// The column; 0 for the whole file.
    pub column: u32,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A file could not be read.
    Read,
    /// A suppression says too little to count.
    Suppression,
    /// A suppression counted once and no longer does.
    ExpiredSuppression,
}

/// How much of each.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Findings that count, by how bad they are.
    pub findings: Counts,
    /// Findings that somebody decided to live with.
    pub suppressed: usize,
    /// Files read.
    pub files: usize,
    /// Documents in them.
    pub documents: usize,
    /// Things that run containers.
    pub workloads: usize,
    /// Rules asked.
    pub rules: usize,
    /// The inference servers that were recognised.
    pub servers: Vec<Recognised>,
    /// Every workload, for those forms that name each.
    #[serde(skip)]
    pub named: Vec<Named>,
    /// The names of the files.
    #[serde(skip)]
    pub names: Vec<String>,
}

/// Findings by how bad they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Critical ones.
    pub critical: usize,
    /// High ones.
    pub high: usize,
    /// Medium ones.
    pub medium: usize,
    /// Low ones.
    pub low: usize,
}

/// A server that was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recognised {
    /// The container, such as `Deployment/llm/server`.
    pub resource: String,
    /// The server.
    pub server: String,
    /// What it was recognised by.
    pub because: Vec<String>,
}

impl Counts {
    /// Takes one more.
    pub const fn add(&mut self, severity: Severity) {
        let count = match severity {
            Severity::Critical => &mut self.critical,
            Severity::High => &mut self.high,
            Severity::Medium => &mut self.medium,
            Severity::Low => &mut self.low,
        };
        *count += 1;
    }

    /// How many there are of one kind.
    #[must_use]
    pub const fn of(&self, severity: Severity) -> usize {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.critical + self.high + self.medium + self.low
    }

    /// `2 critical, 1 low`; nothing for none.
    #[must_use]
    pub fn words(&self) -> String {
        let parts: Vec<String> = WORST_FIRST
            .iter()
            .filter(|severity| self.of(**severity) > 0)
            .map(|severity| format!("{} {}", self.of(*severity), severity.as_str()))
            .collect();
        parts.join(", ")
    }
}

/// Every severity, the worst first.
pub const WORST_FIRST: [Severity; 4] = [
    Severity::Critical,
    Severity::High,
    Severity::Medium,
    Severity::Low,
];

/// What is asked of a report.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these rules; all when empty.
    pub only: BTreeSet<String>,
    /// Not these rules.
    pub skip: BTreeSet<String>,
    /// Nothing less bad than this.
    pub least: Option<Severity>,
    /// What is known and does not count.
    pub baseline: Option<Baseline>,
    /// Suppressions from a file.
    pub suppressions: Suppressions,
    /// Whether annotations suppress.
    pub annotations: bool,
    /// Whether the edits of each finding are wanted.
    pub edits: bool,
}

impl Options {
    /// Whether this finding is asked for.
    #[must_use]
    pub fn wants(&self, finding: &Finding) -> bool {
        self.asks(finding.rule) && self.least.is_none_or(|least| finding.severity >= least)
    }

    fn asks(&self, rule: &str) -> bool {
        (self.only.is_empty() || self.only.contains(rule)) && !self.skip.contains(rule)
    }
}

impl Report {
    /// The findings that count.
    pub fn counting(&self) -> impl Iterator<Item = &Reported> {
        self.findings
            .iter()
            .filter(|finding| finding.suppressed.is_none())
    }

    /// The worst severity that counts.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.counting().map(|finding| finding.severity).max()
    }

    /// Whether everything that was named was read, and every suppression says enough.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.errors
            .iter()
            .all(|error| error.kind == ProblemKind::ExpiredSuppression)
    }

    /// The findings as a baseline, those that do not count among them.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        Baseline::of(self.findings.iter().map(|finding| {
            let words = format!("{} {} {}", finding.rule, finding.file, finding.resource);
            (finding.fingerprint.clone(), words)
        }))
    }
}
