//! The report as one HTML page that needs nothing else: no script at all, no font, no picture from elsewhere.
//!
//! The filters are style sheets that look at what is ticked. The page forbids itself scripts, so that nothing
//! a document says could ever be one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::clean::markup;
use super::table::{group_of, some};
use super::{Counts, Named, Report, Reported, WORST_FIRST};
use crate::catalogue;
use crate::explain::framework;

/// The report as a page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    let rules: BTreeSet<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    head(&mut page, &rules);
    top(&mut page, report);
    filters(&mut page, report, &rules);
    for (name, findings) in workloads(report) {
        section(&mut page, &name, &findings, report);
    }
    untold(&mut page, report);
    errors(&mut page, report);
    servers(&mut page, report);
    page.push_str("</main></body></html>\n");
    page
}

macro_rules! put {
    // Writing to a text cannot fail.
    ($page:expr, $($rest:tt)*) => { let _infallible = write!($page, $($rest)*); };
}

fn head(page: &mut String, rules: &BTreeSet<&str>) {
    put!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">\
         <meta name=\"referrer\" content=\"no-referrer\"><title>Casemate scan</title><style>{STYLE}"
    );
    for severity in WORST_FIRST {
        let word = severity.as_str();
        put!(
            page,
            "body:has(#show-{word}:not(:checked)) .finding.{word}{{display:none}}"
        );
    }
    for rule in rules {
        put!(
            page,
            "body:has(#rule option[value=\"{rule}\"]:checked) .finding:not([data-rule=\"{rule}\"]){{display:none}}"
        );
    }
    put!(page, "</style></head><body><main>");
}

fn top(page: &mut String, report: &Report) {
    let summary = &report.summary;
    let lead = match summary.findings.total() {
        0 => format!("Nothing was found by {} rules.", summary.rules),
        total => format!(
            "{total} finding{} by {} rules.",
            if total == 1 { "" } else { "s" },
            summary.rules
        ),
    };
    put!(
        page,
        "<header><p class=\"kicker\">Casemate scan</p><h1>{}</h1><p class=\"lead\">{lead} {} in {} of {}.{}</p></header><dl class=\"numbers\">",
        markup(&verdict(summary.findings)),
        some(summary.workloads, "workload"),
        some(summary.documents, "document"),
        some(summary.files, "file"),
        if report.is_whole() {
            ""
        } else {
            " Not everything could be read."
        }
    );
    for severity in WORST_FIRST {
        let word = severity.as_str();
        put!(
            page,
            "<div class=\"{word}\"><dt>{word}</dt><dd>{}</dd></div>",
            summary.findings.of(severity)
        );
    }
    for (label, count) in [
        ("not evaluable", report.not_evaluable.len()),
        ("suppressed", summary.suppressed),
    ] {
        put!(
            page,
            "<div class=\"none\"><dt>{label}</dt><dd>{count}</dd></div>"
        );
    }
    put!(page, "</dl>");
}

fn verdict(counts: Counts) -> String {
    let words = if counts.critical > 0 {
        "Do not run this as it is"
    } else if counts.high > 0 {
        "Mend this before it runs"
    } else if counts.medium > 0 {
        "It runs, behind weak walls"
    } else if counts.low > 0 {
        "Small things only"
    } else {
        "Nothing found"
    };
    words.to_owned()
}

fn filters(page: &mut String, report: &Report, rules: &BTreeSet<&str>) {
    if report.findings.is_empty() {
        return;
    }
    put!(
        page,
        "<form class=\"filters\" aria-label=\"Filter findings\"><fieldset><legend>Severity</legend>"
    );
    for severity in WORST_FIRST {
        let word = severity.as_str();
        put!(
            page,
            "<label class=\"{word}\"><input type=\"checkbox\" id=\"show-{word}\" checked> {word}</label>"
        );
    }
    put!(
        page,
        "</fieldset><label class=\"by-rule\">Rule <select id=\"rule\"><option value=\"\" selected>all {}</option>",
        rules.len()
    );
    for rule in rules {
        let title = catalogue::find(rule).map_or("", |rule| rule.title);
        put!(
            page,
            "<option value=\"{rule}\">{rule} {}</option>",
            markup(title)
        );
    }
    put!(page, "</select></label></form>");
}

/// Findings by workload, the worst first.
fn workloads(report: &Report) -> Vec<(Named, Vec<&Reported>)> {
    let mut groups: BTreeMap<Named, Vec<&Reported>> = BTreeMap::new();
    for finding in &report.findings {
        let name = group_of(&finding.workload, &finding.resource, &finding.file);
        groups.entry(name).or_default().push(finding);
    }
    let mut groups: Vec<(Named, Vec<&Reported>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, findings)| {
        let counts = counts(findings);
        std::cmp::Reverse(WORST_FIRST.map(|severity| counts.of(severity)))
    });
    groups
}

fn counts(findings: &[&Reported]) -> Counts {
    let mut counts = Counts::default();
    for finding in findings
        .iter()
        .filter(|finding| finding.suppressed.is_none())
    {
        counts.add(finding.severity);
    }
    counts
}

fn section(page: &mut String, name: &Named, findings: &[&Reported], report: &Report) {
    let title = name.title.as_str();
    let inside = format!("{title}/");
    let servers: BTreeSet<&str> = report
        .summary
        .servers
        .iter()
        .filter(|server| server.resource.starts_with(&inside))
        .map(|server| server.server.as_str())
        .collect();
    let servers: Vec<String> = servers.into_iter().map(markup).collect();
    let counts = counts(findings);
    put!(
        page,
        "<section><h2><bdi>{}</bdi>{}</h2><p class=\"verdict\"><code><bdi>{}</bdi></code> · {}{}</p>",
        markup(title),
        servers.iter().fold(String::new(), |all, server| all
            + " <span class=\"server\">"
            + server
            + "</span>"),
        markup(&name.file),
        markup(&verdict(counts)),
        match counts.words() {
            words if words.is_empty() => String::new(),
            words => format!(": {words}"),
        }
    );
    for finding in findings {
        self::finding(page, finding, title);
    }
    put!(page, "</section>");
}

fn finding(page: &mut String, finding: &Reported, group: &str) {
    let word = finding.severity.as_str();
    let rule = catalogue::find(finding.rule);
    let title = rule.map_or("", |rule| rule.title);
    let off = finding.suppressed.is_some();
    put!(
        page,
        "<details class=\"finding {word}{}\" data-rule=\"{}\"{}><summary><span class=\"word\">{word}</span><code>{}</code><span class=\"title\">{}</span><code class=\"place\"><bdi>{}</bdi>:{}:{}</code></summary>",
        if off { " off" } else { "" },
        finding.rule,
        if off || finding.severity < crate::rule::Severity::High {
            ""
        } else {
            " open"
        },
        finding.rule,
        markup(title),
        markup(&finding.file),
        finding.line,
        finding.column
    );
    if finding.resource != group {
        put!(
            page,
            "<p class=\"meta\"><bdi>{}</bdi></p>",
            markup(&finding.resource)
        );
    }
    put!(page, "<p><bdi>{}</bdi></p>", words(&finding.message));
    put!(
        page,
        "<p><strong>Fix.</strong> <bdi>{}</bdi>{}</p>",
        words(&finding.fix),
        if finding.fixable {
            " <span class=\"tag\">--fix does it</span>"
        } else {
            ""
        }
    );
    if let Some(suppressed) = &finding.suppressed {
        let until = suppressed
            .expires
            .as_ref()
            .map_or_else(String::new, |day| format!(" until {day}"));
        put!(
            page,
            "<p class=\"meta\">Suppressed{}: <bdi>{}</bdi></p>",
            markup(&until),
            markup(&suppressed.reason)
        );
    }
    if let Some(rule) = rule {
        put!(page, "<p class=\"why\">{}</p>", words(rule.why));
    }
    put!(page, "<p class=\"meta\">");
    for map in finding.mappings {
        put!(
            page,
            "<span class=\"tag\" title=\"{}\">{}</span> ",
            framework(map),
            markup(map)
        );
    }
    put!(page, "<code>{}</code></p></details>", finding.fingerprint);
}

/// Text with what stands in backticks set as code.
fn words(text: &str) -> String {
    let text = markup(text);
    let parts: Vec<&str> = text.split('`').collect();
    // An odd backtick is one that was meant.
    if parts.len().is_multiple_of(2) {
        return text;
    }
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => (*part).to_owned(),
            _ => format!("<code>{part}</code>"),
        })
        .collect()
}

fn untold(page: &mut String, report: &Report) {
    if report.not_evaluable.is_empty() {
        return;
    }
    put!(
        page,
        "<section><h2>Not evaluable</h2><p class=\"verdict\">These could not be told, which is not the same as right.</p><table><thead><tr><th scope=\"col\">Rule</th><th scope=\"col\">Where</th><th scope=\"col\">What is missing</th></tr></thead><tbody>"
    );
    for untold in &report.not_evaluable {
        put!(
            page,
            "<tr><td><code>{}</code></td><td><code><bdi>{}</bdi>:{}:{}</code><br><bdi>{}</bdi></td><td><bdi>{}</bdi></td></tr>",
            untold.rule.unwrap_or("document"),
            markup(&untold.file),
            untold.line,
            untold.column,
            markup(&untold.resource),
            markup(&untold.message)
        );
    }
    put!(page, "</tbody></table></section>");
}

fn errors(page: &mut String, report: &Report) {
    if report.errors.is_empty() {
        return;
    }
    put!(page, "<section class=\"alert\"><h2>Errors</h2><ul>");
    for error in &report.errors {
        put!(
            page,
            "<li><code><bdi>{}</bdi>:{}:{}</code> <bdi>{}</bdi></li>",
            markup(&error.file),
            error.line,
            error.column,
            markup(&error.message)
        );
    }
    put!(page, "</ul></section>");
}

fn servers(page: &mut String, report: &Report) {
    if report.summary.servers.is_empty() {
        return;
    }
    put!(
        page,
        "<section><h2>Servers recognised</h2><table><thead><tr><th scope=\"col\">Container</th><th scope=\"col\">Server</th><th scope=\"col\">By</th></tr></thead><tbody>"
    );
    for server in &report.summary.servers {
        put!(
            page,
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td><bdi>{}</bdi></td></tr>",
            markup(&server.resource),
            markup(&server.server),
            markup(&server.because.join("; "))
        );
    }
    put!(page, "</tbody></table></section>");
}

const STYLE: &str = include_str!("style.css");
