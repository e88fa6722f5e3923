//! Writes docs/reference from the types and programs: `xtask-generate PROGRAMS INTO`.
//!
//! What is written here is never edited by hand; `cargo xtask generate --check` fails when it is stale.

mod checks;
mod cli;
mod profiles;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let programs = words
        .next()
        .context("usage: xtask-generate PROGRAMS INTO")?;
    let into = words
        .next()
        .context("usage: xtask-generate PROGRAMS INTO")?;
    fs::create_dir_all(&into)?;
    let write = |name: &str, text: String| fs::write(into.join(name), text);
    write(
        "enclosure.schema.json",
        pretty(&casemate_core::enclosure::json_schema())?,
    )?;
    write(
        "profile.schema.json",
        pretty(&casemate_core::profile::json_schema())?,
    )?;
    let openapi = output(&programs.join("casemated"), &["openapi"])?;
    write(
        "openapi.json",
        pretty(&serde_json::from_str(&openapi).context("openapi")?)?,
    )?;
    write("cli.md", cli::page(&programs.join("casemate"))?)?;
    write("checks.md", checks::page()?)?;
    rules::pages(&into.join("rules"))?;
    write("profiles.md", profiles::page()?)?;
    Ok(())
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// What a program prints on stdout.
fn output(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        // The width of help text shall not depend on who generates it.
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {}: {}",
        program.display(),
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
