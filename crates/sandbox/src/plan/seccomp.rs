//! Which system calls a stage has: an allow-list for its whole life, and a shorter one after its start.
//!
//! The list starts from what container runtimes commonly allow and leaves out what reaches into
//! other processes, moves pages between files (`splice`), hides work from filters (`io_uring`), loads
//! code into the kernel (`bpf`), stalls it (`userfaultfd`), or has little use but attack.

use crate::oci::{Seccomp, SyscallArgument, SyscallRule};

pub(super) fn first_filter() -> Seccomp {
    let mut syscalls = vec![
        allow(ALLOWED.to_vec(), Vec::new()),
        // New namespaces are refused, whoever asks.
        allow(vec!["clone"], vec![masked(0, NAMESPACE_FLAGS, 0)]),
        // Its flags are behind a pointer, which no filter can follow; callers fall back to `clone`.
        refuse(vec!["clone3"], NO_SUCH_CALL),
        // Memory files, but not with the question for an executable one.
        allow(
            vec!["memfd_create"],
            vec![masked(1, EXECUTABLE_MEMORY_FILE, 0)],
        ),
    ];
    // The standard personality, and the question which one it is.
    for persona in [0, 0xffff_ffff] {
        syscalls.push(allow(vec!["personality"], vec![equal(0, persona)]));
    }
    syscalls.push(allow(vec!["socketpair"], vec![equal(0, UNIX)]));
    syscalls.push(allow(vec!["socket"], vec![equal(0, UNIX)]));
    for family in [INTERNET, INTERNET_6] {
        for kind in [STREAM, DATAGRAM] {
            // Protocol 0, or the one that belongs to the kind: no SCTP, MPTCP or UDP-Lite.
            let own = if kind == STREAM { TCP } else { UDP };
            for protocol in [0, own] {
                let conditions = vec![
                    equal(0, family),
                    masked(1, !SOCKET_FLAGS, kind),
                    equal(2, protocol),
                ];
                syscalls.push(allow(vec!["socket"], conditions));
            }
        }
    }
    // Libraries list interfaces through it. All other netlink protocols are attack surface.
    syscalls.push(allow(vec!["socket"], vec![equal(0, NETLINK), equal(2, 0)]));
    Seccomp {
        default_action: "SCMP_ACT_ERRNO",
        default_errno_ret: NOT_PERMITTED,
        // Only the native way in: 32-bit calls hide their arguments.
        architectures: vec![NATIVE],
        syscalls,
    }
}

/// What the first process still needed and a server does not, and what no filter should leave to
/// another filter alone. Not `clone3`: the answer of the first filter has to reach the caller.
pub(super) fn denied_after_start() -> Vec<String> {
    DENIED_AFTER_START
        .iter()
        .map(|name| (*name).to_owned())
        .collect()
}

/// `prctl` operations: seccomp, securebits, ambient capabilities, the bounding set, memory map
/// surgery, core scheduling, being traced, system call dispatch.
pub(super) const DENIED_PRCTL: &[u32] = &[22, 24, 28, 35, 47, 59, 62, 0x5961_6d61];

#[rustfmt::skip]
const DENIED_AFTER_START: &[&str] = &[
    "acct", "add_key", "bpf", "capset", "chroot", "delete_module", "execveat",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module",
    "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "listmount", "lookup_dcookie", "mknod", "mknodat", "modify_ldt",
    "mount", "mount_setattr", "move_mount", "name_to_handle_at", "open_by_handle_at", "open_tree",
    "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "seccomp",
    "setdomainname", "setfsgid", "setfsuid", "setgid", "setgroups", "sethostname", "setns",
    "setregid", "setresgid", "setresuid", "setreuid", "setuid", "splice", "statmount", "swapoff",
    "swapon", "syslog", "tee", "umount2", "unshare", "userfaultfd", "vhangup", "vmsplice",
];

#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "accept", "accept4", "access", "alarm", "arch_prctl", "bind", "brk", "capget", "chdir", "chmod",
    "chown", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "close_range", "connect",
    "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "execve", "exit",
    "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod",
    "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr",
    "flock", "fork", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue",
    "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_mempolicy", "get_robust_list",
    "getcpu", "getcwd", "getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups",
    "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
    "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents",
    "io_setup", "io_submit", "ioctl", "ioprio_get", "kill", "landlock_add_rule",
    "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr", "link", "linkat",
    "listen", "listxattr", "llistxattr", "lseek", "lstat", "madvise", "mbind", "membarrier",
    "mincore", "mkdir", "mkdirat", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap",
    "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap",
    "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
    "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "pselect6", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "recvfrom",
    "recvmmsg", "recvmsg", "rename", "renameat", "renameat2", "restart_syscall", "rmdir", "rseq",
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget",
    "semop", "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_mempolicy",
    "set_robust_list", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups",
    "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
    "setrlimit", "setsid", "setsockopt", "setuid", "shmat", "shmctl", "shmdt", "shmget", "shutdown",
    "sigaltstack", "signalfd", "signalfd4", "stat", "statfs", "statx", "symlink", "symlinkat",
    "sync_file_range", "sysinfo", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "times", "tkill", "truncate", "umask", "uname", "unlink", "unlinkat",
    "utime", "utimensat", "utimes", "vfork", "wait4", "waitid", "write", "writev",
];

fn allow(names: Vec<&'static str>, args: Vec<SyscallArgument>) -> SyscallRule {
    SyscallRule {
        names,
        action: "SCMP_ACT_ALLOW",
        errno_ret: None,
        args,
    }
}

fn refuse(names: Vec<&'static str>, error: u32) -> SyscallRule {
    SyscallRule {
        names,
        action: "SCMP_ACT_ERRNO",
        errno_ret: Some(error),
        args: Vec::new(),
    }
}

const fn equal(index: u32, value: u64) -> SyscallArgument {
    SyscallArgument {
        index,
        value,
        value_two: 0,
        op: "SCMP_CMP_EQ",
    }
}

const fn masked(index: u32, mask: u64, value: u64) -> SyscallArgument {
    SyscallArgument {
        index,
        value: mask,
        value_two: value,
        op: "SCMP_CMP_MASKED_EQ",
    }
}

const NATIVE: &str = if cfg!(target_arch = "aarch64") {
    "SCMP_ARCH_AARCH64"
} else {
    "SCMP_ARCH_X86_64"
};
const NOT_PERMITTED: u32 = 1;
const NO_SUCH_CALL: u32 = 38;
/// `CLONE_NEW*`; the one missing, for time, cannot be asked of `clone`.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
const EXECUTABLE_MEMORY_FILE: u64 = 0x10;
/// `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const SOCKET_FLAGS: u64 = 0o2_004_000;
const UNIX: u64 = 1;
const INTERNET: u64 = 2;
const INTERNET_6: u64 = 10;
const NETLINK: u64 = 16;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;
const TCP: u64 = 6;
const UDP: u64 = 17;
