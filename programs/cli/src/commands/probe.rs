//! `casemate probe`: attacks stages from inside, through the daemon, and reports what held.

mod evidence;
mod print;

use std::path::PathBuf;

use casemate_api::v1::{ProbeLine, ProbeRequest, ProbeSummary};
use casemate_core::finding::{Finding, Summary, Verdict};
use casemate_isolation::report::Standing;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::stage::StageName;

/// Attacks stages from inside and reports what held.
///
/// A prober is started inside each stage's sandbox, under the same walls as its server, with a witness
/// outside. Each stage's findings are signed by the node; the signature is checked before anything is
/// reported. Exits with 1 when an attack worked that is not on the argued list, and with 2 when one could
/// not be judged.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate probe                          all stages; prints what needs a person
  casemate probe infer --all              every check of one stage
  casemate probe --html report.html       a page for each stage, to hand on
  casemate probe --json > probe.json      with the signed evidence
  casemate probe --check probe.json --key receipt-key.pem      verify it, anywhere")]
pub(crate) struct Arguments {
    /// The stage; all when absent.
    #[arg(value_name = "STAGE")]
    stage: Option<StageName>,
    /// Prints every check, also those that were blocked.
    #[arg(long)]
    all: bool,
    /// Writes a page with every finding and its evidence.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Probes nothing: verifies the evidence in a file that `probe --json` wrote.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "stage")]
    check: Option<PathBuf>,
    /// With --check: the node's public receipt key, as PEM.
    #[arg(long, value_name = "FILE", requires = "check")]
    key: Option<PathBuf>,
}

/// What `probe --json` prints.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    summary: ProbeSummary,
    millis: u64,
    stages: Vec<StageReport>,
}

/// What was found in one stage.
#[derive(Debug, Serialize, Deserialize)]
struct StageReport {
    enclosure: String,
    stage: String,
    findings: Vec<Finding>,
    evidence: Option<serde_json::Value>,
}

impl StageReport {
    fn name(&self) -> String {
        format!("{}/{}", self.enclosure, self.stage)
    }
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let (mut report, key) = match (&arguments.check, &arguments.key) {
        (Some(file), Some(key)) => evidence::read(file, key)?,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Failure::usage("--check and --key belong together"));
        }
        (None, None) => {
            let report = probe(context, &arguments).await?;
            (report, context.client().receipt_key().await?.public_key_pem)
        }
    };
    let statements = evidence::statements(&report, &key)?;
    // What was signed is what is counted, whatever sum came with it.
    report.summary = sum(&report.stages);
    if let Some(path) = &arguments.html {
        print::pages(context, path, &statements)?;
    }
    if context.output.json() {
        context.output.value(&report)?;
    } else {
        print::findings(context, &report, arguments.all)?;
    }
    if report.stages.is_empty() {
        context
            .output
            .say("no stage was probed; bring an enclosure up: casemate up FILE");
        return Ok(Exit::Unclear);
    }
    let signed = match statements.len() {
        1 => "1 stage".to_owned(),
        several => format!("{several} stages"),
    };
    context.output.say(&format!(
        "the evidence of {signed} is signed by this node and holds"
    ));
    Ok(exit_of(
        report.stages.iter().flat_map(|stage| &stage.findings),
    ))
}

async fn probe(context: &Context<'_>, arguments: &Arguments) -> Result<Report, Failure> {
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
    match unread {
        Some(unread) => Err(Failure::new(
            Exit::Ours,
            format!("the daemon sent a finding that cannot be read: {unread}"),
        )
        .fix("`casemate` and `casemated` may be of different versions")),
        None => Ok(Report {
            summary: end.summary,
            millis: end.millis,
            stages,
        }),
    }
}

fn sum(stages: &[StageReport]) -> ProbeSummary {
    let summary = Summary::of(stages.iter().flat_map(|stage| &stage.findings));
    fn count(number: impl TryInto<u32>) -> u32 {
        number.try_into().unwrap_or(u32::MAX)
    }
    ProbeSummary {
        checks: count(summary.checks),
        blocked: count(summary.blocked),
        open: count(summary.open),
        expected_open: count(
            stages
                .iter()
                .flat_map(|stage| &stage.findings)
                .filter(|finding| {
                    finding.verdict == Verdict::Open
                        && Standing::of(finding) == Standing::ExpectedOpen
                })
                .count(),
        ),
        inconclusive: count(summary.inconclusive),
        not_applicable: count(summary.not_applicable),
    }
}

/// An attack that worked is a finding; without one, a check that could not tell leaves the question open.
fn exit_of<'a>(findings: impl Iterator<Item = &'a Finding>) -> Exit {
    let mut exit = None;
    for finding in findings {
        exit = match (Standing::of(finding), exit) {
            (Standing::Open, _) | (_, Some(Exit::Found)) => Some(Exit::Found),
            (Standing::Unknown, _) | (_, Some(Exit::Unclear)) => Some(Exit::Unclear),
            (Standing::Held | Standing::ExpectedOpen, _) => Some(Exit::Held),
        };
    }
    // Nothing asked is nothing told.
    exit.unwrap_or(Exit::Unclear)
}

#[cfg(test)]
mod tests;
