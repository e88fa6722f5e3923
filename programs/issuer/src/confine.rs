//! The walls that the issuer puts around itself before it reads a byte from a peer.
//!
//! Files: only what looking up a host name needs, read-only. Network: no new listener; connections
//! go out, because identity providers are declared while it runs. System calls: an allow-list
//! without any that starts a program, and threads but no processes.

use std::path::{Path, PathBuf};

use casemate_linux::landlock::{self, RestrictError};
use casemate_linux::memory;
use casemate_linux::seccomp::{Action, Condition, Filter, InstallFilterError};

/// Why the issuer could not confine itself; it then serves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The process could still be dumped or traced.
    #[error("core dumps cannot be forbidden")]
    Dumps(#[source] std::io::Error),
    /// Files and ports.
    #[error("Landlock cannot be applied")]
    Landlock(#[from] RestrictError),
    /// System calls.
    #[error("seccomp cannot be applied")]
    Seccomp(#[from] InstallFilterError),
}

/// Proof that [`confine`] was called and succeeded; serving takes it.
#[derive(Clone, Copy, Debug)]
pub struct Confined {
    landlock_abi: u32,
}

impl Confined {
    /// The Landlock ABI in force.
    #[must_use]
    pub const fn landlock_abi(self) -> u32 {
        self.landlock_abi
    }
}

/// Confines the calling thread and everything it starts. To be called before any other thread is.
///
/// # Errors
/// When any of the walls cannot be put up whole.
pub fn confine() -> Result<Confined, ConfineError> {
    memory::forbid_dumps().map_err(ConfineError::Dumps)?;
    let rules = landlock::Rules {
        read: RESOLVER_FILES
            .iter()
            .filter(|path| Path::new(path).exists())
            .map(PathBuf::from)
            .collect(),
        connect_anywhere: true,
        ..landlock::Rules::default()
    };
    let applied = landlock::restrict(&rules)?;
    filter()?.install()?;
    Ok(Confined {
        landlock_abi: applied.abi,
    })
}

fn filter() -> Result<Filter, InstallFilterError> {
    Filter::new(Action::Fail(EPERM))
        .rules(CALLS.iter().copied(), Action::Allow)
        // Without it the C library falls back to `clone`, whose flags can be looked at.
        .rules(["clone3"], Action::Fail(ENOSYS))
        .rule(
            "clone",
            &[Condition::masked(0, CLONE_THREAD, CLONE_THREAD)],
            Action::Allow,
        )?
        .rule("socket", &[Condition::equal_int(0, AF_INET)], Action::Allow)?
        .rule(
            "socket",
            &[Condition::equal_int(0, AF_INET6)],
            Action::Allow,
        )?
        // The resolver asks the kernel about addresses, and a name service cache, if there is one.
        .rule("socket", &[Condition::equal_int(0, AF_UNIX)], Action::Allow)?
        .rule(
            "socket",
            &[
                Condition::equal_int(0, AF_NETLINK),
                Condition::equal_int(2, NETLINK_ROUTE),
            ],
            Action::Allow,
        )?
        .rule(
            "prctl",
            &[Condition::equal_int(0, PR_SET_NAME)],
            Action::Allow,
        )?
        // The runtime makes a pair to wake itself.
        .rule(
            "socketpair",
            &[Condition::equal_int(0, AF_UNIX)],
            Action::Allow,
        )?
        // Memory is never writable and executable at once.
        .rule(
            "mmap",
            &[Condition::masked(2, WRITE_EXECUTE, WRITE_EXECUTE)],
            Action::Fail(EPERM),
        )?
        .rules(["mmap"], Action::Allow)
        .rule(
            "mprotect",
            &[Condition::masked(2, PROT_EXEC, 0)],
            Action::Allow,
        )
}

/// What the C library reads to look up a host name.
const RESOLVER_FILES: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
];

const CALLS: &[&str] = &[
    // Memory and threads.
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "set_robust_list",
    "rseq",
    "sched_yield",
    "sched_getaffinity",
    "set_tid_address",
    "gettid",
    "getpid",
    "tgkill",
    "membarrier",
    "exit",
    "exit_group",
    "restart_syscall",
    // Signals, which the runtime handles.
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    // Time and chance.
    "clock_gettime",
    "clock_nanosleep",
    "clock_getres",
    "nanosleep",
    "gettimeofday",
    "getrandom",
    // Descriptors.
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "close",
    "fcntl",
    "fstat",
    "newfstatat",
    "statx",
    "stat",
    "lseek",
    "dup",
    "dup3",
    "ioctl",
    "poll",
    "ppoll",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "pipe2",
    "openat",
    "open",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    // Sockets; making one has rules of its own.
    "accept4",
    "connect",
    "bind",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "shutdown",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    // Who we are and what we may use.
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "uname",
    "getrlimit",
    "prlimit64",
    "sysinfo",
];

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const CLONE_THREAD: u64 = 0x1_0000;
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
const PR_SET_NAME: u32 = 15;
const PROT_EXEC: u64 = 4;
const WRITE_EXECUTE: u64 = 6;
