//! `casemate probe`: attacks stages from inside, through the daemon, and reports what held.

use std::path::PathBuf;

use casemate_api::v1::{ProbeLine, ProbeRequest, ProbeSummary};
use casemate_core::finding::{Finding, Verdict};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::stage::StageName;

/// Attacks stages from inside and reports what held.
///
/// A prober is started inside each stage's sandbox, under the same walls as its server, with a witness
/// outside. Exits with 1 when an attack worked, and with 2 when one could not be judged.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate probe                          all stages
  casemate probe infer --all              every check, not only those that need a person
  casemate probe --html report.html       a page to hand on
  casemate probe --json > probe.json      with the signed evidence")]
pub(crate) struct Arguments {
    /// The stage; all when absent.
    #[arg(value_name = "STAGE")]
    stage: Option<StageName>,
    /// Lists every check, also those that were blocked.
    #[arg(long)]
    all: bool,
    /// Writes a page with every finding and its evidence.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What was found in one stage.
#[derive(Debug, Serialize)]
struct StageReport {
    enclosure: String,
    stage: String,
    findings: Vec<Finding>,
    evidence: Option<serde_json::Value>,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let request = match &arguments.stage {
        None => ProbeRequest::default(),
        Some(stage) => {
            let (enclosure, stage) = stage.running(context).await?;
            ProbeRequest {
                enclosure: Some(enclosure),
                stage: Some(stage.name),
            }
        }
    };
    let mut stages: Vec<StageReport> = Vec::new();
    let mut unread = None;
    let spinner = context.output.spinner("probing");
    let end = context
        .client()
        .probe(&request, |line| match line {
            ProbeLine::Stage(start) => {
                spinner.set_message(format!("probing {}/{}", start.enclosure, start.stage));
                stages.push(StageReport {
                    enclosure: start.enclosure,
                    stage: start.stage,
                    findings: Vec::new(),
                    evidence: None,
                });
            }
            ProbeLine::Finding(value) => match (stages.last_mut(), serde_json::from_value(value)) {
                (Some(stage), Ok(finding)) => stage.findings.push(finding),
                (_, Err(error)) => unread = Some(error.to_string()),
                (None, Ok(_)) => unread = Some("a finding of no stage".to_owned()),
            },
            ProbeLine::Evidence(envelope) => {
                if let Some(stage) = stages.last_mut() {
                    stage.evidence = Some(envelope);
                }
            }
            // The client ends with these.
            ProbeLine::Done(_) | ProbeLine::Failed(_) => {}
        })
        .await;
    spinner.finish_and_clear();
    let end = end?;
    if let Some(unread) = unread {
        return Err(
            Failure::new(Exit::Ours, "the daemon sent a finding that cannot be read").fix(unread),
        );
    }
    if let Some(path) = &arguments.html {
        write_page(context, path, &stages)?;
    }
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "summary": end.summary,
            "millis": end.millis,
            "stages": stages,
        }))?;
    } else {
        print(context, &stages, arguments.all)?;
        context.output.data(&sentence(&end.summary))?;
    }
    if stages.is_empty() {
        context
            .output
            .say("no stage was probed; bring an enclosure up: casemate up FILE");
        return Ok(Exit::Unclear);
    }
    Ok(exit_of(&end.summary))
}

/// An open check is a finding; with none of those, one that could not be judged leaves the question open.
const fn exit_of(summary: &ProbeSummary) -> Exit {
    if summary.open > 0 {
        Exit::Found
    } else if summary.inconclusive > 0 || summary.checks == 0 {
        Exit::Unclear
    } else {
        Exit::Held
    }
}

fn sentence(summary: &ProbeSummary) -> String {
    format!(
        "{} checks: {} blocked, {} open, {} inconclusive, {} not applicable",
        summary.checks, summary.blocked, summary.open, summary.inconclusive, summary.not_applicable
    )
}

fn print(context: &Context<'_>, stages: &[StageReport], all: bool) -> Result<(), Failure> {
    let mut table = Table::new(&["STAGE", "CHECK", "VERDICT", "LAYER", "WHAT WAS TRIED"]);
    for stage in stages {
        for finding in &stage.findings {
            let quiet = match finding.verdict {
                Verdict::Blocked | Verdict::NotApplicable => true,
                Verdict::Open | Verdict::Inconclusive => false,
            };
            if quiet && !all {
                continue;
            }
            table.row([
                format!("{}/{}", stage.enclosure, stage.stage),
                finding.check.clone(),
                finding.verdict.to_string(),
                finding
                    .layer
                    .map_or_else(|| "-".to_owned(), |layer| layer.to_string()),
                finding.title.clone(),
            ]);
        }
    }
    if table.is_empty() {
        Ok(())
    } else {
        context.output.data(&table.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_told_never_counts_as_held() {
        let summary = |open, inconclusive, checks| ProbeSummary {
            checks,
            open,
            inconclusive,
            ..ProbeSummary::default()
        };
        assert_eq!(exit_of(&summary(0, 0, 60)), Exit::Held);
        assert_eq!(exit_of(&summary(0, 1, 60)), Exit::Unclear);
        assert_eq!(exit_of(&summary(1, 1, 60)), Exit::Found);
        assert_eq!(exit_of(&summary(0, 0, 0)), Exit::Unclear);
    }
}
fn write_page(_: &Context<'_>, _: &std::path::Path, _: &[StageReport]) -> Result<(), Failure> {
    Ok(())
}
