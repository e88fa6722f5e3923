//! Findings as a table for a terminal.

use std::fmt::Write as _;

use casemate_core::finding::{Category, Finding, Summary, Verdict};

use super::{Standing, open};

/// How wide the terminal is.
#[derive(Clone, Copy, Debug)]
pub struct Columns(pub usize);

impl Default for Columns {
    fn default() -> Self {
        Self(100)
    }
}

/// The table of `findings`, the counts, and what stays open with the reason.
#[must_use]
pub fn table(findings: &[Finding], columns: Columns) -> String {
    let mut text = String::new();
    let title_width = columns
        .0
        .saturating_sub(6 + 2 + 14 + 2 + 21 + 2 + 8)
        .clamp(24, 60);
    for category in Category::ALL {
        let of_category: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.category == category)
            .collect();
        if of_category.is_empty() {
            continue;
        }
        line(&mut text, category.heading());
        for finding in of_category {
            let title = shorten(&finding.title, title_width);
            let layer = finding
                .layer
                .map_or("", casemate_core::finding::Layer::word);
            let row = format!(
                "  {:<6} {:<title_width$}  {:<14} {:<21} {:>5} ms",
                finding.check,
                title,
                word(finding),
                layer,
                finding.millis,
            );
            line(&mut text, row.trim_end());
        }
        text.push('\n');
    }
    let summary = Summary::of(findings);
    line(
        &mut text,
        &format!(
            "{} checks: {} blocked, {} open, {} inconclusive, {} not applicable",
            summary.checks,
            summary.blocked,
            summary.open,
            summary.inconclusive,
            summary.not_applicable
        ),
    );
    for (finding, expected) in open(findings) {
        text.push('\n');
        line(
            &mut text,
            &format!("{} {} {}", word(finding), finding.check, finding.title),
        );
        for step in finding
            .evidence
            .steps
            .iter()
            .filter(|step| step.verdict == Verdict::Open)
            .take(3)
        {
            line(&mut text, &format!("  {}: {}", step.tried, step.detail));
        }
        if let Some(seen) = finding.evidence.witnessed.filter(|seen| *seen > 0) {
            line(
                &mut text,
                &format!("  the witness outside was reached {seen} times"),
            );
        }
        if let Some(expected) = expected.filter(|_| Standing::of(finding) == Standing::ExpectedOpen)
        {
            wrapped(&mut text, "left open because ", expected.reason, columns.0);
            wrapped(&mut text, "limited by: ", expected.limited_by, columns.0);
        }
    }
    for finding in findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Inconclusive)
    {
        text.push('\n');
        line(
            &mut text,
            &format!("could not tell {} {}", finding.check, finding.title),
        );
        line(&mut text, &format!("  {}", why_unknown(finding)));
    }
    text
}

/// The verdict as a word that stands without colour.
pub(super) fn word(finding: &Finding) -> &'static str {
    match Standing::of(finding) {
        Standing::ExpectedOpen => "open, expected",
        Standing::Open => "OPEN",
        Standing::Unknown => "could not tell",
        Standing::Held if finding.verdict == Verdict::NotApplicable => "not applicable",
        Standing::Held => "blocked",
    }
}

/// Why a finding is inconclusive, in one line.
pub(super) fn why_unknown(finding: &Finding) -> String {
    if let Some(ended) = &finding.evidence.ended {
        return ended.clone();
    }
    if let Some(step) = finding
        .evidence
        .steps
        .iter()
        .find(|step| step.verdict == Verdict::Inconclusive)
    {
        let errno = step.errno.as_deref().unwrap_or("");
        return format!("{} {errno} {}", step.tried, step.detail)
            .trim()
            .to_owned();
    }
    match &finding.control {
        Some(control) if !control.worked => {
            format!("its control failed: {} {}", control.tried, control.detail)
        }
        Some(_) => "no step was taken".to_owned(),
        None => "its control was not reached".to_owned(),
    }
}

fn line(text: &mut String, content: &str) {
    // Writing to a text cannot fail.
    let _infallible = writeln!(text, "{content}");
}

fn shorten(title: &str, width: usize) -> String {
    if title.chars().count() <= width {
        return title.to_owned();
    }
    let mut short: String = title.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn wrapped(text: &mut String, label: &str, content: &str, columns: usize) {
    let width = columns.saturating_sub(4).max(40);
    let mut current = label.to_owned();
    for word in content.split(' ') {
        if current.chars().count() + word.chars().count() > width {
            line(text, &format!("  {}", current.trim_end()));
            current.clear();
        }
        current.push_str(word);
        current.push(' ');
    }
    line(text, &format!("  {}", current.trim_end()));
}
