//! `casemate-vault`: serves one opened model as a read-only file system.
//!
//! It is given everything by the daemon: settings on descriptor 3, a control stream on 4, and by
//! number the sealed files, the FUSE device and the data key. It opens no path, and before it looks
//! at a byte of the artefact it has given up every file, every socket and almost every system call.
//! It serves until the file system is unmounted or the daemon is gone, and forgets its keys then.

use std::process::ExitCode;

use casemate_linux::wiping::WipingAllocator;

mod confine;
mod control;
mod serve;
mod settings;

// Keys that cipher libraries keep on the heap are wiped with everything else that is freed.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match serve::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&error), "the vault does not serve");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The error and all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
