//! `casemate events`: what the daemon, the gates and the issuer saw.

use std::time::Duration;

use casemate_api::v1::NumberedEvent;
use casemate_core::event::{Outcome, Severity};

use super::Context;
use crate::exit::{Exit, Failure};

/// Shows what the daemon, gates and issuer saw.
///
/// One line per event: number, time, severity, kind, where, who, decision, facts. With --json, one JSON
/// object per line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate events                           everything so far
  casemate events --follow                  and what comes
  casemate events --only refused            decisions against a caller
  casemate events --after 120 --json        from a place on, for a program")]
pub(crate) struct Arguments {
    /// Only events with a higher number.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    after: u64,
    /// Waits for more.
    #[arg(long, short)]
    follow: bool,
    /// Only these.
    #[arg(long, value_enum)]
    only: Option<Only>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Decisions that refused, or could not tell.
    Refused,
    /// Warnings and errors.
    Warnings,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let client = context.client();
    let mut after = arguments.after;
    loop {
        let page = client.events(after).await?;
        let empty = page.events.is_empty();
        for event in page
            .events
            .iter()
            .filter(|event| wanted(event, arguments.only))
        {
            if context.output.json() {
                context.output.value(event)?;
            } else {
                context.output.data(&line(event))?;
            }
        }
        // A page that does not move on would be asked for again for ever.
        after = if page.next > after { page.next } else { after };
        if empty {
            if !arguments.follow {
                return Ok(Exit::Held);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn wanted(event: &NumberedEvent, only: Option<Only>) -> bool {
    match only {
        None => true,
        Some(Only::Warnings) => event.event.severity > Severity::Info,
        Some(Only::Refused) => event
            .event
            .decision
            .as_ref()
            .is_some_and(|decision| match decision.outcome {
                Outcome::Allowed => false,
                Outcome::Refused | Outcome::CouldNotTell => true,
            }),
    }
}

fn line(numbered: &NumberedEvent) -> String {
    let event = &numbered.event;
    let severity = match event.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut line = format!(
        "{} {} {severity} {}",
        numbered.number, event.time, event.kind
    );
    match (&event.enclosure, &event.stage) {
        (Some(enclosure), Some(stage)) => line.push_str(&format!(" {enclosure}/{stage}")),
        (Some(enclosure), None) => line.push_str(&format!(" {enclosure}")),
        (None, Some(stage)) => line.push_str(&format!(" {stage}")),
        (None, None) => {}
    }
    if let Some(subject) = &event.subject {
        line.push_str(&format!(" {subject}"));
    }
    if let Some(decision) = &event.decision {
        let outcome = match decision.outcome {
            Outcome::Allowed => "allowed",
            Outcome::Refused => "refused",
            Outcome::CouldNotTell => "could not tell",
        };
        line.push_str(&format!(" {outcome}: {} by {}", decision.code, decision.by));
    }
    for (name, value) in &event.facts {
        line.push_str(&format!(" {name}={value:?}"));
    }
    line
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use casemate_core::event::{Event, kind};
    use casemate_core::time::UnixTime;

    use super::*;

    #[test]
    fn an_event_is_one_line_for_a_person() {
        let event = Event::new(UnixTime(0), kind::REQUEST_REFUSED, Severity::Warning)
            .at(
                &"chat".parse().expect("a name"),
                Some(&"infer".parse().expect("a name")),
            )
            .about("spiffe://a/user/b")
            .decided(Outcome::Refused, "route_denied", "gate/infer")
            .fact("path", "/slots");
        let numbered = NumberedEvent { number: 7, event };
        assert!(wanted(&numbered, Some(Only::Refused)));
        assert_eq!(
            line(&numbered),
            "7 1970-01-01T00:00:00Z warning request.refused chat/infer spiffe://a/user/b \
             refused: route_denied by gate/infer path=\"/slots\""
        );
    }
}
