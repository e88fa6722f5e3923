//! The steps between the making of a process and its program.
//!
//! INVARIANT: between `clone3` and `execve` the child allocates nothing, takes no lock, and calls
//! only the kernel: other threads of the parent may have held any lock at the moment of the clone.

use std::convert::Infallible;
use std::ffi::{CStr, CString, NulError};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use super::{Command, Rlimit, terminated};
use crate::capability;
use crate::namespace::Kind;

/// What a new process does before it executes its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Step {
    /// Putting signals back to their defaults.
    #[error("resetting signals")]
    Signals = 1,
    /// Becoming the leader of a session of its own.
    #[error("starting a session")]
    Session,
    /// Joining a cgroup.
    #[error("joining the cgroup")]
    Cgroup,
    /// Entering a network namespace.
    #[error("entering the network namespace")]
    Network,
    /// Making the new mount namespace private.
    #[error("making mounts private")]
    Mounts,
    /// Placing the given descriptors.
    #[error("placing descriptors")]
    Descriptors,
    /// Setting resource limits.
    #[error("setting resource limits")]
    Limits,
    /// Taking on the identity.
    #[error("taking on the user and group")]
    Identity,
    /// Giving up capabilities.
    #[error("giving up capabilities")]
    Capabilities,
    /// Arranging to die with the parent.
    #[error("arranging to end with the parent")]
    ParentDeath,
    /// Forbidding new privileges.
    #[error("forbidding new privileges")]
    NoNewPrivileges,
    /// Entering the working directory.
    #[error("entering the working directory")]
    Directory,
    /// Executing the program.
    #[error("executing it")]
    Execute,
}

const STEPS: [Step; 13] = [
    Step::Signals,
    Step::Session,
    Step::Cgroup,
    Step::Network,
    Step::Mounts,
    Step::Descriptors,
    Step::Limits,
    Step::Identity,
    Step::Capabilities,
    Step::ParentDeath,
    Step::NoNewPrivileges,
    Step::Directory,
    Step::Execute,
];

pub(super) enum Failure {
    Clone(io::Error),
    Step(Step, io::Error),
}

/// Everything the child needs, in the form in which the kernel takes it.
pub(super) struct Prepared<'command> {
    command: &'command Command,
    program: CString,
    directory: CString,
    arguments: Strings,
    environment: Strings,
    /// Where each given descriptor is while the low numbers are being cleared.
    moved: Vec<(i32, i32)>,
    groups: Vec<u32>,
}

struct Strings {
    pointers: Vec<*const libc::c_char>,
    /// What the pointers point to.
    _strings: Vec<CString>,
}

impl Strings {
    fn new<'text>(texts: impl Iterator<Item = &'text [u8]>) -> Result<Self, NulError> {
        let strings: Vec<CString> = texts.map(terminated).collect::<Result<_, _>>()?;
        let pointers = strings
            .iter()
            .map(|text| text.as_ptr())
            .chain(std::iter::once(ptr::null()))
            .collect();
        Ok(Self {
            pointers,
            _strings: strings,
        })
    }
}

impl<'command> Prepared<'command> {
    pub(super) fn new(command: &'command Command) -> Result<Self, NulError> {
        Ok(Self {
            program: terminated(&command.program)?,
            directory: terminated(&command.directory)?,
            arguments: Strings::new(command.arguments.iter().map(Vec::as_slice))?,
            environment: Strings::new(command.environment.iter().map(Vec::as_slice))?,
            moved: Vec::new(),
            groups: command
                .identity
                .as_ref()
                .map(|who| who.groups.clone())
                .unwrap_or_default(),
            command,
        })
    }

    pub(super) fn launch(mut self) -> Result<(i32, OwnedFd), Failure> {
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(Failure::Clone)?;
        for number in 0..3 {
            if !self.command.descriptors.contains_key(&number) {
                self.moved.push((null.as_raw_fd(), number));
            }
        }
        for (number, descriptor) in &self.command.descriptors {
            self.moved.push((descriptor.as_raw_fd(), *number));
        }
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| Failure::Clone(error.into()))?;
        let namespaces = self
            .command
            .unshared
            .iter()
            .fold(0, |flags, kind| flags | kind.clone_flag());
        let kept = all_signals_blocked().map_err(Failure::Clone)?;
        let child = clone_process(namespaces);
        if matches!(child, Ok(None)) {
            // The child. It never returns.
            let failed = self.run(writer.as_raw_fd());
            leave(failed)
        }
        restore_signals(&kept);
        drop(writer);
        let (pid, pidfd) = match child {
            Ok(Some(child)) => child,
            Ok(None) => return Err(Failure::Clone(io::ErrorKind::Other.into())),
            Err(error) => return Err(Failure::Clone(error)),
        };
        let mut report = [0_u8; 5];
        match File::from(reader).read_exact(&mut report) {
            // Closed without a word: the program is executing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok((pid, pidfd)),
            outcome => {
                let child = super::Child { pid, pidfd };
                let waited = child.kill();
                outcome.and(waited).map_err(Failure::Clone)?;
                let [step, code @ ..] = report;
                let step = STEPS.iter().find(|known| **known as u8 == step);
                let error = io::Error::from_raw_os_error(i32::from_le_bytes(code));
                Err(Failure::Step(step.copied().unwrap_or(Step::Execute), error))
            }
        }
    }

    /// In the child: all steps, then the program. Returns only after a failure, which was reported.
    fn run(&mut self, report: i32) -> u8 {
        // The report's descriptor must not be in the way of those that are placed.
        let report = match duplicate_high(report) {
            Ok(moved) => moved,
            Err(_) => report,
        };
        let (step, error) = match self.steps(report) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let code = error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes();
        let [first, second, third, fourth] = code;
        let message = [step as u8, first, second, third, fourth];
        // SAFETY: the pointer and length are those of `message`.
        unsafe { libc::write(report, message.as_ptr().cast(), message.len()) };
        step as u8
    }

    fn steps(&mut self, report: i32) -> Result<Infallible, (Step, io::Error)> {
        let at = |step: Step| move |error: io::Error| (step, error);
        reset_signals().map_err(at(Step::Signals))?;
        // SAFETY: setsid takes no arguments.
        check(unsafe { libc::setsid() }.into()).map_err(at(Step::Session))?;
        for procs in &self.command.cgroups {
            // SAFETY: the pointer and length are those of a literal.
            let written = unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            check(written as i64).map_err(at(Step::Cgroup))?;
        }
        if let Some(network) = &self.command.network {
            crate::namespace::enter(network, Kind::Network).map_err(at(Step::Network))?;
        }
        if self.command.unshared.contains(&Kind::Mount) {
            make_private().map_err(at(Step::Mounts))?;
        }
        self.place_descriptors().map_err(at(Step::Descriptors))?;
        for (resource, limit) in &self.command.limits {
            let limit = Rlimit {
                current: limit.current,
                maximum: limit.maximum,
            };
            rustix::process::setrlimit(*resource, limit)
                .map_err(|error| (Step::Limits, error.into()))?;
        }
        if self.command.confined {
            capability::drop_bounding().map_err(at(Step::Capabilities))?;
        }
        self.take_identity().map_err(at(Step::Identity))?;
        if self.command.confined {
            capability::drop_others().map_err(at(Step::Capabilities))?;
        }
        // After the change of identity, which clears it.
        if self.command.dies_with_parent {
            die_with_parent(report).map_err(at(Step::ParentDeath))?;
        }
        if self.command.confined {
            super::forbid_new_privileges().map_err(at(Step::NoNewPrivileges))?;
        }
        // SAFETY: the path is a terminated string that outlives the call.
        check(unsafe { libc::chdir(self.directory.as_ptr()) }.into())
            .map_err(at(Step::Directory))?;
        let Err(error) = execute_raw(
            &self.program,
            &self.arguments.pointers,
            &self.environment.pointers,
        );
        Err((Step::Execute, error))
    }

    /// Puts each given descriptor under its number and marks all others to be closed.
    fn place_descriptors(&mut self) -> io::Result<()> {
        close_on_execution(0)?;
        for (from, _) in &mut self.moved {
            *from = duplicate_high(*from)?;
        }
        for (from, to) in &self.moved {
            // SAFETY: dup2 takes numbers; the target is one that nothing in this child uses.
            check(unsafe { libc::dup2(*from, *to) }.into())?;
        }
        Ok(())
    }

    fn take_identity(&self) -> io::Result<()> {
        let Some(identity) = &self.command.identity else {
            return Ok(());
        };
        // The kernel's own calls: the C library's would try to reach threads that are not here.
        // SAFETY: the pointer and the count are those of a vector that outlives the call.
        let status =
            unsafe { libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()) };
        check(status)?;
        let (gid, uid) = (identity.gid, identity.uid);
        // SAFETY: takes three numbers.
        check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
        // SAFETY: takes three numbers.
        check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
    }
}

fn check(status: i64) -> io::Result<()> {
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes a process like `fork` does, in new namespaces. `None` in the child.
fn clone_process(namespaces: i32) -> io::Result<Option<(i32, OwnedFd)>> {
    let mut pidfd: i32 = -1;
    // SAFETY: an all-zero `clone_args` is a valid one.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    // The flags fit: they are single bits of an unsigned 32-bit value.
    request.flags =
        u64::from(namespaces.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    request.pidfd = (&raw mut pidfd) as u64;
    request.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: without CLONE_VM the child has its own copy of memory; `pidfd` outlives the call; the
    // child keeps the invariant of this module.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut request,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => {
            // SAFETY: the kernel has just opened it for us and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some((i32::try_from(pid).map_err(io::Error::other)?, pidfd)))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

fn leave(status: u8) -> ! {
    // SAFETY: ends this process at once, without handlers or destructors.
    unsafe { libc::_exit(i32::from(status)) }
}

fn all_signals_blocked() -> io::Result<libc::sigset_t> {
    // SAFETY: an all-zero set is valid storage for sigfillset.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: an all-zero set is valid storage for pthread_sigmask.
    let mut kept: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: both sets are ours and outlive the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut kept) } {
        0 => Ok(kept),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn restore_signals(kept: &libc::sigset_t) {
    // SAFETY: the set is a valid one that the kernel gave us.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::from_ref(kept), ptr::null_mut()) };
}

/// In the child: default dispositions, then nothing blocked. Ignored signals survive an execution,
/// and Rust ignores SIGPIPE.
fn reset_signals() -> io::Result<()> {
    for signal in 1..65 {
        // SAFETY: the default disposition runs no code of ours. Signals that have no disposition
        // are refused without effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero set is valid storage for sigemptyset.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: the set outlives the call; no old set is asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn make_private() -> io::Result<()> {
    // SAFETY: source, type and options may be null for a change of propagation; the target is a
    // literal.
    let status = unsafe {
        libc::mount(
            ptr::null(),
            c"/".as_ptr(),
            ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            ptr::null(),
        )
    };
    check(status.into())
}

/// A copy of a descriptor, above the numbers that callers give, closed by an execution.
fn duplicate_high(descriptor: i32) -> io::Result<i32> {
    // SAFETY: takes numbers.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, HIGHEST_GIVEN) };
    if copy < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(copy)
    }
}

pub(super) fn close_on_execution(first: u32) -> io::Result<()> {
    // SAFETY: takes numbers; only a flag of each descriptor changes.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}

fn die_with_parent(report: i32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) }.into())?;
    // A parent that died before that call is known by the reading end that died with it.
    let mut poll = libc::pollfd {
        fd: report,
        events: 0,
        revents: 0,
    };
    // SAFETY: one element, ours, outliving the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if ready > 0 && poll.revents & libc::POLLERR != 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

pub(super) fn execute(
    program: &Path,
    arguments: &[String],
    environment: &[String],
) -> io::Result<Infallible> {
    let program = terminated(program.as_os_str().as_bytes())?;
    let arguments = Strings::new(arguments.iter().map(String::as_bytes))?;
    let environment = Strings::new(environment.iter().map(String::as_bytes))?;
    execute_raw(&program, &arguments.pointers, &environment.pointers)
}

/// Both lists end with a null pointer.
fn execute_raw(
    program: &CStr,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> io::Result<Infallible> {
    // SAFETY: the path is terminated; both lists hold terminated strings, end with a null pointer,
    // and outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Writes `content` in one call from a child process, and waits for it.
pub(crate) fn write_in_child(file: &File, content: &[u8]) -> io::Result<()> {
    let Some((pid, pidfd)) = clone_process(0)? else {
        // SAFETY: the pointer and length are those of `content`.
        let written =
            unsafe { libc::write(file.as_raw_fd(), content.as_ptr().cast(), content.len()) };
        leave(u8::from(written < 0))
    };
    let child = super::Child { pid, pidfd };
    match child.wait()? {
        super::Exit::Status(0) => Ok(()),
        outcome => Err(io::Error::other(format!(
            "writing from a child process: {outcome}"
        ))),
    }
}

/// Given descriptors have numbers below this one.
const HIGHEST_GIVEN: i32 = 64;
