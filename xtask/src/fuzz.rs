//! Replays the fuzz corpus over the parsers, on the stable toolchain.
//!
//! The bodies of the targets live in the crates they test; `fuzz/` holds the corpus, a binary that
//! replays it, and, for those who have a nightly toolchain, the libFuzzer entry points.

use std::process::Command;

use crate::{build, shell};

/// Builds and runs the replay: every corpus file, then a fixed number of mutations of each.
pub(crate) fn run() -> anyhow::Result<()> {
    build::run(build::Profile::Dev)?;
    let mut command = Command::new(shell::target().join("debug/casemate-fuzz"));
    command.current_dir(shell::root()).arg("fuzz/corpus");
    shell::run(&mut command)
}
