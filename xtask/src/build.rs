//! Builds every program once and collects them in one directory.
//!
//! Two passes: what runs on the host is built as usual; what enters a sandbox (`casemate-init`,
//! `casemate-probe`, the example's `redact`) is linked statically, since a stage's root file system
//! owes it no library.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::shell;

/// How much the compiler optimises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests and the demonstration: quick to build.
    Dev,
    /// For numbers.
    Release,
}

impl Profile {
    const fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds all programs and returns the directory that holds them.
pub(crate) fn run(profile: Profile) -> anyhow::Result<PathBuf> {
    let bin = match profile {
        Profile::Dev => shell::programs(),
        Profile::Release => shell::target().join("casemate/release"),
    };
    fs::create_dir_all(&bin)?;
    say_how_long(&bin);
    let build = |packages: &[(&str, &str)], statically: bool| -> anyhow::Result<()> {
        let mut command = shell::cargo();
        command.args(["build", "--bins"]);
        if !std::io::stderr().is_terminal() {
            // In a terminal cargo's own progress line says how far it is; in a log it is only noise.
            command.arg("--quiet");
        }
        if profile == Profile::Release {
            command.arg("--release");
        }
        let mut from = shell::target();
        if statically {
            command
                .args(["--target", TRIPLE])
                .env("RUSTFLAGS", "-C target-feature=+crt-static");
            from.push(TRIPLE);
        }
        from.push(profile.directory());
        for (package, _) in packages {
            command.args(["--package", package]);
        }
        if profile == Profile::Dev && !statically {
            for package in OUR_TOOLS {
                command.args(["--package", package]);
            }
        }
        shell::run(&mut command)?;
        for (_, program) in packages {
            collect(&from.join(program), &bin.join(program))?;
        }
        Ok(())
    };
    build(ON_THE_HOST, false)?;
    build(IN_A_SANDBOX, true)?;
    eprintln!("programs are in {}", shell::relative(&bin));
    Ok(bin)
}

/// The first build compiles every dependency; nobody should wonder whether it hangs.
fn say_how_long(bin: &Path) {
    let programs = || ON_THE_HOST.iter().chain(IN_A_SANDBOX);
    let count = programs().count();
    if programs().all(|(_, name)| bin.join(name).is_file()) {
        eprintln!("building {count} programs");
    } else {
        eprintln!("building {count} programs; the first time it takes some minutes");
    }
}

/// Puts `from` at `to` in one step: a program that is running now keeps its old file.
fn collect(from: &Path, to: &Path) -> anyhow::Result<()> {
    let unchanged = || -> Option<bool> {
        let (old, new) = (fs::metadata(to).ok()?, fs::metadata(from).ok()?);
        Some(old.len() == new.len() && old.modified().ok()? >= new.modified().ok()?)
    };
    if unchanged() == Some(true) {
        return Ok(());
    }
    // Of this process only: two builds may run at once, and neither may take the other's half.
    let staged = to.with_extension(format!("new-{}", std::process::id()));
    fs::copy(from, &staged).with_context(|| format!("cannot copy `{}`", from.display()))?;
    fs::rename(&staged, to).with_context(|| {
        fs::remove_file(&staged).ok();
        format!("cannot write `{}`", to.display())
    })
}

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Package and program.
pub(crate) const ON_THE_HOST: &[(&str, &str)] = &[
    ("casemate-cli", "casemate"),
    ("casemate-node", "casemated"),
    ("casemate-issuer", "casemate-issuer"),
    ("casemate-gate", "casemate-gate"),
    ("casemate-vault", "casemate-vault"),
];

/// What the other actions here run. Built along with the programs, because cargo unites the features of all
/// that one call builds: packages that are built apart have their dependencies compiled a second time.
const OUR_TOOLS: &[&str] = &["chat-demo", "xtask-generate", "casemate-fuzz"];

/// Package and program, linked statically.
pub(crate) const IN_A_SANDBOX: &[(&str, &str)] = &[
    ("casemate-init", "casemate-init"),
    ("casemate-probe", "casemate-probe"),
    ("redact", "redact"),
    ("stand-in", "stand-in"),
    ("stand-in", "attempt"),
    ("stand-in", "without"),
];
