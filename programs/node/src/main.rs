//! `casemated`: owns the stages of one host. Root, and the only program here that is.
//!
//! It measures, releases keys, launches, watches and records, and it parses nothing that comes from a
//! network: people and machines talk to the issuer and the gates, which it starts without privilege.
//!
//! Read on in [`node`] (what the parts share), [`launch`] (the six states of a launch), [`supervise`]
//! (the thread that owns a stage) and [`serve`] (the API on a Unix socket).

mod asker;
mod attack;
mod authority;
mod board;
mod compile;
mod control;
mod failure;
mod gate;
mod helper;
mod host;
mod issuer;
mod journal;
mod keys;
mod launch;
mod leftovers;
mod locks;
mod network;
mod node;
mod opening;
mod processes;
mod recorder;
mod running;
mod serve;
mod settings;
mod spawner;
mod stage_log;
mod start;
mod store;
mod supervise;
mod users;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use casemate_linux::wiping::WipingAllocator;
use clap::Parser as _;

use crate::settings::{Arguments, Command, Settings};

// Every key of the node passes through this heap; what is freed is wiped.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    // Before anything is read that others must not see.
    if let Err(error) = casemate_linux::memory::forbid_dumps() {
        return complain(&error, EXIT_OURS);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let status = if error.use_stderr() { EXIT_USAGE } else { 0 };
            error.print().ok();
            return ExitCode::from(status);
        }
    };
    if let Some(Command::Openapi) = arguments.command {
        return print_description();
    }
    let settings = match Settings::try_from(arguments) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, EXIT_USAGE),
    };
    match start::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let status = error.exit_status();
            complain(&error, status)
        }
    }
}

fn print_description() -> ExitCode {
    match serve::document().to_pretty_json() {
        Ok(text) => match writeln!(std::io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error, EXIT_OURS),
        },
        Err(error) => complain(&error, EXIT_OURS),
    }
}

fn complain(error: &dyn std::error::Error, status: u8) -> ExitCode {
    // A closed standard error leaves the exit status to speak.
    writeln!(std::io::stderr(), "casemated: {}", report(error)).ok();
    ExitCode::from(status)
}

/// An error with its causes, on one line. Every cause is printed once.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let line = inner.to_string();
        // Transparent errors repeat their cause's words.
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = inner.source();
    }
    text
}

/// The arguments make no sense.
const EXIT_USAGE: u8 = 64;
/// Our fault.
const EXIT_OURS: u8 = 70;
