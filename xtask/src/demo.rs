//! Makes the machine ready, builds, and hands over to the demonstration itself.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::{build, setup, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ends with one JSON object on stdout that says what was seen.
    #[arg(long)]
    pub(crate) json: bool,
    /// Installs nothing: prints what is missing and why, and stops there.
    #[arg(long)]
    pub(crate) no_install: bool,
}

/// Runs the demonstration; see `examples/chat/demo`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !shell::is_root() {
        bail!(
            "the demonstration needs root: it makes namespaces, mounts and cgroups, and removes them"
        );
    }
    prepare(arguments.no_install)?;
    // Becomes the demonstration, so that Ctrl-C reaches the one process that cleans up.
    Err(command(arguments.json).exec()).context("cannot start the demonstration")
}

/// Runs the demonstration and returns what it printed on stdout.
pub(crate) fn captured() -> anyhow::Result<String> {
    prepare(false)?;
    let mut command = command(true);
    command.stderr(std::process::Stdio::inherit());
    shell::output(&mut command)
}

fn prepare(no_install: bool) -> anyhow::Result<()> {
    setup::run(&setup::Arguments {
        no_install,
        purpose: setup::Purpose::Demo,
    })?;
    build::run(build::Profile::Dev).map(drop)
}

fn command(json: bool) -> Command {
    let mut command = Command::new(shell::target().join("debug/chat-demo"));
    command.current_dir(shell::root());
    command
        .env("CASEMATE_BIN", shell::programs())
        .env("CASEMATE_TOOLS", shell::tools());
    if json {
        command.arg("--json");
    }
    command
}
