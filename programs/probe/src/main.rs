//! Carries the isolation checks into a sandbox.
//!
//! It starts only with a channel on descriptor 4 that holds an order, and only in the sandbox that the
//! order names; there is no way to force it. Exit status: 0 all checks were run, 64 no order or another
//! place, 70 the channel broke.

use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use casemate_core::finding::{ProbeMessage, ProbeOrder, ProbeRefusal};
use casemate_isolation::{guard, run};
use casemate_linux::inherit;

/// The channel to the launcher.
const CHANNEL: i32 = 4;
/// The prober will not run here.
const REFUSED: u8 = 64;
/// The channel broke.
const OUR_FAULT: u8 = 70;

fn main() -> ExitCode {
    let channel = match inherit::take(CHANNEL) {
        Ok(channel) => UnixStream::from(channel),
        Err(error) => return complain(&format!("no order on descriptor {CHANNEL}: {error}")),
    };
    match probe(&channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Refused(reason)) => {
            // Told on both ways: the launcher may not be there to listen.
            let refusal = ProbeMessage::Refused(ProbeRefusal {
                reason: reason.clone(),
            });
            drop(send(&channel, &refusal));
            complain(&reason)
        }
        Err(Stop::Channel(error)) => {
            drop(writeln!(
                io::stderr(),
                "casemate-probe: cannot report: {error}"
            ));
            ExitCode::from(OUR_FAULT)
        }
    }
}

enum Stop {
    Refused(String),
    Channel(io::Error),
}

fn probe(channel: &UnixStream) -> Result<(), Stop> {
    let line = run::read_order(&mut BufReader::new(channel))
        .map_err(|error| Stop::Refused(error.to_string()))?;
    let order = ProbeOrder::parse(&line).map_err(|error| Stop::Refused(chain(&error)))?;
    let matched = guard::matches(order).map_err(|error| Stop::Refused(chain(&error)))?;
    let own = run::Own {
        descriptors: vec![CHANNEL],
        environment: std::env::vars_os()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect(),
    };
    run::run(matched, own, &mut |message| send(channel, message)).map_err(Stop::Channel)
}

fn send(mut channel: &UnixStream, message: &ProbeMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    channel.write_all(&line)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn complain(reason: &str) -> ExitCode {
    drop(writeln!(io::stderr(), "casemate-probe: {reason}"));
    ExitCode::from(REFUSED)
}
