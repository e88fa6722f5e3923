//! Becomes a program out of which one control was taken from the outside: `without CONTROL PROGRAM [WORDS]`.
//!
//! The program is the one that ships, byte for byte. What the control consists of is a system call, and a
//! filter makes the kernel answer that call with success and do nothing. Only tests run this.
#![expect(clippy::print_stderr, reason = "a test reads why it could not begin")]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use casemate_linux::seccomp::{Action, Condition, Filter, InstallFilterError};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (control, program) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let filter = match control.to_str() {
        Some("private-mounts") => private_mounts(),
        Some("removal-of-shared-objects") => removal_of_shared_objects(),
        _ => {
            eprintln!("nobody knows how to take out {}", control.display());
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = filter.and_then(|filter| filter.install()) {
        eprintln!("cannot take it out: {error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(words).exec();
    eprintln!("cannot start {}: {error}", program.display());
    ExitCode::FAILURE
}

/// Leaving the mount tree that the program was started in. A runtime that asks for several namespaces at
/// once gets them.
fn private_mounts() -> Result<Filter, InstallFilterError> {
    let alone = [Condition::equal(0, CLONE_NEWNS)];
    Filter::new(Action::Allow).rule("unshare", &alone, NOTHING)
}

/// Removing a System V segment, and a message queue.
fn removal_of_shared_objects() -> Result<Filter, InstallFilterError> {
    let remove = [Condition::equal_int(1, IPC_RMID)];
    Filter::new(Action::Allow)
        .rule("shmctl", &remove, NOTHING)?
        .rule("mq_unlink", &[], NOTHING)
}

/// "Fails" with no error, which is success.
const NOTHING: Action = Action::Fail(0);
const CLONE_NEWNS: u64 = 0x2_0000;
const IPC_RMID: u32 = 0;
