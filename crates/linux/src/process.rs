//! Starting programs with exactly what they are given, and waiting for them.
//!
//! A [`Command`] inherits nothing: no environment, no descriptor, no signal disposition, and after
//! [`Command::confined`] no privilege. The child is a [`Child`] with a pid descriptor, so that no
//! signal can reach a stranger that got the same number.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

use crate::namespace::Kind;

mod launch;

pub use launch::Step;
pub(crate) use launch::write_in_child;
pub use rustix::process::{Resource, Rlimit, Signal};

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An argument, a variable or a path has a zero byte in it.
    #[error("an argument of `{program}` has a zero byte")]
    ZeroByte {
        /// The program.
        program: String,
        /// Where.
        source: NulError,
    },
    /// The process could not be made.
    #[error("cannot make a process for `{program}`")]
    Clone {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The new process could not be prepared, or the program not executed.
    #[error("cannot start `{program}`: {step}")]
    Prepare {
        /// The program.
        program: String,
        /// What was being done.
        step: Step,
        /// Why it failed.
        source: io::Error,
    },
}

/// A program to start.
#[derive(Debug)]
pub struct Command {
    program: Vec<u8>,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    directory: Vec<u8>,
    descriptors: BTreeMap<i32, OwnedFd>,
    network: Option<OwnedFd>,
    unshared: Vec<Kind>,
    cgroups: Vec<OwnedFd>,
    limits: Vec<(Resource, Rlimit)>,
    identity: Option<Identity>,
    confined: bool,
    dies_with_parent: bool,
}

#[derive(Clone, Debug)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Command {
    /// `program` by its path; it is not searched for. Standard input, output and error are
    /// `/dev/null` until they are given with [`Command::descriptor`].
    #[must_use]
    pub fn new(program: impl AsRef<Path>) -> Self {
        let program = program.as_ref().as_os_str().as_bytes().to_vec();
        Self {
            arguments: vec![program.clone()],
            program,
            environment: Vec::new(),
            directory: b"/".to_vec(),
            descriptors: BTreeMap::new(),
            network: None,
            unshared: Vec::new(),
            cgroups: Vec::new(),
            limits: Vec::new(),
            identity: None,
            confined: false,
            dies_with_parent: false,
        }
    }

    /// Adds an argument.
    pub fn argument(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().as_bytes().to_vec());
        self
    }

    /// Adds arguments.
    pub fn arguments<A: AsRef<OsStr>>(
        &mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> &mut Self {
        for argument in arguments {
            self.argument(argument);
        }
        self
    }

    /// Adds a variable to the environment, which is otherwise empty.
    pub fn variable(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        let mut variable = name.as_bytes().to_vec();
        variable.push(b'=');
        variable.extend_from_slice(value.as_ref().as_bytes());
        self.environment.push(variable);
        self
    }

    /// The working directory; `/` by default.
    pub fn directory(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.directory = directory.as_ref().as_os_str().as_bytes().to_vec();
        self
    }

    /// Gives the child `descriptor` under `number`. Descriptors not given are closed.
    pub fn descriptor(&mut self, number: u16, descriptor: impl Into<OwnedFd>) -> &mut Self {
        self.descriptors
            .insert(i32::from(number), descriptor.into());
        self
    }

    /// Starts the child in a network namespace.
    pub fn network(&mut self, namespace: OwnedFd) -> &mut Self {
        self.network = Some(namespace);
        self
    }

    /// Starts the child in new namespaces of these kinds. With [`Kind::Mount`], nothing that is
    /// mounted later propagates in or out; with [`Kind::Pid`], the child is process 1 there.
    pub fn unshare(&mut self, kinds: &[Kind]) -> &mut Self {
        self.unshared.extend_from_slice(kinds);
        self
    }

    /// Starts the child in a cgroup: `procs` is its `cgroup.procs`, opened for writing. Once for
    /// each hierarchy.
    pub fn cgroup(&mut self, procs: impl Into<OwnedFd>) -> &mut Self {
        self.cgroups.push(procs.into());
        self
    }

    /// Sets a resource limit, soft and hard.
    pub fn limit(&mut self, resource: Resource, value: u64) -> &mut Self {
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        self.limits.push((resource, limit));
        self
    }

    /// Sets a resource limit to `value`, or to as much of it as this process may give: raising a hard
    /// limit takes a privilege that root in a container often lacks.
    pub fn limit_up_to(&mut self, resource: Resource, value: u64) -> &mut Self {
        let most = rustix::process::getrlimit(resource).maximum;
        self.limit(resource, most.map_or(value, |most| value.min(most)))
    }

    /// Runs the child under this user, group and exactly these supplementary groups.
    pub fn identity(&mut self, uid: u32, gid: u32, groups: &[u32]) -> &mut Self {
        self.identity = Some(Identity {
            uid,
            gid,
            groups: groups.to_vec(),
        });
        self
    }

    /// Takes every capability from the child, in every set, and every way to gain privilege by
    /// executing.
    pub fn confined(&mut self) -> &mut Self {
        self.confined = true;
        self
    }

    /// Has the kernel kill the child as soon as the *thread* that spawned it ends.
    pub fn dies_with_parent(&mut self) -> &mut Self {
        self.dies_with_parent = true;
        self
    }

    /// Starts the program. Returns when it is executing, or says which step failed.
    ///
    /// # Errors
    /// See [`SpawnError`]. No process is left behind.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        let program = || String::from_utf8_lossy(&self.program).into_owned();
        let prepared = launch::Prepared::new(self).map_err(|source| SpawnError::ZeroByte {
            program: program(),
            source,
        })?;
        match prepared.launch() {
            Ok((pid, pidfd)) => Ok(Child { pid, pidfd }),
            Err(launch::Failure::Clone(source)) => Err(SpawnError::Clone {
                program: program(),
                source,
            }),
            Err(launch::Failure::Step(step, source)) => Err(SpawnError::Prepare {
                program: program(),
                step,
                source,
            }),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with a status.
    Status(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// Whether the status was zero.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Status(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "exit status {status}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

/// A started process. Dropping it neither ends nor waits for the process.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

impl Child {
    /// A process that was started by somebody else. How it ends can be seen only by its parent; see
    /// [`adopt_orphans`].
    ///
    /// # Errors
    /// When there is no such process.
    pub fn adopt(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            pidfd: open(pid)?,
        })
    }

    /// Its process id, for showing; act on [`Child::signal`].
    #[must_use]
    pub const fn id(&self) -> i32 {
        self.pid
    }

    /// A descriptor that becomes readable when the process ends.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended and was waited for, or is not ours any more.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Kills and waits.
    ///
    /// # Errors
    /// When the process was already waited for.
    pub fn kill(&self) -> io::Result<Exit> {
        match self.signal(Signal::KILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.wait()
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// When it was already waited for.
    pub fn wait(&self) -> io::Result<Exit> {
        loop {
            match self.wait_with(WaitIdOptions::EXITED) {
                Ok(Some(exit)) => return Ok(exit),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How the process ended, if it did.
    ///
    /// # Errors
    /// When it was already waited for.
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// Waits for the process to end, at most this long.
    ///
    /// # Errors
    /// When it was already waited for.
    pub fn wait_for(&self, longest: Duration) -> io::Result<Option<Exit>> {
        if readable_within(self.pidfd.as_fd(), longest)? {
            self.try_wait()
        } else {
            Ok(None)
        }
    }

    fn wait_with(&self, options: WaitIdOptions) -> io::Result<Option<Exit>> {
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)?;
        Ok(status.map(|status| exit(&status)))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn exit(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Exit::Status(status),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(0),
    }
}

/// Waits until something can be read from `descriptor`, its other end is gone, or the time is over;
/// the last is `false`.
///
/// # Errors
/// When the descriptor cannot be waited for.
pub fn readable_within(descriptor: BorrowedFd<'_>, longest: Duration) -> io::Result<bool> {
    let mut waiting = [PollFd::new(&descriptor, PollFlags::IN)];
    let limit = rustix::event::Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    loop {
        match rustix::event::poll(&mut waiting, Some(&limit)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a pid descriptor for a process that is not our child, to signal it or to see it end.
///
/// # Errors
/// When there is no such process.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Signals a process by its descriptor.
///
/// # Errors
/// When it has ended or may not be signalled.
pub fn signal(process: impl AsFd, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(process, signal)?)
}

/// How much of a resource this process may use now; nothing when it is unlimited.
#[must_use]
pub fn limit(resource: Resource) -> Option<u64> {
    rustix::process::getrlimit(resource).current
}

/// Forbids this process, and what it executes, ever to gain privilege by executing.
///
/// # Errors
/// When the kernel refuses.
pub fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS reads no memory of ours; its unused arguments must be zero, and
    // are.
    let status = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Replaces this program by another, with exactly this environment. Returns only on failure.
///
/// Descriptors stay open that are not marked to be closed; see [`close_from`].
pub fn execute(program: &Path, arguments: &[String], environment: &[String]) -> io::Error {
    match launch::execute(program, arguments, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Marks every descriptor from `first` on to be closed by an execution.
///
/// # Errors
/// When the kernel is too old.
pub fn close_from(first: u32) -> io::Result<()> {
    launch::close_on_execution(first)
}

/// Lets a descriptor survive an execution.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_over_execution(descriptor: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// Makes this process the parent of processes below it whose own parent ends, so that it can see
/// how they end.
///
/// # Errors
/// When the kernel refuses.
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a number and no memory; unused arguments are zero.
    let status = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1_u64, 0_u64, 0_u64, 0_u64) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A path or argument as the kernel wants it.
fn terminated(bytes: &[u8]) -> Result<CString, NulError> {
    CString::new(bytes)
}

#[cfg(test)]
mod tests;
