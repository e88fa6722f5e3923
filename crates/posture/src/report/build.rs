//! Puts a report together from what was read and judged.

use std::collections::BTreeSet;

use casemate_core::time::UnixTime;

use super::lines::Lines;
use super::{
    Counts, Named, Options, Problem, ProblemKind, Recognised, Report, Reported, Summary,
    Suppressed, Untold,
};
use crate::catalogue;
use crate::estate::Estate;
use crate::fingerprint;
use crate::fix;
use crate::rule::Finding;
use crate::scan::{Corpus, Judgement};
use crate::suppress::{self, By, Suppressions};

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
                    workload: workload(
                        &named,
                        &finding.resource,
                        corpus.files.name(finding.place.file),
                    ),
                }
            })
            .collect();
        findings.sort_by(|one, other| {
            (
                std::cmp::Reverse(one.severity),
                &one.file,
                one.line,
                one.column,
                one.rule,
            )
                .cmp(&(
                    std::cmp::Reverse(other.severity),
                    &other.file,
                    other.line,
                    other.column,
                    other.rule,
                ))
        });
        let not_evaluable = untold(corpus, judgement, options, &named);
        let errors = problems(corpus, judgement, &suppressions);
        let summary = summary(corpus, estate, options, &findings, named);
        Self {
            findings,
            not_evaluable,
            errors,
            summary,
        }
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
    let known = options
        .baseline
        .as_ref()
        .is_some_and(|baseline| baseline.knows(fingerprint));
    known.then(|| Suppressed {
        by: By::Baseline,
        reason: "it was there when the baseline was written".to_owned(),
        expires: None,
    })
}

fn untold(
    corpus: &Corpus,
    judgement: &Judgement,
    options: &Options,
    named: &[Named],
) -> Vec<Untold> {
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

fn problems(corpus: &Corpus, judgement: &Judgement, suppressions: &Suppressions) -> Vec<Problem> {
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
    let first = corpus.files.iter().next();
    let stopped = judgement.stopped.iter().map(|message| Problem {
        kind: ProblemKind::Read,
        file: first.map_or_else(String::new, |(_, file)| file.name.to_string()),
        line: 0,
        column: 0,
        message: message.clone(),
    });
    unread.chain(stopped).chain(void).collect()
}

fn summary(
    corpus: &Corpus,
    estate: &Estate<'_>,
    options: &Options,
    findings: &[Reported],
    named: Vec<Named>,
) -> Summary {
    let mut counts = Counts::default();
    for finding in findings
        .iter()
        .filter(|finding| finding.suppressed.is_none())
    {
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
        suppressed: findings
            .iter()
            .filter(|finding| finding.suppressed.is_some())
            .count(),
        files: corpus.files.iter().count(),
        documents: corpus.documents.len(),
        workloads: estate.workloads.len(),
        rules: catalogue::all()
            .filter(|rule| options.asks(rule.id))
            .count(),
        servers,
        named,
        names: corpus
            .files
            .iter()
            .map(|(_, file)| file.name.to_string())
            .collect(),
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
        let same = named
            .get(start..)?
            .iter()
            .take_while(|own| own.title == title);
        same.clone()
            .find(|own| own.file == file)
            .or_else(|| same.clone().next())
            .cloned()
    };
    with(resource)
        .or_else(|| with(suppress::owner(resource)))
        .unwrap_or_default()
}
