//! The first process of a stage.
//!
//! It finds the sealed plan at descriptor 3 and its launcher at descriptor 4, compares the sandbox
//! it stands in with the plan, says what it found, and waits. One difference, one fact that cannot
//! be read, one rule that cannot be applied, and it ends with status 70. Ordered to, it gives up
//! files, ports and system calls, and becomes the server; started with the argument `probe`, it
//! becomes the prober instead, just as confined.

use std::io::Write as _;
use std::process::ExitCode;

use casemate_core::confinement::{EXIT_NOT_CONFINED, InitOrder, InitReport, SealedPlan};

mod confine;
mod control;
mod facts;

use control::Control;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => Role::Server,
        ["probe"] => Role::Prober,
        _ => return fail("usage: init [probe]"),
    };
    match Control::inherit() {
        Ok((plan, mut control)) => match run(role, &plan, &mut control) {
            Ok(never) => match never {},
            Err(End::Told) => ExitCode::from(EXIT_NOT_CONFINED),
            Err(End::Failed(reason)) => {
                // If the launcher is gone, standard error is all there is.
                drop(control.send(&InitReport::Failed {
                    reason: reason.clone(),
                }));
                fail(&reason)
            }
        },
        Err(error) => fail(&error.to_string()),
    }
}

/// What this process is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Prober,
}

/// Why it became nothing.
enum End {
    /// The launcher knows.
    Told,
    /// It must be told.
    Failed(String),
}

fn run(
    role: Role,
    plan: &SealedPlan,
    control: &mut Control,
) -> Result<std::convert::Infallible, End> {
    let failed = |what: &str, error: &dyn std::error::Error| End::Failed(chain(what, error));
    let facts =
        facts::gather(plan).map_err(|error| failed("cannot look at the sandbox", &error))?;
    let differences = plan.differences(&facts);
    if !differences.is_empty() {
        let report = InitReport::Mismatch { differences };
        control
            .send(&report)
            .map_err(|error| failed("cannot report", &error))?;
        return Err(End::Told);
    }
    let report = InitReport::Confined {
        digest: plan.digest.clone(),
        namespaces: facts.namespaces,
        mounts: u32::try_from(facts.mounts.len()).unwrap_or(u32::MAX),
        landlock_abi: facts.landlock_abi,
        seccomp_filters: facts.seccomp_filters,
    };
    control
        .send(&report)
        .map_err(|error| failed("cannot report", &error))?;
    let InitOrder::Serve = control
        .order()
        .map_err(|error| failed("no order came", &error))?;
    let program = confine::Program::choose(role, &plan.confinement)
        .map_err(|error| failed("cannot find the program", &error))?;
    let landlock_abi =
        confine::confine(&plan.confinement).map_err(|error| failed("cannot confine", &error))?;
    control
        .send(&InitReport::Executing { landlock_abi })
        .map_err(|error| failed("cannot report", &error))?;
    if role == Role::Prober {
        control
            .keep()
            .map_err(|error| failed("cannot keep the channel", &error))?;
    }
    let error = program.execute();
    Err(failed(
        &format!("cannot execute `{}`", program.path().display()),
        &error,
    ))
}

fn chain(what: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn fail(reason: &str) -> ExitCode {
    // Nobody is left to be told when this fails.
    drop(writeln!(std::io::stderr(), "casemate-init: {reason}"));
    ExitCode::from(EXIT_NOT_CONFINED)
}
