//! The report as SARIF 2.1.0, as code-scanning viewers read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Problem, ProblemKind, Replacement, Report, Reported, Suppressed, Untold};
use crate::catalogue;
use crate::fingerprint::normal;
use crate::rule::{Rule, Severity};
use crate::suppress::By;

/// The report as one SARIF log.
///
/// # Errors
///
/// Never, as far as can be seen; serde's own word is passed on.
pub fn sarif(report: &Report) -> Result<String, serde_json::Error> {
    let rules: Vec<&Rule> = catalogue::all().collect();
    let numbers: BTreeMap<&str, usize> = rules
        .iter()
        .enumerate()
        .map(|(at, rule)| (rule.id, at))
        .collect();
    let with_baseline = report
        .findings
        .iter()
        .filter_map(|finding| finding.suppressed.as_ref())
        .any(|suppressed| suppressed.by == By::Baseline);
    let untold = report
        .not_evaluable
        .iter()
        .map(|untold| notice(untold, &numbers));
    let notifications: Vec<Value> = report.errors.iter().map(problem).chain(untold).collect();
    let tool = json!({"driver": {
        "name": "casemate scan",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules.iter().map(|rule| described(rule)).collect::<Vec<_>>(),
    }});
    let invocation = json!({
        "executionSuccessful": report.is_whole(),
        "toolExecutionNotifications": notifications,
    });
    // Results are written one by one: as one tree they would take many times the memory of their text.
    let mut log = format!(
        "{{\"$schema\": \"{SCHEMA}\",\n\"version\": \"2.1.0\",\n\"runs\": [{{\"tool\": {},\n\"columnKind\": \"unicodeCodePoints\",\n\"invocations\": [{}],\n\"results\": [",
        serde_json::to_string(&tool)?,
        serde_json::to_string(&invocation)?
    );
    for (at, finding) in report.findings.iter().enumerate() {
        log.push_str(if at == 0 { "\n" } else { ",\n" });
        log.push_str(&serde_json::to_string(&result(
            finding,
            &numbers,
            with_baseline,
        ))?);
    }
    log.push_str("\n]}]}\n");
    Ok(log)
}

fn described(rule: &Rule) -> Value {
    let maps = rule.maps.join(", ");
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {
            "text": format!("{}\n\nFix: {}\n\nMaps to: {maps}", rule.why, rule.fix),
            "markdown": format!("{}\n\n**Fix.** {}\n\nMaps to: {maps}", rule.why, rule.fix),
        },
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {
            "tags": std::iter::once("security").chain(rule.maps.iter().copied()).collect::<Vec<_>>(),
            "precision": "high",
            "security-severity": score(rule.severity),
        },
    })
}

fn result(finding: &Reported, numbers: &BTreeMap<&str, usize>, with_baseline: bool) -> Value {
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level(finding.severity),
        "message": {"text": format!("{}\nFix: {}", finding.message, finding.fix)},
        "locations": [place(&finding.file, (finding.line, finding.column), finding.end, &finding.resource)],
        "partialFingerprints": {"casemateFinding/v1": finding.fingerprint},
        "properties": {"severity": finding.severity, "resource": finding.resource, "security-severity": score(finding.severity)},
    });
    let mut set = |key: &str, value: Value| {
        if let Some(object) = result.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
    };
    if let Some(number) = numbers.get(finding.rule) {
        set("ruleIndex", (*number).into());
    }
    if let Some(suppressed) = &finding.suppressed {
        set("suppressions", json!([suppression(suppressed)]));
    }
    if with_baseline {
        let known = finding
            .suppressed
            .as_ref()
            .is_some_and(|suppressed| suppressed.by == By::Baseline);
        set(
            "baselineState",
            if known { "unchanged" } else { "new" }.into(),
        );
    }
    if !finding.edits.is_empty() {
        set("fixes", json!([fix(finding)]));
    }
    result
}

fn suppression(suppressed: &Suppressed) -> Value {
    let kind = match suppressed.by {
        By::Annotation => "inSource",
        By::File | By::Baseline => "external",
    };
    let until = suppressed
        .expires
        .as_ref()
        .map_or_else(String::new, |day| format!(" (until {day})"));
    json!({"kind": kind, "status": "accepted", "justification": format!("{}{until}", suppressed.reason)})
}

fn fix(finding: &Reported) -> Value {
    let mut files: BTreeMap<&str, Vec<&Replacement>> = BTreeMap::new();
    for edit in &finding.edits {
        files.entry(&edit.file).or_default().push(edit);
    }
    let changes: Vec<Value> = files
        .into_iter()
        .map(|(file, edits)| {
            let replacements: Vec<Value> = edits
                .into_iter()
                .map(|edit| {
                    json!({
                        "deletedRegion": region(edit.start, edit.end),
                        "insertedContent": {"text": edit.text},
                    })
                })
                .collect();
            json!({"artifactLocation": {"uri": uri(file)}, "replacements": replacements})
        })
        .collect();
    json!({"description": {"text": finding.fix}, "artifactChanges": changes})
}

fn problem(problem: &Problem) -> Value {
    let level = match problem.kind {
        ProblemKind::Read | ProblemKind::Suppression => "error",
        ProblemKind::ExpiredSuppression => "warning",
    };
    json!({
        "level": level,
        "message": {"text": problem.message},
        "locations": [place(&problem.file, (problem.line, problem.column), (0, 0), "")],
    })
}

fn notice(untold: &Untold, numbers: &BTreeMap<&str, usize>) -> Value {
    let mut notice = json!({
        "level": "note",
        "message": {"text": format!("not evaluable: {}", untold.message)},
        "locations": [place(&untold.file, (untold.line, untold.column), (0, 0), &untold.resource)],
    });
    if let (Some(rule), Some(object)) = (untold.rule, notice.as_object_mut()) {
        let index = numbers.get(rule);
        let reference = index.map_or_else(
            || json!({"id": rule}),
            |index| json!({"id": rule, "index": index}),
        );
        object.insert("associatedRule".to_owned(), reference);
    }
    notice
}

fn place(file: &str, start: (u32, u32), end: (u32, u32), resource: &str) -> Value {
    let mut physical = json!({"artifactLocation": {"uri": uri(file)}});
    if start.0 > 0
        && let Some(object) = physical.as_object_mut()
    {
        object.insert("region".to_owned(), region(start, end));
    }
    let mut place = json!({"physicalLocation": physical});
    if !resource.is_empty()
        && let Some(object) = place.as_object_mut()
    {
        object.insert(
            "logicalLocations".to_owned(),
            json!([{"fullyQualifiedName": resource, "kind": "resource"}]),
        );
    }
    place
}

fn region(start: (u32, u32), end: (u32, u32)) -> Value {
    let mut region = json!({"startLine": start.0, "startColumn": start.1.max(1)});
    if end >= start
        && let Some(object) = region.as_object_mut()
    {
        object.insert("endLine".to_owned(), end.0.into());
        object.insert("endColumn".to_owned(), end.1.into());
    }
    region
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// The middle of what code-scanning viewers take for each word.
const fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
    }
}

/// A path as a reference of a URI: relative paths stay relative.
fn uri(path: &str) -> String {
    let path = normal(path);
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _infallible = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
