//! `casemate scan`: what is wrong with a deployment, before it runs; needs no daemon and no network.

mod ask;
mod explain;
mod graph;
mod mend;

use std::path::{Path, PathBuf};

use casemate_posture::estate::Estate;
use casemate_posture::input;
use casemate_posture::report::{self, Look, Report};
use casemate_posture::rule::Severity;
use casemate_posture::scan::{Corpus, judge};
use clap::{Subcommand, ValueEnum};

use super::render::Said;
use super::{Context, now};
use crate::exit::{Exit, Failure};

/// Finds what is wrong with a deployment before it runs.
///
/// Reads Kubernetes manifests, rendered charts, compose files, `docker run` lines, OCI images, NVIDIA
/// toolkit configurations, model folders and enclosures, and judges them together: what a service publishes
/// depends on the server behind it. Nothing is run and nothing is asked of a network. What cannot be told is
/// said, and never counts as right.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = AFTER
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    scan: Scan,
}

#[derive(Debug, Subcommand)]
enum Command {
    Explain(explain::Explain),
}

/// What is scanned, and what is made of it.
#[derive(Debug, clap::Args)]
struct Scan {
    /// Files, folders, images and archives; `-` reads standard input.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// What the report is written as [default: table, or json with --json].
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Writes the report to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fails on findings that are at least this bad.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "high")]
    fail_on: Level,
    /// Shows only findings that are at least this bad.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    severity: Option<Level>,
    /// Asks only these rules, such as AI-092,AI-105.
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    only: Vec<String>,
    /// Leaves these rules out.
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    skip: Vec<String>,
    /// Shows what --fix would change, as a diff that `patch -p1` takes.
    #[arg(long, conflicts_with_all = ["fix", "format", "output", "write_baseline"])]
    diff: bool,
    /// Writes every fix that is mechanical, then scans again. Comments, order and formatting stay.
    #[arg(long, conflicts_with = "write_baseline")]
    fix: bool,
    /// Findings in this file are known and do not fail.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Writes the findings to a baseline, and does not fail on them.
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,
    /// Suppressions with reason and expiry [default: .casemate-scan.yaml here, when there is one].
    #[arg(long, value_name = "FILE")]
    suppressions: Option<PathBuf>,
    /// Lets nothing be suppressed, neither by a file nor by an annotation.
    #[arg(long, conflicts_with = "suppressions")]
    no_suppressions: bool,
    /// Shows who may reach whom instead, as table, json, svg or html; fails on doors that nothing closes.
    #[arg(long, conflicts_with_all = ["fix", "diff", "baseline", "write_baseline", "suppressions"])]
    network: bool,
    #[command(flatten)]
    said: Said,
}

/// A form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person at a terminal.
    Table,
    /// For programs.
    Json,
    /// SARIF 2.1.0, for code-scanning viewers.
    Sarif,
    /// JUnit XML, for pipelines that show tests.
    Junit,
    /// One page, to hand on.
    Html,
    /// With --network: the picture alone.
    Svg,
}

/// How bad something is, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Low,
    Medium,
    High,
    Critical,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
            Level::Critical => Self::Critical,
        }
    }
}

pub(crate) fn run(context: &Context<'_>, arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Some(Command::Explain(explain)) => explain::run(context, explain),
        None => scan(context, &arguments.scan),
    }
}

fn scan(context: &Context<'_>, asked: &Scan) -> Result<Exit, Failure> {
    let format = asked.format.unwrap_or(if context.output.json() {
        Format::Json
    } else {
        Format::Table
    });
    if asked.network {
        return graph::show(context, asked, format);
    }
    let options = ask::options(asked, format)?;
    let corpus = read(&asked.paths);
    if asked.diff {
        let report = judged(&corpus, &options);
        mend::show(context, &corpus, &options, &report)?;
        return Ok(exit(&corpus, &report, asked.fail_on));
    }
    let (corpus, report) = if asked.fix {
        let report = judged(&corpus, &options);
        mend::write(context, &corpus, &options, &report)?;
        // Standard input was read to its end; its text is the one that is known.
        let again = if asked.paths.iter().any(|path| path == Path::new("-")) {
            corpus
        } else {
            read(&asked.paths)
        };
        let report = judged(&again, &options);
        (again, report)
    } else {
        let report = judged(&corpus, &options);
        (corpus, report)
    };
    if let Some(path) = &asked.write_baseline {
        return write_baseline(context, path, &report);
    }
    print(context, asked, format, &report)?;
    if corpus.documents.is_empty() && report.errors.is_empty() {
        context.output.say(
            "nothing was found here that can be judged; name manifests, compose files or images",
        );
    }
    Ok(exit(&corpus, &report, asked.fail_on))
}

/// Reads everything that is named, standard input for `-`.
pub(crate) fn read(paths: &[PathBuf]) -> Corpus {
    let mut corpus = Corpus::default();
    let (input, named): (Vec<PathBuf>, Vec<PathBuf>) = paths
        .iter()
        .cloned()
        .partition(|path| path == Path::new("-"));
    if !input.is_empty() {
        input::read_standard_input(&mut corpus, &mut std::io::stdin().lock());
    }
    input::add_all(&mut corpus, &named);
    corpus
}

fn judged(corpus: &Corpus, options: &report::Options) -> Report {
    let estate = Estate::of(&corpus.files, &corpus.documents);
    Report::of(corpus, &estate, &judge(&estate), options, now())
}

/// What was not read may be anything, so it weighs more than what was found.
fn exit(corpus: &Corpus, report: &Report, fail_on: Level) -> Exit {
    if !report.is_whole() || corpus.documents.is_empty() {
        Exit::Unclear
    } else if report.worst().is_some_and(|worst| worst >= fail_on.into()) {
        Exit::Found
    } else {
        Exit::Held
    }
}

fn print(
    context: &Context<'_>,
    asked: &Scan,
    format: Format,
    report: &Report,
) -> Result<(), Failure> {
    let broken = |error| Failure::ours("cannot write the report", error);
    let to_file = asked.output.is_some();
    let text = match format {
        Format::Table => report::table(
            report,
            Look {
                width: context.output.width(),
                colour: context.output.colour() && !to_file,
            },
        ),
        Format::Json => report::json(report).map_err(broken)?,
        Format::Sarif => report::sarif(report).map_err(broken)?,
        Format::Junit => report::junit(report),
        Format::Html => report::html(report),
        Format::Svg => return Err(Failure::usage("only --network is a picture; use html")),
    };
    if let Some(path) = &asked.output {
        write(path, &text)?;
        context
            .output
            .say(&format!("the report is `{}`", path.display()));
        return Ok(());
    }
    if format != Format::Table {
        return context.output.data(&text);
    }
    context.output.styled(&text)?;
    if let Some(worst) = report.counting().next() {
        let fixable = report.counting().filter(|finding| finding.fixable).count();
        let fixes = match fixable {
            0 => String::new(),
            1 => "; --diff shows the one fix that can be written".to_owned(),
            several => format!("; --diff shows the {several} fixes that can be written"),
        };
        context.output.say(&format!(
            "\nwhy it matters: casemate scan explain {}{fixes}",
            worst.rule
        ));
    }
    Ok(())
}

fn write_baseline(context: &Context<'_>, path: &Path, report: &Report) -> Result<Exit, Failure> {
    let baseline = report.baseline();
    let text = baseline
        .text()
        .map_err(|error| Failure::ours("cannot write the baseline", error))?;
    write(path, &text)?;
    context.output.say(&format!(
        "{} findings are known from now on: casemate scan --baseline {}",
        baseline.len(),
        path.display()
    ));
    Ok(if report.is_whole() {
        Exit::Held
    } else {
        Exit::Unclear
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    report::save(path, text).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot write `{}`", path.display())).because(&error)
    })
}

const AFTER: &str = "\
Examples:
  casemate scan deploy/                           what is wrong, the worst first
  helm template chart | casemate scan -           a chart, rendered
  casemate scan explain AI-092                    why a rule matters, and what to do
  casemate scan deploy/ --diff                    what --fix would change
  casemate scan deploy/ --fix                     change it, and scan again
  casemate scan deploy/ --format sarif -o scan.sarif
  casemate scan --network deploy/ --format html -o network.html
  casemate scan deploy/ --write-baseline known.json     begin with what is there
  casemate scan deploy/ --baseline known.json           and fail on what is new

To live with a finding, say why and until when, on the workload:
  annotations: {scan.casemate.dev/suppress: \"AI-096 until 2027-01-31: the node is its own\"}
or in .casemate-scan.yaml:
  suppressions:
    - {rule: AI-096, resource: Deployment/llm, reason: the node is its own, expires: 2027-01-31}

Exit codes:
  0   nothing as bad as --fail-on
  1   findings
  2   something could not be read, so it could not be told
  64  a mistake in the call";

#[cfg(test)]
mod tests;
