//! Runs the example for real, from login to receipts, and takes it down again.
//!
//! In order: [`story`] prepares and brings up, [`ask`] streams the answer, [`refusals`] shows what
//! does not work and who decided, then the probe, the receipts, and the search for leftovers.
//! Everything is removed at the end, also after a failure or Ctrl-C.
//!
//! `try DIRECTORY` prepares a [`workshop`] instead, for a person to do the same by hand.

mod ask;
mod attack;
mod narrator;
mod refusals;
mod story;
mod summary;
mod workshop;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use narrator::Narrator;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let narrator = Narrator::new(json);
    let outcome = match arguments.as_slice() {
        [action, directory] if action == "try" => attend(narrator, &PathBuf::from(directory)),
        _ => run(narrator),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            narrator.say(&format!("\nthis failed: {error:#}"));
            ExitCode::from(70)
        }
    }
}

/// Keeps a workshop open until Ctrl-C.
fn attend(narrator: Narrator, directory: &std::path::Path) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let workshop = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let workshop = workshop::open(narrator, directory)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        anyhow::Ok(workshop)
    })?;
    workshop.close(narrator);
    Ok(ExitCode::SUCCESS)
}

/// Runs the story beside a wait for Ctrl-C, which ends it early but still in order.
fn run(narrator: Narrator) -> anyhow::Result<ExitCode> {
    let stop = story::Stop::default();
    let told = runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut telling = {
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || story::tell(narrator, &stop))
        };
        loop {
            tokio::select! {
                told = &mut telling => return told.context("the story ended badly"),
                _ = interrupt.recv() => stop.request(narrator),
                _ = terminate.recv() => stop.request(narrator),
            }
        }
    })?;
    let outcome = match told? {
        story::End::Told(outcome) => outcome,
        story::End::Interrupted(leftovers) => {
            for leftover in &leftovers {
                narrator.say(&format!("left over: {leftover}"));
            }
            if leftovers.is_empty() {
                narrator.say("nothing is left");
            }
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    narrator.finish(&outcome)?;
    if outcome.held() {
        return Ok(ExitCode::SUCCESS);
    }
    narrator.say("something that must not work did, or something was left over; see above");
    Ok(ExitCode::from(1))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
