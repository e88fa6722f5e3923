//! Runs the tests, and makes every skipped one visible.
//!
//! A test that cannot run here prints `SKIP: reason` and passes; this collects those lines from all
//! test output, prints each and counts them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::{build, setup, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this.
    pub(crate) filter: Option<String>,
    /// Leaves out the privileged tiers (claims and end-to-end).
    #[arg(long)]
    pub(crate) unprivileged: bool,
}

/// Builds the programs, then runs all tests of the workspace.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.unprivileged && shell::is_root() {
        setup::run(&setup::Arguments {
            no_install: false,
            purpose: setup::Purpose::Test,
        })?;
        build::run(build::Profile::Dev)?;
    }
    let mut selection = vec!["--workspace".to_owned()];
    if arguments.unprivileged {
        selection.extend(
            PRIVILEGED
                .iter()
                .flat_map(|name| ["--exclude".into(), (*name).into()]),
        );
    }
    run_selected(&selection, arguments.filter.as_deref())
}

/// Runs the tests of the selected packages (`--workspace`, `--package x`, ...).
pub(crate) fn run_selected(selection: &[String], filter: Option<&str>) -> anyhow::Result<()> {
    let nextest = shell::has_program("cargo-nextest")
        || shell::output(shell::cargo().args(["nextest", "--version"])).is_ok();
    let (passed, skips) = if nextest {
        with_nextest(selection, filter)?
    } else {
        with_cargo_test(selection, filter)?
    };
    report(&skips);
    if !passed {
        bail!("tests failed");
    }
    Ok(())
}

fn report(skips: &[String]) {
    for skip in skips {
        println!("{skip}");
    }
    println!(
        "skipped for want of something on this machine: {}",
        skips.len()
    );
}

fn with_nextest(selection: &[String], filter: Option<&str>) -> anyhow::Result<(bool, Vec<String>)> {
    let report = shell::target().join("nextest/default/junit.xml");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let mut command = shell::cargo();
    command
        .args(["nextest", "run", "--cargo-quiet", "--no-fail-fast"])
        .args(selection);
    command.args(filter);
    environment(&mut command);
    let status = command.status().context("cannot start cargo nextest")?;
    let text = fs::read_to_string(&report).unwrap_or_default();
    Ok((
        status.success(),
        text.lines().filter_map(skip_line).collect(),
    ))
}

fn with_cargo_test(
    selection: &[String],
    filter: Option<&str>,
) -> anyhow::Result<(bool, Vec<String>)> {
    let mut command = shell::cargo();
    command
        .args(["test", "--quiet", "--no-fail-fast"])
        .args(selection)
        .args(filter);
    command
        .args(["--", "--nocapture", "--test-threads=2"])
        .stdout(Stdio::piped());
    environment(&mut command);
    let mut child = command.spawn().context("cannot start cargo test")?;
    let mut skips = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            match skip_line(&line) {
                Some(skip) => skips.push(skip),
                None => println!("{line}"),
            }
        }
    }
    Ok((child.wait()?.success(), skips))
}

fn environment(command: &mut std::process::Command) {
    command
        .env("CASEMATE_BIN", shell::programs())
        .env("CASEMATE_TOOLS", shell::tools());
    command.env("INSTA_UPDATE", "no");
}

/// The `SKIP: reason` in a line of output, which in a report may stand inside XML.
fn skip_line(line: &str) -> Option<String> {
    let (_, reason) = line.split_once("SKIP: ")?;
    let reason = reason.split("</").next().unwrap_or(reason);
    Some(format!(
        "SKIP: {}",
        reason
            .replace("&apos;", "'")
            .replace("&quot;", "\"")
            .trim_end()
    ))
}

const PRIVILEGED: &[&str] = &["casemate-claims", "casemate-e2e"];

#[cfg(test)]
mod tests {
    use super::skip_line;

    #[test]
    fn a_skip_is_found_inside_a_report_and_outside() {
        assert_eq!(
            skip_line("SKIP: no /dev/fuse").as_deref(),
            Some("SKIP: no /dev/fuse")
        );
        let xml = "<system-out>SKIP: needs &quot;root&quot;</system-out>";
        assert_eq!(skip_line(xml).as_deref(), Some("SKIP: needs \"root\""));
        assert_eq!(skip_line("test passes ... ok"), None);
    }
}
