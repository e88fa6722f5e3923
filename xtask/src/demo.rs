//! Makes the machine ready, builds, and hands over to the demonstration itself, or to the workshop in
//! which a person does the same by hand.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::{build, setup, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ends with one JSON object on stdout that says what was seen.
    #[arg(long)]
    pub(crate) json: bool,
    /// Installs nothing: when something is missing, prints what and why, and stops there.
    #[arg(long)]
    pub(crate) no_install: bool,
}

#[derive(clap::Args)]
pub(crate) struct Try {
    /// Where to put everything; below /opt or /var, since a stage is shown parts of it.
    #[arg(default_value = "/opt/casemate-try")]
    pub(crate) directory: PathBuf,
    /// Installs nothing: when something is missing, prints what and why, and stops there.
    #[arg(long)]
    pub(crate) no_install: bool,
}

/// Runs the demonstration; see `examples/chat/demo`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    needs_root("the demonstration")?;
    prepare(arguments.no_install)?;
    // Becomes the demonstration, so that Ctrl-C reaches the one process that cleans up.
    Err(command(arguments.json).exec()).context("cannot start the demonstration")
}

/// Prepares a directory for first steps by hand, and stays as the provider of logins.
pub(crate) fn run_try(arguments: &Try) -> anyhow::Result<()> {
    needs_root("a casemate of your own")?;
    prepare(arguments.no_install)?;
    let mut command = command(false);
    command.args([OsStr::new("try"), arguments.directory.as_os_str()]);
    Err(command.exec()).context("cannot start the workshop")
}

fn needs_root(what: &str) -> anyhow::Result<()> {
    if !shell::is_root() {
        bail!(
            "{what} needs root: it makes namespaces, mounts and cgroups, and removes them\n\
             fix: in a root shell (`sudo -i`), with a Rust toolchain of root's own (https://rustup.rs)"
        );
    }
    Ok(())
}

/// Runs the demonstration and returns what it printed on stdout.
pub(crate) fn captured() -> anyhow::Result<String> {
    prepare(false)?;
    let mut command = command(true);
    command.stderr(std::process::Stdio::inherit());
    shell::output(&mut command)
}

fn prepare(no_install: bool) -> anyhow::Result<()> {
    setup::check_host()?;
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
