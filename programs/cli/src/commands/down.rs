//! `casemate down`: takes an enclosure down, and says what could not be removed.

use casemate_core::name::Name;

use super::Context;
use crate::exit::{Exit, Failure};

/// Takes an enclosure down and leaves nothing.
///
/// Running answers are finished first. Exits with 1 when something of it is still there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate down chat")]
pub(crate) struct Arguments {
    /// The enclosure's name.
    #[arg(value_name = "NAME")]
    name: Name,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let spinner = context.output.spinner("draining and stopping");
    let report = context.client().down(arguments.name.as_str()).await;
    spinner.finish_and_clear();
    let report = report?;
    if context.output.json() {
        context.output.value(&report)?;
    } else {
        for stage in &report.stopped {
            context
                .output
                .data(&format!("{}/{stage}", report.enclosure))?;
        }
        context.output.say(&format!("{} is down", report.enclosure));
    }
    for leftover in &report.leftovers {
        context
            .output
            .say(&format!("still there: {} {}", leftover.kind, leftover.what));
    }
    Ok(if report.leftovers.is_empty() {
        Exit::Held
    } else {
        Exit::Found
    })
}
