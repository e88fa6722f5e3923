//! Every action of a developer and of CI, one subcommand each.
//!
//! It depends on nothing of ours, so it builds in seconds and still works when a crate does not.
//! What needs our libraries is a program of its own that a subcommand builds and runs: the
//! demonstration, the bench, the generated reference.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool: its results go to stdout, its words to stderr"
)]

mod arrows;
mod bench;
mod build;
mod ci;
mod claims;
mod demo;
mod docs;
mod fuzz;
mod generate;
mod hardening;
mod lint;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every action of a developer and of CI")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Installs what this checkout needs from Debian and PyPI, and says what and why.
    Setup(setup::Arguments),
    /// Builds every program and collects them in target/casemate/bin.
    Build,
    /// Runs a real language model sealed on this host, asks it, attacks it, and cleans up.
    Demo(demo::Arguments),
    /// Prepares a directory in which to seal, serve and ask a real model by hand: docs/guide/first-steps.md.
    Try(demo::Try),
    /// Runs every test that this machine can run; prints and counts what was skipped.
    Test(test::Arguments),
    /// Everything that must hold before a change lands, in order.
    Ci,
    /// Checks formatting and lints; warnings are errors.
    Lint,
    /// Formats the code.
    Fmt,
    /// Checks which crate may depend on which, lint inheritance, file lengths and `unsafe`.
    Arrows,
    /// Checks that the links of the documents lead somewhere.
    Docs,
    /// Checks CLAIMS.md against tests/claims both ways, then runs the claims.
    Claims(claims::Arguments),
    /// Measures ours and the peer alternately on the same work and prints the ratio.
    Bench(bench::Arguments),
    /// Writes docs/reference from the types and programs.
    Generate(generate::Arguments),
    /// Reads the ELF headers of the built programs: PIE, RELRO, NX, no search paths.
    Hardening,
    /// Replays the fuzz corpus on the stable toolchain.
    FuzzSmoke,
}

fn main() -> ExitCode {
    match run(Arguments::parse().action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Setup(arguments) => setup::run(&arguments),
        Action::Build => build::run(build::Profile::Dev).map(drop),
        Action::Demo(arguments) => demo::run(&arguments),
        Action::Try(arguments) => demo::run_try(&arguments),
        Action::Test(arguments) => test::run(&arguments),
        Action::Ci => ci::run(),
        Action::Lint => lint::check(),
        Action::Fmt => lint::format(),
        Action::Arrows => arrows::run(),
        Action::Docs => docs::check(),
        Action::Claims(arguments) => claims::run(&arguments),
        Action::Bench(arguments) => bench::run(&arguments),
        Action::Generate(arguments) => generate::run(&arguments),
        Action::Hardening => hardening::run(),
        Action::FuzzSmoke => fuzz::run(),
    }
}
