//! The page of a rule, for a terminal and for the documents.

use std::fmt::Write as _;

use crate::report::wrapped;
use crate::rule::{Group, Rule};

/// The page of a rule for a terminal of `width` characters.
#[must_use]
pub fn text(rule: &Rule, width: usize) -> String {
    let mut page = format!("{}  {}  {}\n", rule.id, rule.severity.as_str(), rule.title);
    for (heading, words) in [("why", rule.why), ("fix", rule.fix)] {
        // Writing to a text cannot fail.
        let _infallible = writeln!(page, "\n{heading}");
        for line in wrapped(words, width.saturating_sub(2)) {
            let _infallible = writeln!(page, "  {line}");
        }
    }
    page.push_str("\nmaps to\n");
    for map in rule.maps {
        let _infallible = writeln!(page, "  {map:<18} {}", framework(map));
    }
    let _infallible = writeln!(
        page,
        "\nto live with it, on the workload\n  {}: \"{} until YEAR-MONTH-DAY: why it is safe here\"",
        crate::suppress::ANNOTATION,
        rule.id
    );
    page
}

/// The page of a rule as Markdown. `examples` are a failing and a passing document.
#[must_use]
pub fn markdown(rule: &Rule, fails: Option<&Example>, passes: Option<&Example>) -> String {
    let mut page = format!(
        "# {}: {}\n\nSeverity **{}** · {}\n\n## Why\n\n{}\n\n## Fix\n\n{}\n",
        rule.id,
        rule.title,
        rule.severity.as_str(),
        group(rule.group),
        rule.why,
        rule.fix
    );
    for (heading, example) in [("This is found", fails), ("This is not", passes)] {
        if let Some(example) = example {
            let fence = if example.text.contains("```") {
                "````"
            } else {
                "```"
            };
            let _infallible = write!(
                page,
                "\n## {heading}\n\n{fence}{}\n{}\n{fence}\n",
                example.language,
                example.text.trim_end()
            );
        }
    }
    page.push_str("\n## Maps to\n\n");
    for map in rule.maps {
        let _infallible = writeln!(page, "- {map} ({})", framework(map));
    }
    page
}

/// A document that shows a rule.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it is written in, as a code block names it.
    pub language: String,
    /// The document.
    pub text: String,
}

/// A rule's group in words.
#[must_use]
pub const fn group(group: Group) -> &'static str {
    match group {
        Group::Server => "inference servers",
        Group::Weights => "weights and keys",
        Group::Accelerator => "accelerators and nodes",
        Group::Hardening => "any workload",
    }
}

/// What a mapping's name belongs to.
#[must_use]
pub fn framework(map: &str) -> &'static str {
    let starts = |start: &str| map.starts_with(start);
    if starts("AML.") {
        "MITRE ATLAS"
    } else if starts("LLM") {
        "OWASP Top 10 for LLM applications, 2025"
    } else if starts("CIS-Docker") {
        "CIS Docker Benchmark"
    } else if starts("CIS") {
        "CIS Kubernetes Benchmark"
    } else if starts("NIST") {
        "NIST special publication"
    } else if starts("CVE-") {
        "a published vulnerability"
    } else if starts("SLSA") {
        "SLSA"
    } else if starts("K") {
        "OWASP Kubernetes Top Ten"
    } else if starts("T") {
        "MITRE ATT&CK"
    } else {
        "other"
    }
}
