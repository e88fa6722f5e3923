//! The report for a terminal: one group for each workload, the worst first, each with its verdict in one line.

use std::collections::BTreeMap;

use super::clean::line;
use super::{Counts, Named, Report, Reported, Untold, WORST_FIRST};
use crate::rule::Severity;

/// How it may look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// How many characters a line may have.
    pub width: usize,
    /// Whether it may have colours; they never say anything that words do not.
    pub colour: bool,
}

/// The report as text. Nothing that a document said can move the cursor.
#[must_use]
pub fn table(report: &Report, look: Look) -> String {
    let mut page = Page {
        text: String::new(),
        look: Look {
            width: look.width.max(LEAST_WIDTH),
            ..look
        },
    };
    page.plain(0, &headline(report));
    let groups = groups(report);
    for group in &groups {
        if !(group.findings.is_empty() && group.untold.is_empty()) {
            page.group(group, report);
        }
    }
    let clean: Vec<&Group<'_>> = groups
        .iter()
        .filter(|group| group.findings.is_empty() && group.untold.is_empty())
        .collect();
    if !clean.is_empty() {
        page.gap();
        for group in clean {
            let verdict = page.coloured("nothing found", GREEN);
            let title = page.coloured(&line(&group.title), BOLD);
            page.raw(&format!("{title}  {}  {verdict}", line(&group.file)));
        }
    }
    page.suppressed(report);
    page.problems(report);
    page.text
}

struct Group<'report> {
    title: String,
    file: String,
    findings: Vec<&'report Reported>,
    untold: Vec<&'report Untold>,
}

impl Group<'_> {
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for finding in &self.findings {
            counts.add(finding.severity);
        }
        counts
    }
}

/// What belongs together, the worst first.
fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<Named, Group<'_>> = BTreeMap::new();
    let empty = |name: &Named| Group {
        title: name.title.clone(),
        file: name.file.clone(),
        findings: Vec::new(),
        untold: Vec::new(),
    };
    for name in &report.summary.named {
        groups.entry(name.clone()).or_insert_with(|| empty(name));
    }
    for finding in report.counting() {
        let name = group_of(&finding.workload, &finding.resource, &finding.file);
        groups
            .entry(name.clone())
            .or_insert_with(|| empty(&name))
            .findings
            .push(finding);
    }
    for untold in &report.not_evaluable {
        let name = group_of(&untold.workload, &untold.resource, &untold.file);
        groups
            .entry(name.clone())
            .or_insert_with(|| empty(&name))
            .untold
            .push(untold);
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    groups.sort_by_key(|group| {
        let counts = group.counts();
        std::cmp::Reverse(WORST_FIRST.map(|severity| counts.of(severity)))
    });
    groups
}

/// The workload, or what else the finding is about.
pub(super) fn group_of(workload: &Named, resource: &str, file: &str) -> Named {
    if !workload.title.is_empty() {
        return workload.clone();
    }
    Named {
        title: if resource.is_empty() { file } else { resource }.to_owned(),
        file: file.to_owned(),
    }
}

fn headline(report: &Report) -> String {
    let summary = &report.summary;
    let found = if summary.findings.total() == 0 {
        "nothing found".to_owned()
    } else {
        summary.findings.words()
    };
    let mut line = format!(
        "{} in {}, asked {}: {found}",
        some(summary.workloads, "workload"),
        some(summary.files, "file"),
        some(summary.rules, "rule")
    );
    for (count, words) in [
        (summary.suppressed, "suppressed"),
        (report.not_evaluable.len(), "not evaluable"),
        (report.errors.len(), "with errors"),
    ] {
        if count > 0 {
            line.push_str(&format!("; {count} {words}"));
        }
    }
    line
}

/// `1 file`, `2 files`.
pub(super) fn some(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn verdict(counts: Counts, untold: usize) -> (String, &'static str) {
    let (words, colour) = match WORST_FIRST
        .into_iter()
        .find(|severity| counts.of(*severity) > 0)
    {
        Some(Severity::Critical) => ("do not run this as it is", RED),
        Some(Severity::High) => ("mend this before it runs", RED),
        Some(Severity::Medium) => ("it runs, behind weak walls", YELLOW),
        Some(Severity::Low) => ("small things only", GREEN),
        None => ("nothing found in what could be told", YELLOW),
    };
    let mut verdict = words.to_owned();
    if counts.total() > 0 {
        verdict.push_str(&format!(": {}", counts.words()));
    }
    if untold > 0 {
        verdict.push_str(&format!("; {untold} not evaluable"));
    }
    (verdict, colour)
}

struct Page {
    text: String,
    look: Look,
}

impl Page {
    fn raw(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }

    fn plain(&mut self, indent: usize, text: &str) {
        let indent = " ".repeat(indent);
        for part in wrapped(&line(text), self.look.width.saturating_sub(indent.len())) {
            self.raw(&format!("{indent}{part}"));
        }
    }

    fn coloured(&self, text: &str, colour: &str) -> String {
        if self.look.colour {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn group(&mut self, group: &Group<'_>, report: &Report) {
        self.gap();
        let title = self.coloured(&line(&group.title), BOLD);
        let inside = format!("{}/", group.title);
        let mut servers: Vec<&str> = report
            .summary
            .servers
            .iter()
            .filter(|server| server.resource.starts_with(&inside))
            .map(|server| server.server.as_str())
            .collect();
        servers.dedup();
        let servers = if servers.is_empty() {
            String::new()
        } else {
            format!("  ({})", line(&servers.join(", ")))
        };
        let (verdict, colour) = verdict(group.counts(), group.untold.len());
        let verdict = self.coloured(&verdict, colour);
        let file = if group.file == group.title {
            String::new()
        } else {
            format!("  {}", line(&group.file))
        };
        self.raw(&format!("{title}{servers}{file}"));
        self.raw(&format!("  {verdict}"));
        for finding in &group.findings {
            self.finding(finding, &group.title);
        }
        for untold in &group.untold {
            let rule = untold.rule.unwrap_or("document");
            let place = format!("{}:{}:{}", untold.file, untold.line, untold.column);
            self.raw(&format!("  {:<9} {rule:<7} {}", "unknown", line(&place)));
            self.plain(BODY, &untold.message);
        }
    }

    fn finding(&mut self, finding: &Reported, group: &str) {
        let severity = format!("{:<9}", finding.severity.as_str());
        let severity = self.coloured(&severity, colour(finding.severity));
        let place = format!("{}:{}:{}", finding.file, finding.line, finding.column);
        let part = finding
            .resource
            .strip_prefix(group)
            .and_then(|rest| rest.strip_prefix('/'));
        let part = part.map_or_else(String::new, |part| format!("  {part}"));
        self.raw(&format!(
            "  {severity} {:<7} {}{}",
            finding.rule,
            line(&place),
            line(&part)
        ));
        self.plain(BODY, &finding.message);
        let hand = if finding.fixable { " [--fix]" } else { "" };
        self.plain(BODY, &format!("fix: {}{hand}", finding.fix));
    }

    fn suppressed(&mut self, report: &Report) {
        let mut known = 0;
        let mut first = true;
        for finding in &report.findings {
            let Some(suppressed) = &finding.suppressed else {
                continue;
            };
            let Some(expires) = &suppressed.expires else {
                known += 1;
                continue;
            };
            if first {
                self.gap();
                self.raw("suppressed, and why");
                first = false;
            }
            let words = format!(
                "{} {} {}:{} until {expires}: {}",
                finding.rule, finding.resource, finding.file, finding.line, suppressed.reason
            );
            self.plain(2, &words);
        }
        if known > 0 {
            self.gap();
            self.plain(
                0,
                &format!("{} known from the baseline", some(known, "finding")),
            );
        }
    }

    fn problems(&mut self, report: &Report) {
        if report.errors.is_empty() {
            return;
        }
        self.gap();
        self.raw("errors");
        for error in &report.errors {
            let place = if error.line == 0 {
                error.file.clone()
            } else {
                format!("{}:{}:{}", error.file, error.line, error.column)
            };
            self.plain(2, &format!("{place}: {}", error.message));
        }
    }
}

/// The words of a text in lines of at most `width` characters; a longer word has a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut length = 0_usize;
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            lines.push(std::mem::take(&mut current));
            length = 0;
        }
        if length > 0 {
            current.push(' ');
            length += 1;
        }
        current.push_str(word);
        length += word_length;
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines
}

const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => BOLD_RED,
        Severity::High => RED,
        Severity::Medium => YELLOW,
        Severity::Low => CYAN,
    }
}

const BODY: usize = 12;
const LEAST_WIDTH: usize = 40;
const BOLD: &str = "1";
const BOLD_RED: &str = "1;31";
const RED: &str = "31";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const CYAN: &str = "36";
