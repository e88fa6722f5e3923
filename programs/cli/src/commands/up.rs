//! `casemate up`: checks an enclosure file here, then asks the daemon to run it.

mod files;

use std::path::{Path, PathBuf};

use casemate_api::v1;
use casemate_core::enclosure::{self, Enclosure, Mentioned, Source};

use super::{Context, read_named_text};
use crate::exit::{Exit, Failure};
use crate::output::{Table, size, span, visible};

/// Brings an enclosure up from its file.
///
/// The file is checked first, and every mistake in it is shown with its place and its fix. Then each
/// stage is attested, gets its models, is confined, attacked from inside, and only then admits calls.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate up examples/chat/enclosure.yaml
  casemate up --dry-run chat.yaml      check the file and show what it allows; nothing is started
  casemate schema enclosure            the file's JSON Schema, for your editor")]
pub(crate) struct Arguments {
    /// The enclosure file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only checks the file and the paths that it names, and shows what it allows.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let text = read_named_text(&arguments.file, MAX_FILE)?;
    let shown = arguments.file.display().to_string();
    // The daemon looks for itself, with the rights of whoever asks.
    let look = |mentioned: &Mentioned| {
        arguments
            .dry_run
            .then(|| files::trouble_at(mentioned))
            .flatten()
    };
    let enclosure = match enclosure::parse_and_look(&shown, &text, &look) {
        Ok(enclosure) => enclosure,
        Err(found) => {
            if context.output.json() {
                context
                    .output
                    .value(&serde_json::json!({ "mistakes": found }))?;
            } else {
                context.output.say(&found.to_string());
            }
            return Ok(Exit::Found);
        }
    };
    if arguments.dry_run {
        return describe(context, &enclosure);
    }
    let path = std::path::absolute(&arguments.file)
        .map_err(|error| Failure::ours(format!("cannot find `{shown}`"), error))?;
    let spinner = context.output.spinner("asking the daemon");
    let request = v1::UpRequest {
        path: named(&path)?,
        text,
    };
    let result = context
        .client()
        .up(&request, |step| {
            let line = if step.stage.is_empty() {
                format!("{}: {}", step.phase, step.message)
            } else {
                format!("{}: {}: {}", step.stage, step.phase, step.message)
            };
            spinner.suspend(|| context.output.say(&line));
            spinner.set_message(visible(&line));
        })
        .await;
    spinner.finish_and_clear();
    let done = result?;
    if context.output.json() {
        context.output.value(&done)?;
    } else {
        let seconds = std::time::Duration::from_millis(done.millis).as_secs_f64();
        context
            .output
            .say(&format!("{} is up after {seconds:.1} s", done.enclosure));
        let mut table = Table::new(&["STAGE", "LISTENS"]);
        for listen in &done.listens {
            let (stage, address) = listen.split_once('=').unwrap_or(("", listen));
            table.row([stage.to_owned(), address.to_owned()]);
        }
        if !table.is_empty() {
            context.output.data(&table.text())?;
        }
    }
    Ok(Exit::Held)
}

fn named(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("`{}` is not a UTF-8 path", path.display())))
}

fn describe(context: &Context<'_>, enclosure: &Enclosure) -> Result<Exit, Failure> {
    if context.output.json() {
        context.output.value(enclosure)?;
        return Ok(Exit::Held);
    }
    let mut stages = Table::new(&[
        "STAGE", "PROFILE", "MODELS", "MEMORY", "CPUS", "PIDS", "EXPOSED",
    ]);
    for stage in &enclosure.stages {
        let models: Vec<String> = stage.models.iter().map(ToString::to_string).collect();
        let exposed: Vec<String> = enclosure
            .exposes_of(&stage.name)
            .map(|expose| expose.listen.to_string())
            .collect();
        stages.row([
            stage.name.to_string(),
            stage.profile.id.to_string(),
            models.join(" "),
            size(stage.resources.memory),
            format!("{}", f64::from(stage.resources.millicpus) / 1000.0),
            stage.resources.pids.to_string(),
            exposed.join(" "),
        ]);
    }
    let mut flows = Table::new(&["FROM", "TO", "ROUTES", "MODELS", "MAX TOKENS", "PER MINUTE"]);
    for flow in &enclosure.flows {
        let from = match &flow.from {
            Source::Group { name } => format!("group {name}"),
            Source::Stage { name, at } => format!("stage {name} (port {at} inside)"),
        };
        let all = |words: Vec<String>| words.join(" ");
        let bound = |bound: Option<u32>| bound.map_or_else(|| "-".to_owned(), |b| b.to_string());
        flows.row([
            from,
            flow.to.to_string(),
            all(flow.routes.iter().map(ToString::to_string).collect()),
            all(flow.models.iter().map(ToString::to_string).collect()),
            bound(flow.limits.max_tokens),
            bound(flow.limits.requests_per_minute),
        ]);
    }
    context
        .output
        .data(&format!("{}\n{}", stages.text(), flows.text()))?;
    for closed in closed_classes(enclosure) {
        context.output.say(&closed);
    }
    context.output.say(&format!(
        "{} has no mistakes; nothing was started. All that is not a flow is refused.",
        enclosure.name
    ));
    Ok(Exit::Held)
}

/// The classes that a flow grants and that open nothing yet, each said once.
fn closed_classes(enclosure: &Enclosure) -> Vec<String> {
    let mut said = Vec::new();
    for flow in &enclosure.flows {
        let Some(target) = enclosure.stage(&flow.to) else {
            continue;
        };
        let closed = flow.routes.iter();
        let closed = closed.filter(|class| !target.profile.is_verified(class));
        said.extend(closed.map(|class| {
            format!(
                "`{class}` of stage `{}` is declared, closed until verified on your server: nobody has \
                 seen a route of profile `{}` in that class answer, so calls are refused",
                target.name, target.profile.id
            )
        }));
    }
    said.sort();
    said.dedup();
    said
}

/// How long ago something was, for tables.
pub(super) fn ago(since: u64) -> String {
    span(super::now().0.saturating_sub(since))
}

const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
