//! Builds with optimisation and hands over to the bench.

use std::process::Command;

use crate::{build, setup, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only rows whose name contains one of these.
    rows: Vec<String>,
    /// Does not write docs/reference/bench.md.
    #[arg(long)]
    no_write: bool,
}

/// Runs the rows; see `benches`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    setup::run(&setup::Arguments {
        no_install: false,
        purpose: setup::Purpose::Bench,
    })?;
    let bin = build::run(build::Profile::Release)?;
    let build = [
        "build",
        "--quiet",
        "--release",
        "--package",
        "casemate-benches",
    ];
    shell::run(shell::cargo().args(build))?;
    let mut command = Command::new(shell::target().join("release/casemate-bench"));
    command.current_dir(shell::root()).args(&arguments.rows);
    command
        .env("CASEMATE_BIN", bin)
        .env("CASEMATE_TOOLS", shell::tools());
    if !arguments.no_write {
        command.env("CASEMATE_BENCH_WRITE", "1");
        command.args(["--write", "docs/reference/bench.md"]);
    }
    shell::run(&mut command)
}
