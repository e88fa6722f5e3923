//! Writes docs/reference from the types and programs, and can check that nothing changed.

use std::process::Command;

use anyhow::bail;

use crate::{build, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fails when a file of docs/reference is not what would be written now.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Runs the generator; see `xtask/generate`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    build::run(build::Profile::Dev)?;
    let into = shell::root().join("docs/reference");
    let generate = shell::target().join("debug/xtask-generate");
    if !arguments.check {
        return shell::run(Command::new(generate).arg(shell::programs()).arg(into));
    }
    let fresh = shell::target().join("casemate/reference");
    std::fs::create_dir_all(&fresh)?;
    shell::run(Command::new(generate).arg(shell::programs()).arg(&fresh))?;
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(&fresh)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let committed = std::fs::read(into.join(name)).unwrap_or_default();
        if committed != std::fs::read(&path)? {
            stale.push(shell::relative(&into.join(name)));
        }
    }
    if !stale.is_empty() {
        bail!(
            "not up to date: {}; run `cargo xtask generate`",
            stale.join(", ")
        );
    }
    println!("generate: docs/reference is up to date");
    Ok(())
}
