//! Writes docs/reference from the types and programs, and can check that nothing changed.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::{build, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fails when a file of docs/reference is not what would be written now.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Runs the generator; see `xtask/generate`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    build::run(build::Profile::Dev)?;
    let into = shell::root().join("docs/reference");
    let generate = shell::target().join("debug/xtask-generate");
    let summary = shell::root().join("docs/SUMMARY.md");
    if !arguments.check {
        shell::run(Command::new(generate).arg(shell::programs()).arg(&into))?;
        let text = with_rules(&std::fs::read_to_string(&summary)?, &into.join("rules"))?;
        return Ok(std::fs::write(&summary, text)?);
    }
    let fresh = shell::target().join("casemate/reference");
    // What is no longer written must not stand there from an earlier time.
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    std::fs::create_dir_all(&fresh)?;
    shell::run(Command::new(generate).arg(shell::programs()).arg(&fresh))?;
    let mut stale = compare(&fresh, &into)?;
    stale.extend(left_over(&fresh.join("rules"), &into.join("rules"))?);
    let text = std::fs::read_to_string(&summary)?;
    if with_rules(&text, &fresh.join("rules"))? != text {
        stale.push(shell::relative(&summary));
    }
    if !stale.is_empty() {
        bail!(
            "not up to date: {}; run `cargo xtask generate`",
            stale.join(", ")
        );
    }
    println!("generate: docs/reference is up to date");
    Ok(())
}

/// The files that are not what was written now.
fn compare(fresh: &Path, committed: &Path) -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(fresh)? {
        let entry = entry?;
        let (path, other) = (entry.path(), committed.join(entry.file_name()));
        if path.is_dir() {
            stale.extend(compare(&path, &other)?);
        } else if std::fs::read(&other).unwrap_or_default() != std::fs::read(&path)? {
            stale.push(shell::relative(&other));
        }
    }
    Ok(stale)
}

/// The pages of things that are no more.
fn left_over(fresh: &Path, committed: &Path) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(committed)? {
        let entry = entry?;
        if !fresh.join(entry.file_name()).exists() {
            left.push(format!("{} (remove it)", shell::relative(&entry.path())));
        }
    }
    Ok(left)
}

/// The summary with a line for each page of a rule, below their index: the book shows no page without one.
fn with_rules(summary: &str, pages: &Path) -> anyhow::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(pages)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(RULE) {
            let page = std::fs::read_to_string(&path)?;
            let title = page
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("# ")
                .to_owned();
            names.push(format!("  - [{title}](reference/rules/{name}.md)\n"));
        }
    }
    names.sort();
    let mut text = String::new();
    for line in summary
        .lines()
        .filter(|line| !line.starts_with(&format!("  - [{RULE}")))
    {
        text.push_str(line);
        text.push('\n');
        if line.contains("(reference/rules/README.md)") {
            text.extend(names.iter().map(String::as_str));
        }
    }
    Ok(text)
}

const RULE: &str = "AI-";
