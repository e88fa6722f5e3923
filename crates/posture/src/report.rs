//! What a scan says, put together once and written in several forms.
//!
//! A report owns everything it says, so that it outlives what was read. Much of it was chosen by whoever wrote
//! the documents: every form makes control and direction characters harmless in its own way.

use std::collections::{BTreeMap, BTreeSet};

use casemate_core::time::UnixTime;
use serde::Serialize;

use crate::catalogue;
use crate::estate::Estate;
use crate::fingerprint;
use crate::fix;
use crate::place::{Files, Place};
use crate::rule::{Finding, Severity};
use crate::scan::{Corpus, Judgement};
use crate::suppress::{self, Baseline, By, Suppressions};

mod clean;
mod html;
mod json;
mod junit;
mod sarif;
mod table;

pub use self::html::html;
pub use self::json::json;
pub use self::junit::junit;
pub use self::sarif::sarif;
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
pub const WORST_FIRST: [Severity; 4] = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];

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
    /// Puts together what a scan of `corpus` says.
    #[must_use]
    pub fn of(
        corpus: &Corpus,
        estate: &Estate<'_>,
        judgement: &Judgement,
        options: &Options,
        now: UnixTime,
    ) -> Self {
        let mut suppressions = options.suppressions.clone();
        if options.annotations {
            suppressions.extend(suppress::annotations(estate, now));
        }
        let named = named(corpus, estate);
        let fingerprints = fingerprint::all(&corpus.files, &judgement.findings);
        let mut lines = Lines::new(&corpus.files);
        let mut findings: Vec<Reported> = judgement
            .findings
            .iter()
            .zip(fingerprints)
            .filter(|(finding, _)| options.wants(finding))
            .map(|(finding, fingerprint)| {
                let file = corpus.files.name(finding.place.file).to_owned();
                let suppressed = suppressed(finding, &file, &fingerprint, &suppressions, options);
                let edits = options.edits.then(|| fix::edits(corpus, finding)).flatten();
                Reported {
                    rule: finding.rule,
                    severity: finding.severity,
                    file,
                    line: finding.place.line,
                    column: finding.place.column,
                    resource: finding.resource.clone(),
                    message: finding.message.clone(),
                    fix: finding.fix.clone(),
                    mappings: catalogue::find(finding.rule).map_or(&[], |rule| rule.maps),
                    fingerprint,
                    suppressed,
                    end: lines.at(finding.place, finding.place.end),
                    fixable: fix::is_possible(corpus, finding),
                    edits: lines.replacements(edits.unwrap_or_default()),
                    workload: workload(&named, &finding.resource, corpus.files.name(finding.place.file)),
                }
            })
            .collect();
        findings.sort_by(|one, other| {
            (std::cmp::Reverse(one.severity), &one.file, one.line, one.column, one.rule)
                .cmp(&(std::cmp::Reverse(other.severity), &other.file, other.line, other.column, other.rule))
        });
        let not_evaluable = untold(corpus, judgement, options, &named);
        let errors = problems(corpus, &suppressions);
        let summary = summary(corpus, estate, options, &findings, named);
        Self {
            findings,
            not_evaluable,
            errors,
            summary,
        }
    }

    /// The findings that count.
    pub fn counting(&self) -> impl Iterator<Item = &Reported> {
        self.findings.iter().filter(|finding| finding.suppressed.is_none())
    }

    /// The worst severity that counts.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.counting().map(|finding| finding.severity).max()
    }

    /// Whether everything that was named was read, and every suppression says enough.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.errors.iter().all(|error| error.kind == ProblemKind::ExpiredSuppression)
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

fn suppressed(
    finding: &Finding,
    file: &str,
    fingerprint: &str,
    suppressions: &Suppressions,
    options: &Options,
) -> Option<Suppressed> {
    if let Some(found) = suppressions.of(finding, file, fingerprint) {
        return Some(Suppressed {
            by: found.by,
            reason: found.reason.clone(),
            expires: Some(found.expires.clone()),
        });
    }
    let known = options.baseline.as_ref().is_some_and(|baseline| baseline.knows(fingerprint));
    known.then(|| Suppressed {
        by: By::Baseline,
        reason: "it was there when the baseline was written".to_owned(),
        expires: None,
    })
}

fn untold(corpus: &Corpus, judgement: &Judgement, options: &Options, named: &[Named]) -> Vec<Untold> {
    let asked = judgement
        .not_evaluable
        .iter()
        .filter(|one| one.rule.is_none_or(|rule| options.asks(rule)));
    corpus
        .not_evaluable
        .iter()
        .chain(asked)
        .map(|one| Untold {
            rule: one.rule,
            file: corpus.files.name(one.place.file).to_owned(),
            line: one.place.line,
            column: one.place.column,
            resource: one.resource.clone(),
            message: one.message.clone(),
            workload: workload(named, &one.resource, corpus.files.name(one.place.file)),
        })
        .collect()
}

fn problems(corpus: &Corpus, suppressions: &Suppressions) -> Vec<Problem> {
    let unread = corpus.errors.iter().map(|error| Problem {
        kind: ProblemKind::Read,
        file: error.file.clone(),
        line: error.place.line,
        column: error.place.column,
        message: error.message.clone(),
    });
    let void = suppressions.void.iter().map(|void| Problem {
        kind: if void.expired {
            ProblemKind::ExpiredSuppression
        } else {
            ProblemKind::Suppression
        },
        file: void.file.clone(),
        line: void.place.line,
        column: void.place.column,
        message: void.message.clone(),
    });
    unread.chain(void).collect()
}

fn summary(corpus: &Corpus, estate: &Estate<'_>, options: &Options, findings: &[Reported], named: Vec<Named>) -> Summary {
    let mut counts = Counts::default();
    for finding in findings.iter().filter(|finding| finding.suppressed.is_none()) {
        counts.add(finding.severity);
    }
    let mut servers = Vec::new();
    for workload in &estate.workloads {
        for container in &workload.containers {
            if let Some(server) = &container.server {
                servers.push(Recognised {
                    resource: format!("{}/{}", workload.resource.title(), container.name),
                    server: server.profile.clone(),
                    because: server.because.clone(),
                });
            }
        }
    }
    Summary {
        findings: counts,
        suppressed: findings.iter().filter(|finding| finding.suppressed.is_some()).count(),
        files: corpus.files.iter().count(),
        documents: corpus.documents.len(),
        workloads: estate.workloads.len(),
        rules: catalogue::all().filter(|rule| options.asks(rule.id)).count(),
        servers,
        named,
        names: corpus.files.iter().map(|(_, file)| file.name.to_string()).collect(),
    }
}

fn named(corpus: &Corpus, estate: &Estate<'_>) -> Vec<Named> {
    let all: BTreeSet<Named> = estate
        .workloads
        .iter()
        .map(|workload| Named {
            title: workload.resource.title(),
            file: corpus.files.name(workload.resource.place.file).to_owned(),
        })
        .collect();
    all.into_iter().collect()
}

/// The workload that a resource is or belongs to: of those with its title the one in the finding's own file,
/// and the first one for a finding elsewhere.
fn workload(named: &[Named], resource: &str, file: &str) -> Named {
    let with = |title: &str| {
        let start = named.partition_point(|own| own.title.as_str() < title);
        let same = named.get(start..)?.iter().take_while(|own| own.title == title);
        same.clone().find(|own| own.file == file).or_else(|| same.clone().next()).cloned()
    };
    with(resource).or_else(|| with(suppress::owner(resource))).unwrap_or_default()
}

/// Lines and columns of bytes.
struct Lines<'files> {
    files: &'files Files,
    starts: BTreeMap<u32, Vec<usize>>,
}

impl<'files> Lines<'files> {
    const fn new(files: &'files Files) -> Self {
        Self {
            files,
            starts: BTreeMap::new(),
        }
    }

    fn at(&mut self, place: Place, byte: u32) -> (u32, u32) {
        let text = self.files.get(place.file).map_or("", |file| &file.text);
        let starts = self.starts.entry(place.file.0).or_insert_with(|| {
            let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
        let line = starts.partition_point(|start| *start <= byte).max(1);
        let start = starts.get(line - 1).copied().unwrap_or(0);
        let column = text.get(start..byte).map_or(0, |before| before.chars().count());
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        (number(line), number(column + 1))
    }

    fn replacements(&mut self, edits: Vec<fix::Edit>) -> Vec<Replacement> {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        edits
            .into_iter()
            .map(|edit| {
                let place = Place {
                    file: edit.file,
                    ..Place::default()
                };
                Replacement {
                    file: self.files.name(edit.file).to_owned(),
                    start: self.at(place, number(edit.start)),
                    end: self.at(place, number(edit.end)),
                    text: edit.text,
                }
            })
            .collect()
    }
}
