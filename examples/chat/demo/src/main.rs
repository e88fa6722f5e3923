//! Runs the example for real, from login to receipts, and takes it down again.
//!
//! In order: [`story`] prepares and brings up, [`ask`] streams the answer, [`refusals`] shows what
//! does not work and who decided, then the probe, the receipts, and the search for leftovers.
//! Everything is removed at the end, also after a failure or Ctrl-C.

mod ask;
mod attack;
mod narrator;
mod refusals;
mod story;
mod summary;

use std::process::ExitCode;

use narrator::Narrator;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let json = std::env::args()
        .skip(1)
        .any(|argument| argument == "--json");
    match run(Narrator::new(json)) {
        Ok(code) => code,
        Err(error) => {
            Narrator::new(json).say(&format!("\nthe demonstration failed: {error:#}"));
            ExitCode::from(70)
        }
    }
}

/// Runs the story beside a wait for Ctrl-C, which ends it early but still in order.
fn run(narrator: Narrator) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = story::Stop::default();
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut telling = {
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || story::tell(narrator, &stop))
        };
        loop {
            tokio::select! {
                told = &mut telling => return told?,
                _ = interrupt.recv() => stop.request(),
                _ = terminate.recv() => stop.request(),
            }
        }
    })?;
    if outcome.held() {
        narrator.finish(&outcome)?;
        return Ok(ExitCode::SUCCESS);
    }
    narrator.finish(&outcome)?;
    narrator.say("something that must not work did, or something was left over; see above");
    Ok(ExitCode::from(1))
}
