//! Findings as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write as _;

use casemate_core::finding::{Category, Finding, Layer, Step, Verdict};

use super::table::{why_unknown, word};
use super::{Standing, open, subject};
use crate::catalogue;
use crate::evidence::Statement;

/// The page for one statement.
#[must_use]
pub fn html(statement: &Statement) -> String {
    let mut page = String::with_capacity(256 << 10);
    head(&mut page, statement);
    numbers(&mut page, statement);
    attention(&mut page, statement);
    layers(&mut page, statement);
    for category in Category::ALL {
        section(&mut page, category, statement);
    }
    circumstances(&mut page, statement);
    put(&mut page, "</main></body></html>\n");
    page
}

fn put(page: &mut String, text: &str) {
    page.push_str(text);
}

macro_rules! put {
    // Writing to a text cannot fail.
    ($page:expr, $($rest:tt)*) => { let _infallible = write!($page, $($rest)*); };
}

/// Text from a sandbox is never trusted to be harmless in a page.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() && letter != '\n' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

fn head(page: &mut String, statement: &Statement) {
    let name = escape(subject(statement));
    put(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
    );
    put(
        page,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
    );
    put(
        page,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
    );
    put!(
        page,
        "<title>Isolation of {name}</title><style>{}</style></head><body><main>",
        STYLE
    );
    put!(
        page,
        "<header><p class=\"kicker\">Casemate isolation report</p><h1>{name}</h1><p class=\"lead\">{}</p></header>",
        lead(statement)
    );
}

fn lead(statement: &Statement) -> String {
    let unexpected = standing(statement, Standing::Open);
    let unknown = standing(statement, Standing::Unknown);
    let checks = statement.predicate.summary.checks;
    match (unexpected, unknown) {
        (0, 0) => format!(
            "{checks} attacks were tried from inside. Nothing is open beyond what is argued below."
        ),
        (0, unknown) => format!(
            "{checks} attacks were tried from inside. {unknown} could not be judged, and do not count as held."
        ),
        (open, _) => format!(
            "{checks} attacks were tried from inside. {open} succeeded that should not have."
        ),
    }
}

fn standing(statement: &Statement, standing: Standing) -> usize {
    statement
        .findings()
        .filter(|finding| Standing::of(finding) == standing)
        .count()
}

fn numbers(page: &mut String, statement: &Statement) {
    let summary = &statement.predicate.summary;
    let expected = standing(statement, Standing::ExpectedOpen);
    let unexpected = standing(statement, Standing::Open);
    put(page, "<dl class=\"numbers\">");
    for (class, label, count) in [
        ("held", "blocked", summary.blocked),
        ("open", "open", u64::try_from(unexpected).unwrap_or(0)),
        (
            "expected",
            "open, expected",
            u64::try_from(expected).unwrap_or(0),
        ),
        ("unknown", "could not tell", summary.inconclusive),
        ("none", "not applicable", summary.not_applicable),
    ] {
        put!(
            page,
            "<div class=\"{class}\"><dt>{label}</dt><dd>{count}</dd></div>"
        );
    }
    put(page, "</dl>");
    let total = summary.checks.max(1);
    put(page, "<div class=\"bar\" aria-hidden=\"true\">");
    for (class, count) in [
        ("held", summary.blocked),
        ("open", u64::try_from(unexpected).unwrap_or(0)),
        ("expected", u64::try_from(expected).unwrap_or(0)),
        ("unknown", summary.inconclusive),
        ("none", summary.not_applicable),
    ] {
        let share = count.saturating_mul(1_000) / total;
        if count > 0 {
            put!(
                page,
                "<span class=\"{class}\" style=\"flex-grow:{share}\"></span>"
            );
        }
    }
    put(page, "</div>");
}

fn attention(page: &mut String, statement: &Statement) {
    let unexpected: Vec<&Finding> = statement
        .findings()
        .filter(|finding| Standing::of(finding) == Standing::Open)
        .collect();
    if !unexpected.is_empty() {
        put(page, "<section class=\"alert\"><h2>Open</h2><ul>");
        for finding in unexpected {
            let means = catalogue::entry(&finding.check).map_or("", |entry| entry.open_means);
            put!(
                page,
                "<li><a href=\"#{0}\"><code>{0}</code> {1}</a>: {2}.</li>",
                escape(&finding.check),
                escape(&finding.title),
                escape(means)
            );
        }
        put(page, "</ul></section>");
    }
    let unknown: Vec<&Finding> = statement
        .findings()
        .filter(|finding| Standing::of(finding) == Standing::Unknown)
        .collect();
    if !unknown.is_empty() {
        put(page, "<section class=\"doubt\"><h2>Could not tell</h2><ul>");
        for finding in unknown {
            put!(
                page,
                "<li><a href=\"#{0}\"><code>{0}</code> {1}</a>: {2}.</li>",
                escape(&finding.check),
                escape(&finding.title),
                escape(&why_unknown(finding))
            );
        }
        put(page, "</ul></section>");
    }
    let argued: Vec<_> = open(statement.findings())
        .filter(|(finding, _)| Standing::of(finding) == Standing::ExpectedOpen)
        .filter_map(|(finding, expected)| expected.map(|expected| (finding, expected)))
        .collect();
    if !argued.is_empty() {
        put(
            page,
            "<section><h2>What stays open, and why</h2><table class=\"argued\"><thead><tr><th scope=\"col\">Check</th><th scope=\"col\">Left open because</th><th scope=\"col\">Limited by</th></tr></thead><tbody>",
        );
        for (finding, expected) in argued {
            put!(
                page,
                "<tr><th scope=\"row\"><a href=\"#{0}\"><code>{0}</code></a> {1}</th><td>{2}</td><td>{3}</td></tr>",
                escape(&finding.check),
                escape(&finding.title),
                escape(expected.reason),
                escape(expected.limited_by)
            );
        }
        put(page, "</tbody></table></section>");
    }
}

/// How often each layer was the one that refused, as bars.
fn layers(page: &mut String, statement: &Statement) {
    let mut counts: Vec<(Layer, u64)> = Vec::new();
    for layer in statement.findings().filter_map(|finding| finding.layer) {
        match counts.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, count)) => *count += 1,
            None => counts.push((layer, 1)),
        }
    }
    counts.sort_by_key(|(layer, count)| (std::cmp::Reverse(*count), *layer));
    let most = counts.first().map_or(1, |(_, count)| *count).max(1);
    put(
        page,
        "<section><h2>Which layer refused</h2><dl class=\"layers\">",
    );
    for (layer, count) in counts {
        let share = count.saturating_mul(100) / most;
        put!(
            page,
            "<div><dt>{layer}</dt><dd><span class=\"fill\" style=\"width:{share}%\" aria-hidden=\"true\"></span><span class=\"count\">{count}</span></dd></div>"
        );
    }
    put(page, "</dl></section>");
}

fn section(page: &mut String, category: Category, statement: &Statement) {
    let findings: Vec<&Finding> = statement
        .findings()
        .filter(|finding| finding.category == category)
        .collect();
    if findings.is_empty() {
        return;
    }
    put!(page, "<section><h2>{}</h2>", category.heading());
    for finding in findings {
        row(page, finding);
    }
    put(page, "</section>");
}

fn class(finding: &Finding) -> &'static str {
    match Standing::of(finding) {
        Standing::Open => "open",
        Standing::ExpectedOpen => "expected",
        Standing::Unknown => "unknown",
        Standing::Held if finding.verdict == Verdict::NotApplicable => "none",
        Standing::Held => "held",
    }
}

fn row(page: &mut String, finding: &Finding) {
    let id = escape(&finding.check);
    let layer = finding.layer.map_or("", Layer::word);
    put!(
        page,
        "<details id=\"{id}\" class=\"{}\"><summary><code>{id}</code><span class=\"title\">{}</span><span class=\"layer\">{layer}</span><span class=\"verdict\">{}</span></summary>",
        class(finding),
        escape(&finding.title),
        word(finding)
    );
    if let Some(entry) = catalogue::entry(&finding.check) {
        put!(
            page,
            "<p>Tries: {}.</p><p>Open would mean: {}.</p>",
            escape(entry.tries),
            escape(entry.open_means)
        );
    }
    put!(
        page,
        "<p class=\"meta\">{} · {} ms{}{}</p>",
        escape(&finding.techniques.join(" ")),
        finding.millis,
        finding
            .evidence
            .witnessed
            .map_or(String::new(), |seen| format!(
                " · witness reached {seen} times"
            )),
        finding
            .evidence
            .ended
            .as_ref()
            .map_or(String::new(), |ended| format!(
                " · ended: {}",
                escape(ended)
            )),
    );
    if let Some(control) = &finding.control {
        put!(
            page,
            "<p class=\"meta\">Control {}: {} {}</p>",
            if control.worked { "worked" } else { "failed" },
            escape(&control.tried),
            escape(&control.detail)
        );
    }
    put(
        page,
        "<table><thead><tr><th scope=\"col\">Step</th><th scope=\"col\">Verdict</th><th scope=\"col\">Layer</th><th scope=\"col\">Error</th><th scope=\"col\">Seen</th></tr></thead><tbody>",
    );
    for step in &finding.evidence.steps {
        put_step(page, step);
    }
    put(page, "</tbody></table></details>");
}

fn put_step(page: &mut String, step: &Step) {
    put!(
        page,
        "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&step.tried),
        step.verdict.word().replace('_', " "),
        step.layer.map_or("", Layer::word),
        escape(step.errno.as_deref().unwrap_or("")),
        escape(&step.detail)
    );
}

fn circumstances(page: &mut String, statement: &Statement) {
    let predicate = &statement.predicate;
    let digest = statement
        .subject
        .first()
        .and_then(|subject| subject.digest.get("sha256"));
    put(
        page,
        "<section><h2>Circumstances</h2><table class=\"facts\"><tbody>",
    );
    let started = casemate_core::time::UnixTime(predicate.started).rfc3339();
    for (name, value) in [
        ("Plan, SHA-256", digest.map_or("", String::as_str)),
        ("Nonce", predicate.nonce.as_str()),
        ("Order, SHA-256", predicate.order_sha256.as_str()),
        ("Started", started.as_str()),
        ("Runtime", predicate.runtime.as_str()),
        ("Kernel", predicate.kernel.as_str()),
        ("Probed as", predicate.identity.as_str()),
        ("Technique ids from", predicate.catalogues.as_str()),
    ] {
        put!(
            page,
            "<tr><th scope=\"row\">{name}</th><td><code>{}</code></td></tr>",
            escape(value)
        );
    }
    for (name, digest) in &predicate.programs {
        put!(
            page,
            "<tr><th scope=\"row\">{}, SHA-256</th><td><code>{}</code></td></tr>",
            escape(name),
            escape(digest)
        );
    }
    put!(
        page,
        "<tr><th scope=\"row\">Sent towards canaries</th><td>{} of at most {}; {} reached the witness, {} strangers did</td></tr>",
        predicate.sent,
        predicate.send_budget,
        predicate.arrivals.values().sum::<u64>(),
        predicate.strangers
    );
    put(
        page,
        "</tbody></table><p class=\"meta\">This page is a view of the signed evidence. Only the evidence can be verified.</p></section>",
    );
}

const STYLE: &str = include_str!("style.css");
