//! Asks for every system call by number, with arguments that no kernel accepts.
//!
//! A filter answers before the kernel looks at arguments, so the answer tells whether a number reaches the
//! kernel at all. Calls that would end, block or multiply the process are left out and named.

use std::time::Duration;

use casemate_linux::raw::{ChildOutcome, Errno, run_in_child};

/// What came back for one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not asked, because the call itself would end, block or multiply the process.
    Skipped,
    /// An error number.
    Refused(i32),
    /// It did something, or ended the process in its own way: it reached the kernel.
    Reached,
    /// A filter killed the process.
    Killed,
}

/// The answers for all numbers from 0.
pub(crate) struct Sweep {
    answers: Vec<Answer>,
    /// The answer for a number that no kernel has.
    never: Answer,
    filtered: bool,
}

/// The highest number of Linux 6.18 plus 64, so that what a newer kernel adds is asked for too.
pub(crate) const HIGHEST: i64 = 470 + 64;
/// A number that no kernel has, with room above the sweep.
const NEVER: i64 = 4_000;

impl Sweep {
    /// Makes the sweep; `seccomp_mode` is that of `/proc/self/status`.
    pub(crate) fn make(seccomp_mode: u32) -> Self {
        Self {
            answers: ask_all(),
            never: ask(NEVER),
            filtered: seccomp_mode == 2,
        }
    }

    pub(crate) fn answer(&self, number: i64) -> Answer {
        usize::try_from(number)
            .ok()
            .and_then(|index| self.answers.get(index).copied())
            .unwrap_or(Answer::Skipped)
    }

    /// The answer for a number that no kernel has: `ENOSYS` is the kernel's own.
    pub(crate) const fn never(&self) -> Answer {
        self.never
    }

    /// Whether only a filter can have answered `errno` for `number`.
    pub(crate) fn surely_filtered(&self, number: i64, errno: Errno) -> bool {
        if !self.filtered {
            return false;
        }
        match self.answer(number) {
            Answer::Killed => true,
            Answer::Refused(answer) => {
                answer == errno.0
                    && match answer {
                        libc::EPERM | libc::EACCES => !PRIVILEGE_FIRST.contains(&number),
                        // The kernel has all of these, so an ENOSYS is the filter's.
                        libc::ENOSYS => HAVE_ALWAYS.contains(&number),
                        _ => false,
                    }
            }
            Answer::Reached | Answer::Skipped => false,
        }
    }

    /// Whether a filter may have answered for `number`: the kernel asks for privilege before it looks at
    /// arguments, so that the two cannot be told apart.
    pub(crate) fn may_be_filtered(&self, number: i64) -> bool {
        self.filtered
            && matches!(
                self.answer(number),
                Answer::Refused(libc::EPERM | libc::EACCES) | Answer::Skipped
            )
    }

    /// Whether `number` reaches the kernel and the kernel has it.
    pub(crate) fn reaches(&self, number: i64) -> bool {
        match self.answer(number) {
            Answer::Reached => true,
            Answer::Refused(libc::ENOSYS) | Answer::Killed | Answer::Skipped => false,
            Answer::Refused(libc::EPERM | libc::EACCES) => {
                !self.filtered && !PRIVILEGE_FIRST.contains(&number)
            }
            Answer::Refused(_) => true,
        }
    }
}

/// Asks for all numbers, many in one process; a process that a call ended is replaced behind it.
fn ask_all() -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Ok(next) = i64::try_from(answers.len()) {
        if next > HIGHEST {
            break;
        }
        let before = answers.len();
        let Ok(end) = run_in_child(Duration::from_millis(1_500), |child| {
            for number in next..=HIGHEST {
                let byte = if SKIPPED.contains(&number) {
                    -2
                } else {
                    match child.call(
                        number,
                        [
                            (-1_i64).into(),
                            (-1_i64).into(),
                            (-1_i64).into(),
                            (-1_i64).into(),
                            (-1_i64).into(),
                            (-1_i64).into(),
                        ],
                    ) {
                        Ok(_) => -1,
                        Err(errno) => errno.0,
                    }
                };
                child.report(&byte.to_le_bytes());
            }
        }) else {
            break;
        };
        for word in end.report.chunks_exact(4) {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(word);
            answers.push(match i32::from_le_bytes(bytes) {
                -2 => Answer::Skipped,
                -1 => Answer::Reached,
                errno => Answer::Refused(errno),
            });
        }
        match end.outcome {
            ChildOutcome::Exited(0) if answers.len() > before => {}
            ChildOutcome::Killed {
                signal: libc::SIGSYS,
                ..
            } => answers.push(Answer::Killed),
            ChildOutcome::Exited(_) | ChildOutcome::Killed { .. } | ChildOutcome::Overdue => {
                answers.push(Answer::Reached);
            }
        }
    }
    answers
}

fn ask(number: i64) -> Answer {
    let end = run_in_child(Duration::from_millis(500), |child| {
        let answer = child.call(number, []).map_or_else(|errno| errno.0, |_| -1);
        child.report(&answer.to_le_bytes());
    });
    match end {
        Ok(end) => match (<[u8; 4]>::try_from(end.report.as_slice()), end.outcome) {
            (Ok(bytes), _) => match i32::from_le_bytes(bytes) {
                -1 => Answer::Reached,
                errno => Answer::Refused(errno),
            },
            (
                Err(_),
                ChildOutcome::Killed {
                    signal: libc::SIGSYS,
                    ..
                },
            ) => Answer::Killed,
            (Err(_), _) => Answer::Skipped,
        },
        Err(_) => Answer::Skipped,
    }
}

/// Calls that end, block, multiply or stop the asking process, or act without looking at an argument.
const SKIPPED: &[i64] = &[
    libc::SYS_rt_sigreturn,
    libc::SYS_pause,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_vhangup,
    libc::SYS_sync,
    libc::SYS_restart_syscall,
    libc::SYS_alarm,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_setsid,
    libc::SYS_munlockall,
];

/// Calls for which the kernel asks for privilege before it looks at any argument.
const PRIVILEGE_FIRST: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_landlock_restrict_self,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_pivot_root,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// Calls that every supported kernel has, whatever its configuration.
const HAVE_ALWAYS: &[i64] = &[
    libc::SYS_chroot,
    libc::SYS_clone3,
    libc::SYS_fsopen,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_ptrace,
    libc::SYS_setns,
    libc::SYS_unshare,
];
