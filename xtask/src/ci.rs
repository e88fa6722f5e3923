//! Everything that must hold before a change lands, in order, stopping at the first failure.

use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    arrows, build, claims, demo, docs, fuzz, generate, hardening, lint, setup, shell, test,
};

/// What a step does.
type Step = fn() -> anyhow::Result<()>;

/// Runs each step and prints how long it took.
pub(crate) fn run() -> anyhow::Result<()> {
    let steps: &[(&str, Step)] = &[
        ("setup", || {
            setup::run(&setup::Arguments {
                no_install: false,
                purpose: setup::Purpose::Test,
            })
        }),
        ("arrows", arrows::run),
        ("claims table", claims::check_table),
        ("docs", docs::check),
        ("build", || build::run(build::Profile::Dev).map(drop)),
        ("lint", lint::check),
        ("hardening", hardening::run),
        ("generate --check", || {
            generate::run(&generate::Arguments { check: true })
        }),
        ("test, claims, end to end", || {
            test::run(&test::Arguments {
                filter: None,
                unprivileged: !shell::is_root(),
            })
        }),
        ("fuzz-smoke", fuzz::run),
        ("demo", check_demo),
    ];
    for (name, step) in steps {
        println!("== {name}");
        let start = Instant::now();
        step().with_context(|| format!("ci: {name}"))?;
        println!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
    }
    println!("ci: everything held");
    Ok(())
}

/// Runs the demonstration and checks the object it ends with against what the issue promises.
fn check_demo() -> anyhow::Result<()> {
    if !shell::is_root() {
        println!("SKIP: the demonstration needs root");
        return Ok(());
    }
    let printed = demo::captured()?;
    let line = printed.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(line).context("the last line is no JSON object")?;
    let mut faults = Vec::new();
    let mut demand = |held: bool, what: &str| {
        if !held {
            faults.push(what.to_owned());
        }
    };
    let count = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64);
    let answer = summary
        .get("answer")
        .and_then(Value::as_str)
        .unwrap_or_default();
    demand(answer.len() > 10, "an answer");
    demand(
        count("/first_token_ms").is_some(),
        "a time to the first token",
    );
    let passed_on = summary.get("passed_on").and_then(Value::as_str);
    demand(
        passed_on.is_some_and(|text| text.contains("[e-mail]") && !text.contains('@')),
        "a question that reached the model masked",
    );
    let refusals = summary.get("refusals").and_then(Value::as_array);
    let refusals = refusals.map(Vec::as_slice).unwrap_or_default();
    demand(refusals.len() >= 9, "nine refusals or more");
    for refusal in refusals {
        let named = |key: &str| {
            refusal
                .get(key)
                .and_then(Value::as_str)
                .is_some_and(|t| !t.is_empty())
        };
        demand(
            named("name") && named("reason") && named("by"),
            "each refusal with reason and decider",
        );
    }
    demand(
        count("/probe/checks").is_some_and(|checks| checks >= 45),
        "45 checks or more",
    );
    let unexpected = summary
        .pointer("/probe/open_unexpected")
        .and_then(Value::as_array);
    demand(
        unexpected.is_some_and(Vec::is_empty),
        "no check open beyond the argued list",
    );
    demand(
        count("/probe/inconclusive") == Some(0),
        "a verdict for every check",
    );
    demand(
        count("/receipts/count").is_some_and(|count| count >= 5),
        "receipts",
    );
    demand(
        summary.pointer("/receipts/verified") == Some(&Value::Bool(true)),
        "verified receipts",
    );
    let leftovers = summary.get("leftovers").and_then(Value::as_array);
    demand(leftovers.is_some_and(Vec::is_empty), "nothing left over");
    if !faults.is_empty() {
        bail!(
            "the demonstration did not show: {}\n{line}",
            faults.join("; ")
        );
    }
    println!("demo: {line}");
    Ok(())
}
