//! `casemate logs`: the end of what a stage's server wrote.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::stage::StageName;

/// Shows what a stage's server wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate logs infer
  casemate logs chat/infer --tail 20")]
pub(crate) struct Arguments {
    /// The stage: STAGE or ENCLOSURE/STAGE.
    #[arg(value_name = "STAGE")]
    stage: StageName,
    /// How many lines from the end.
    #[arg(long, default_value_t = 200, value_name = "LINES")]
    tail: u32,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let (enclosure, stage) = arguments.stage.running(context).await?;
    let logs = context
        .client()
        .logs(&enclosure, &stage.name, arguments.tail)
        .await?;
    if context.output.json() {
        context.output.value(&logs)?;
    } else {
        for line in &logs.lines {
            context.output.data(line)?;
        }
        if logs.dropped_bytes > 0 {
            let message = format!("{} bytes before this were dropped", logs.dropped_bytes);
            context.output.say(&message);
        }
    }
    Ok(Exit::Held)
}
