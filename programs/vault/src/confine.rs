//! What the vault gives up before it looks at a byte of the artefact.

use std::io;

use casemate_linux::landlock::{self, RestrictError, Rules};
use casemate_linux::memory;
use casemate_linux::seccomp::{Action, Filter, InstallFilterError};

/// Why the vault could not confine itself; it must end then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("cannot forbid core dumps")]
    Dumps(#[source] io::Error),
    #[error(
        "cannot keep memory out of swap; the daemon must raise RLIMIT_MEMLOCK to at least {NEEDED_MEMLOCK_MIB} MiB"
    )]
    Lock(#[source] io::Error),
    #[error("cannot give up files and sockets")]
    Landlock(#[from] RestrictError),
    #[error("cannot give up system calls")]
    Seccomp(#[from] InstallFilterError),
}

/// Before the key is read: no dump, no swap.
pub(crate) fn protect_memory() -> Result<(), ConfineError> {
    memory::forbid_dumps().map_err(ConfineError::Dumps)?;
    memory::lock_all().map_err(ConfineError::Lock)
}

/// Gives up every path, every port and every system call that serving does not need. Must run on
/// the only thread.
pub(crate) fn give_up_the_rest() -> Result<Vec<String>, ConfineError> {
    let applied = landlock::restrict(&Rules {
        minimum_abi: 4,
        ..Rules::default()
    })?;
    Filter::new(Action::Fail(EPERM))
        .rules(CALLS, Action::Allow)
        .install()?;
    Ok(vec![
        format!("landlock-abi-{}", applied.abi),
        "seccomp".to_owned(),
        "mlock".to_owned(),
        "not-dumpable".to_owned(),
    ])
}

/// Reading and writing what is open, memory, threads, time, and the end.
const CALLS: [&str; 48] = [
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "fadvise64",
    "fstat",
    "newfstatat",
    "statx",
    "lseek",
    "close",
    "fcntl",
    "poll",
    "ppoll",
    "futex",
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "mlock",
    "munlock",
    "clone",
    "clone3",
    "rseq",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "restart_syscall",
    "sched_yield",
    "sched_getaffinity",
    "getrandom",
    "clock_gettime",
    "clock_nanosleep",
    "getpid",
    "gettid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "tgkill",
    "prctl",
    "exit",
    "exit_group",
];

const EPERM: u16 = 1;
const NEEDED_MEMLOCK_MIB: u32 = 512;
