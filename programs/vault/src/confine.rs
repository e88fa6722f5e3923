//! What the vault gives up before it looks at a byte of the artefact.

use std::io;

use casemate_linux::landlock::{self, RestrictError, Rules};
use casemate_linux::memory;
use casemate_linux::process::{self, Resource};
use casemate_linux::seccomp::{Action, Filter, InstallFilterError};

/// Why the vault could not confine itself; it must end then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("cannot forbid core dumps")]
    Dumps(#[source] io::Error),
    #[error("cannot give up files and sockets")]
    Landlock(#[from] RestrictError),
    #[error("cannot give up system calls")]
    Seccomp(#[from] InstallFilterError),
}

/// How much of the vault's memory stays out of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Every page.
    Everything,
    /// The data key and the decrypted chunks, of which there can be this many bytes. A daemon that
    /// lacks the privilege to raise the limit leaves a vault this way.
    Secrets { at_most: usize },
}

/// Before the key is read: no dump, no swap.
pub(crate) fn protect_memory() -> Result<Locked, ConfineError> {
    memory::forbid_dumps().map_err(ConfineError::Dumps)?;
    let limit = process::limit(Resource::Memlock).unwrap_or(u64::MAX);
    // Locking everything under a low limit succeeds, and then fails every later allocation.
    if limit >= ENOUGH_TO_LOCK_ALL && memory::lock_all().is_ok() {
        return Ok(Locked::Everything);
    }
    let at_most = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(KEY_MEMORY);
    tracing::warn!(
        limit,
        "only keys and chunks are locked; raise RLIMIT_MEMLOCK to lock all"
    );
    Ok(Locked::Secrets { at_most })
}

/// Gives up every path, every port and every system call that serving does not need. Must run on
/// the only thread.
pub(crate) fn give_up_the_rest(locked: Locked) -> Result<Vec<String>, ConfineError> {
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
        match locked {
            Locked::Everything => "mlock".to_owned(),
            Locked::Secrets { .. } => "mlock-secrets".to_owned(),
        },
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
/// Covers the largest cache that is set by default, the buffers of fuser and the threads' stacks.
const ENOUGH_TO_LOCK_ALL: u64 = 256 * 1024 * 1024;
/// What is left of the limit for the data key and for rounding.
const KEY_MEMORY: usize = 256 * 1024;
