//! The gate puts walls around itself before it reads one byte from a peer.
//!
//! Landlock leaves it no file, and two kinds of TCP: connecting to its server's port. Its own loopback
//! listeners are bound before. Unix sockets of other gates are reached by path, which Landlock does not
//! govern; the directory's modes do. Seccomp leaves the calls that a single-threaded proxy makes.

use casemate_linux::landlock::{self, Rules};
use casemate_linux::memory;
use casemate_linux::seccomp::{Action, Condition, Filter, InstallFilterError};

/// Why the gate could not confine itself. It must not run then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Core dumps and tracing could not be forbidden.
    #[error("cannot forbid memory dumps")]
    Dumps(#[source] std::io::Error),
    /// Landlock is missing, too old, or refuses.
    #[error("cannot apply Landlock")]
    Landlock(#[from] landlock::RestrictError),
    /// Seccomp refuses.
    #[error("cannot install the seccomp filter")]
    Seccomp(#[from] InstallFilterError),
}

/// Applies the walls to the calling thread, which must be the only one.
///
/// # Errors
/// See [`ConfineError`].
pub fn confine(upstream_port: u16) -> Result<landlock::Applied, ConfineError> {
    memory::forbid_dumps().map_err(ConfineError::Dumps)?;
    let rules = Rules {
        minimum_abi: 4,
        connect: vec![upstream_port],
        ..Rules::default()
    };
    let applied = landlock::restrict(&rules)?;
    filter()?.install()?;
    Ok(applied)
}

fn filter() -> Result<Filter, InstallFilterError> {
    let mut filter = Filter::new(Action::Fail(EPERM))
        .rules(CALLS.iter().copied(), Action::Allow)
        // A process that tries these is not the gate any more.
        .rules(NEVER.iter().copied(), Action::Kill);
    for family in [AF_UNIX, AF_INET, AF_INET6] {
        filter = filter.rule("socket", &[Condition::equal_int(0, family)], Action::Allow)?;
    }
    Ok(filter)
}

const EPERM: u16 = 1;
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// What the runtime, the allocator and the sockets need. No file is opened, no program executed, no
/// process started, no memory made executable by a later call (`mprotect` is the allocator's).
const CALLS: &[&str] = &[
    "accept4",
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "connect",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "eventfd2",
    "exit",
    "exit_group",
    "fcntl",
    "fstat",
    "futex",
    "getpeername",
    "getpid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "poll",
    "ppoll",
    "prctl",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "timerfd_create",
    "timerfd_settime",
    "tgkill",
    "write",
    "writev",
];

const NEVER: &[&str] = &[
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "bpf",
    "init_module",
    "finit_module",
    "kexec_load",
    "mount",
    "umount2",
    "pivot_root",
    "setns",
    "unshare",
    "userfaultfd",
    "perf_event_open",
    "io_uring_setup",
    "keyctl",
    "add_key",
    "request_key",
];
