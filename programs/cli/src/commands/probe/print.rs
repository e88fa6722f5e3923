//! Findings for people: a short table, the whole one, or a page.

use std::path::{Path, PathBuf};

use casemate_isolation::evidence::Statement;
use casemate_isolation::report::{self, Columns, Standing};

use super::{Report, StageReport};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;

/// Prints the findings and their sum.
pub(super) fn findings(context: &Context<'_>, report: &Report, all: bool) -> Result<(), Failure> {
    if all {
        for stage in &report.stages {
            let table = report::table(&stage.findings, Columns::default());
            context
                .output
                .data(&format!("{}\n\n{table}", stage.name()))?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["STAGE", "CHECK", "VERDICT", "LAYER", "WHAT WAS TRIED"]);
    for stage in &report.stages {
        rows(&mut table, stage);
    }
    if !table.is_empty() {
        context.output.data(&table.text())?;
    }
    let sum = report.summary;
    context.output.data(&format!(
        "{} checks: {} blocked, {} open, {} inconclusive, {} not applicable",
        sum.checks, sum.blocked, sum.open, sum.inconclusive, sum.not_applicable
    ))
}

fn rows(table: &mut Table, stage: &StageReport) {
    for finding in &stage.findings {
        let verdict = match Standing::of(finding) {
            Standing::Held => continue,
            Standing::ExpectedOpen => "open, argued".to_owned(),
            Standing::Open | Standing::Unknown => finding.verdict.to_string(),
        };
        table.row([
            stage.name(),
            finding.check.clone(),
            verdict,
            finding
                .layer
                .map_or_else(|| "-".to_owned(), |layer| layer.to_string()),
            finding.title.clone(),
        ]);
    }
}

/// Writes a page for each stage: to `path`, or beside it with the stage's name in it when there are several.
pub(super) fn pages(
    context: &Context<'_>,
    path: &Path,
    statements: &[Statement],
) -> Result<(), Failure> {
    for statement in statements {
        let stage = statement
            .subject
            .first()
            .map_or("stage", |subject| subject.name.as_str());
        let place = if statements.len() == 1 {
            path.to_owned()
        } else {
            beside(path, stage)
        };
        std::fs::write(&place, report::html(statement)).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot write `{}`", place.display())).because(&error)
        })?;
        context
            .output
            .say(&format!("the page of {stage} is `{}`", place.display()));
    }
    Ok(())
}

/// `report.html` for `chat/infer` becomes `report-chat-infer.html`.
fn beside(path: &Path, stage: &str) -> PathBuf {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let extension = path
        .extension()
        .unwrap_or("html".as_ref())
        .to_string_lossy()
        .into_owned();
    path.with_file_name(format!("{stem}-{}.{extension}", stage.replace('/', "-")))
}
