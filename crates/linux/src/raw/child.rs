//! Runs a function in a forked process with a deadline, and collects what it reported.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Argument, Errno};

/// The forked process, from its own point of view: the only thing that can make raw calls.
#[derive(Debug)]
pub struct Child {
    report: OwnedFd,
}

/// How a child came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildOutcome {
    /// It returned or exited with this status.
    Exited(i32),
    /// A signal ended it; `dumped` tells whether the kernel wrote a core dump.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        dumped: bool,
    },
    /// It was still running at the deadline and was killed.
    Overdue,
}

/// What a child left behind.
#[derive(Debug)]
pub struct ChildEnd {
    /// Everything it reported, up to [`REPORT_LIMIT`].
    pub report: Vec<u8>,
    /// How it ended.
    pub outcome: ChildOutcome,
}

/// Why a child could not be run or waited for.
#[derive(Debug, thiserror::Error)]
pub enum RunInChildError {
    /// No pipe.
    #[error("cannot make the pipe for a child's report")]
    MakePipe(#[source] io::Error),
    /// No process.
    #[error("cannot fork")]
    Fork(#[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait for a child")]
    Wait(#[source] io::Error),
}

/// Status of a child whose function panicked: a bug there, not an answer.
pub const PANICKED: i32 = 101;

/// More than this from one child is cut off.
pub const REPORT_LIMIT: usize = 1 << 20;

impl Child {
    /// Makes system call `number`; missing arguments are zero.
    ///
    /// # Errors
    /// The error number that the kernel, or a filter before it, answered.
    pub fn call<'a>(
        &self,
        number: i64,
        mut arguments: impl AsMut<[Argument<'a>]>,
    ) -> Result<i64, Errno> {
        let mut words = [0_i64; 6];
        for (word, argument) in words.iter_mut().zip(arguments.as_mut()) {
            *word = argument.word();
        }
        let [a, b, c, d, e, f] = words;
        // SAFETY: whatever this call does to memory, it does to this process, which was forked to be
        // thrown away: its memory is private and only its report and its end are ever looked at.
        let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        if answer == -1 {
            Err(Errno(last_errno()))
        } else {
            Ok(answer)
        }
    }

    /// Makes a call through the 32-bit entry point (`int 0x80`) with register arguments.
    /// `None` where the processor has no such entry point.
    #[must_use]
    pub fn call_i386(&self, number: u32, first: u32, second: u32) -> Option<Result<i64, Errno>> {
        int80(number, first, second).map(|answer| {
            if (-4095..0).contains(&answer) {
                Err(Errno(answer.unsigned_abs().try_into().unwrap_or(0)))
            } else {
                Ok(i64::from(answer))
            }
        })
    }

    /// Sends `bytes` to the parent; what does not fit is lost with the child.
    pub fn report(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&self.report, rest) {
                Ok(0) => return,
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Ends the child at once, without running anything that the parent registered.
    pub fn exit(&self, status: i32) -> ! {
        leave(status)
    }
}

/// Forks, runs `body` in the child, and waits until it ended or `limit` has passed; then everything that
/// it started in its own process group is killed.
///
/// # Errors
/// When there is no pipe or process to be had.
pub fn run_in_child(
    limit: Duration,
    body: impl FnOnce(&Child),
) -> Result<ChildEnd, RunInChildError> {
    let (read, write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| RunInChildError::MakePipe(errno.into()))?;
    // SAFETY: fork takes no arguments; the child uses only its own copy of memory and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(RunInChildError::Fork(io::Error::last_os_error())),
        0 => {
            drop(read);
            be_the_child(limit, &Child { report: write }, body)
        }
        pid => {
            drop(write);
            watch(pid, File::from(read), limit)
        }
    }
}

fn be_the_child(limit: Duration, child: &Child, body: impl FnOnce(&Child)) -> ! {
    // Each of these is a second net below the parent's deadline; a filter may refuse them.
    // SAFETY: setpgid reads no memory.
    let _group = unsafe { libc::setpgid(0, 0) };
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and reads no memory of ours.
    let _death = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    let seconds = u32::try_from(limit.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    // SAFETY: alarm reads no memory.
    let _alarm = unsafe { libc::alarm(seconds) };
    let finished = catch_unwind(AssertUnwindSafe(|| body(child)));
    leave(if finished.is_ok() { 0 } else { PANICKED })
}

fn leave(status: i32) -> ! {
    // SAFETY: `_exit` ends the process; it returns never and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

fn now() -> Instant {
    Instant::now()
}

fn watch(pid: libc::pid_t, mut read: File, limit: Duration) -> Result<ChildEnd, RunInChildError> {
    let deadline = now() + limit;
    let mut report = Vec::new();
    let mut open = true;
    let outcome = loop {
        if let Some(outcome) = ended(pid, libc::WNOHANG).map_err(RunInChildError::Wait)? {
            break outcome;
        }
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            kill_group(pid);
            // SAFETY: kill reads no memory; the child was not waited for yet, so the number is its own.
            let _child = unsafe { libc::kill(pid, libc::SIGKILL) };
            ended(pid, 0).map_err(RunInChildError::Wait)?;
            break ChildOutcome::Overdue;
        }
        if open {
            open = take_some(&mut read, &mut report, left.min(Duration::from_millis(20)));
        } else {
            // The pipe is closed but the process is still leaving.
            rest(left.min(Duration::from_millis(1)));
        }
    };
    kill_group(pid);
    while open && report.len() < REPORT_LIMIT {
        let before = report.len();
        open = take_some(&mut read, &mut report, Duration::ZERO);
        if report.len() == before {
            break;
        }
    }
    report.truncate(REPORT_LIMIT);
    Ok(ChildEnd { report, outcome })
}

fn rest(time: Duration) {
    let _nothing = poll(&mut [], Some(&timespec(time)));
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Reads once if there is something to read within `wait`; false when the other end is closed.
fn take_some(read: &mut File, report: &mut Vec<u8>, wait: Duration) -> bool {
    let mut waiting = [PollFd::from_borrowed_fd(read.as_fd(), PollFlags::IN)];
    if !matches!(poll(&mut waiting, Some(&timespec(wait))), Ok(ready) if ready > 0) {
        return true;
    }
    let mut buffer = [0_u8; 8192];
    match read.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            if report.len() < REPORT_LIMIT {
                report.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            true
        }
        Err(error) => error.kind() == io::ErrorKind::Interrupted,
    }
}

fn ended(pid: libc::pid_t, options: i32) -> io::Result<Option<ChildOutcome>> {
    loop {
        let mut status = 0_i32;
        // SAFETY: `status` is a valid place for one int for the length of the call.
        let answer = unsafe { libc::waitpid(pid, &raw mut status, options) };
        if answer == pid {
            return Ok(Some(if libc::WIFSIGNALED(status) {
                ChildOutcome::Killed {
                    signal: libc::WTERMSIG(status),
                    dumped: libc::WCOREDUMP(status),
                }
            } else {
                ChildOutcome::Exited(libc::WEXITSTATUS(status))
            }));
        }
        if answer == 0 {
            return Ok(None);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Ends the child and whatever it left running in its own group.
fn kill_group(pid: libc::pid_t) {
    // SAFETY: kill reads no memory; the group is the child's own, made by it, and no id of ours.
    let _group = unsafe { libc::kill(-pid, libc::SIGKILL) };
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(target_arch = "x86_64")]
fn int80(number: u32, first: u32, second: u32) -> Option<i32> {
    let mut register = i64::from(number);
    // SAFETY: the 32-bit entry point keeps all registers but rax; r8 to r11 are named as clobbered since
    // older kernels clear them; rbx is saved by hand because the compiler reserves it. Memory effects
    // stay within this throw-away process.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {first:e}",
            "int 0x80",
            "pop rbx",
            first = in(reg) first,
            inout("rax") register,
            in("rcx") i64::from(second),
            in("rdx") 0_i64,
            in("rsi") 0_i64,
            in("rdi") 0_i64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a 32-bit call answers in 32 bits"
    )]
    let answer = register as i32;
    Some(answer)
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_number: u32, _first: u32, _second: u32) -> Option<i32> {
    None
}
