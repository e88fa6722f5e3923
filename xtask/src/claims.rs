//! CLAIMS.md and tests/claims must name each other, both ways; then the claims are run.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, bail};

use crate::{build, setup, shell, test};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only checks the table.
    #[arg(long)]
    pub(crate) table: bool,
    /// Only claims whose name contains this.
    pub(crate) filter: Option<String>,
}

/// Checks the table and, unless told otherwise, runs every claim.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_table()?;
    if arguments.table {
        return Ok(());
    }
    setup::run(&setup::Arguments {
        no_install: false,
        purpose: setup::Purpose::Test,
    })?;
    build::run(build::Profile::Dev)?;
    let selection = ["--package".to_owned(), "casemate-claims".to_owned()];
    test::run_selected(&selection, arguments.filter.as_deref())
}

/// Fails when a claim names no test, a test no claim, or a number is used twice.
pub(crate) fn check_table() -> anyhow::Result<()> {
    let text = fs::read_to_string(shell::root().join("CLAIMS.md")).context("CLAIMS.md")?;
    let claimed = parse(&text)?;
    let directory = shell::root().join("tests/claims/src");
    let mut faults = Vec::new();
    for (number, file) in &claimed {
        let Ok(source) = fs::read_to_string(directory.join(file)) else {
            faults.push(format!("{number} names {file}, which is not there"));
            continue;
        };
        if !source.contains("#[test]") {
            faults.push(format!("{number}: {file} has no test"));
        }
        let prefix = number.to_lowercase();
        if !file.starts_with(&format!("{prefix}_")) {
            faults.push(format!(
                "{number} is held by {file}; its name should start with {prefix}_"
            ));
        }
    }
    for path in shell::files(&directory, "rs")? {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let numbered = name.starts_with('c')
            && name
                .get(1..3)
                .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        if numbered && !claimed.values().any(|file| *file == name) {
            faults.push(format!(
                "tests/claims/src/{name} holds no claim of CLAIMS.md"
            ));
        }
    }
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!(
            "CLAIMS.md and tests/claims disagree in {} places",
            faults.len()
        );
    }
    println!("claims: {} in the table, each with its test", claimed.len());
    Ok(())
}

/// The rows `| C01 | promise | \`c01_file.rs\` | ... |`.
fn parse(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut claimed = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(number) = cells.get(1).filter(|cell| {
            cell.len() == 3
                && cell.starts_with('C')
                && cell.bytes().skip(1).all(|b| b.is_ascii_digit())
        }) else {
            continue;
        };
        let file = cells
            .iter()
            .flat_map(|cell| cell.split('`'))
            .find(|word| word.ends_with(".rs"))
            .with_context(|| format!("{number} names no test"))?;
        if claimed
            .insert((*number).to_owned(), file.to_owned())
            .is_some()
        {
            bail!("{number} is there twice");
        }
    }
    if claimed.is_empty() {
        bail!("CLAIMS.md has no rows");
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_row_names_its_number_and_its_file() {
        let rows = parse("| C07 | no egress | `c07_no_egress.rs` | runc |\n").unwrap();
        assert_eq!(
            rows.get("C07").map(String::as_str),
            Some("c07_no_egress.rs")
        );
    }

    #[test]
    fn a_number_used_twice_is_refused() {
        assert!(parse("| C07 | a | `c07_a.rs` |\n| C07 | b | `c07_b.rs` |\n").is_err());
    }

    #[test]
    fn a_claim_without_a_test_is_refused() {
        assert!(parse("| C07 | a | later |\n").is_err());
    }
}
