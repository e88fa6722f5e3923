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
    let logs = match arguments.stage.running(context).await {
        Ok((enclosure, stage)) => {
            let client = context.client();
            client.logs(&enclosure, &stage.name, arguments.tail).await?
        }
        Err(failure) => {
            // What is not up may have failed to come up: then its last words are still there.
            let (enclosure, stage) = arguments.stage.parts();
            let enclosure = enclosure.map_or_else(|| "-".to_owned(), |name| name.to_string());
            let client = context.client();
            let kept = client.logs(&enclosure, stage.as_str(), arguments.tail);
            let logs = kept.await.map_err(|_| failure)?;
            context
                .output
                .say("the stage is not up; this is what it wrote when it last failed to start");
            logs
        }
    };
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
