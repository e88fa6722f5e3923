//! A stage from its creation to its end. Each step consumes the one before.
//!
//! [`create`] makes the container; nothing of the stage runs yet. [`Created::confine`] starts its
//! first process, which compares the sandbox with the plan and waits. [`Confined::serve`] has it
//! confine itself and execute the server. Whatever is dropped before it serves is destroyed; a
//! [`Serving`] stage goes on without its launcher, walled in, until it is stopped or swept up.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use casemate_core::confinement::{
    Difference, ExpectedNamespaces, NamespaceInodes, PROGRAM_DIRECTORY, SealedPlan,
};
use casemate_linux::cgroup::{Group, Limits, Statistics};
use casemate_linux::namespace::{self, Kind};
use casemate_linux::process::{self, Child, Exit, Signal};
use casemate_linux::{memory, proc, socket};

use crate::bundle::{Bundle, PrepareBundleError};
use crate::plan::{Plan, STAGE_USER};
use crate::runtime::{Given, RunRuntimeError, Runc};

mod dialogue;

use dialogue::{confirmation, order};

/// Why a stage did not get further. It is destroyed by then.
#[derive(Debug, thiserror::Error)]
pub enum RunStageError {
    /// The runtime.
    #[error("the runtime failed")]
    Runtime(#[from] RunRuntimeError),
    /// The bundle.
    #[error("the bundle failed")]
    Bundle(#[from] PrepareBundleError),
    /// Something of ours around it.
    #[error("cannot {act}")]
    Prepare {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The control group has other limits than planned.
    #[error("the control group's limits are {found:?}, planned are {planned:?}")]
    Limits {
        /// In the plan.
        planned: Box<Limits>,
        /// In force.
        found: Box<Limits>,
    },
    /// The first process found another sandbox than planned.
    #[error("the sandbox is not the planned one: {}", list(.0))]
    Mismatch(Vec<Difference>),
    /// The first process could not go on.
    #[error("the first process failed: {0}")]
    Failed(String),
    /// The first process said something unexpected, or nothing.
    #[error("the first process {0}")]
    Protocol(String),
}

fn list(differences: &[Difference]) -> String {
    let texts = differences.iter().map(|difference| {
        let Difference {
            what,
            expected,
            found,
        } = difference;
        format!("{what}: planned {expected}, found {found}")
    });
    texts.collect::<Vec<_>>().join("; ")
}

/// What the first process found when it compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The plan's digest, as the first process read it.
    pub digest: String,
    /// Where the stage stands; also what a prober must find.
    pub namespaces: NamespaceInodes,
    /// How many mounts were compared.
    pub mounts: u32,
    /// The kernel's Landlock ABI.
    pub landlock_abi: u32,
}

/// A container of which nothing has run.
#[derive(Debug)]
pub struct Created {
    container: Container,
    control: UnixStream,
}

/// A stage whose sandbox is the planned one, and whose first process waits.
#[derive(Debug)]
pub struct Confined {
    container: Container,
    control: UnixStream,
    confirmation: Confirmation,
}

/// A stage whose server is running.
#[derive(Debug)]
pub struct Serving {
    container: Container,
    confirmation: Confirmation,
    landlock_abi: u32,
}

/// What there is to destroy.
#[derive(Debug)]
struct Container {
    runc: Runc,
    id: String,
    sealed: SealedPlan,
    network: OwnedFd,
    group: Group,
    bundle: Option<Bundle>,
    first: Option<Child>,
    armed: bool,
}

/// Makes the container of `plan` in its bundle. `output` is its standard output and error.
///
/// # Errors
/// See [`RunStageError`].
pub fn create(
    runc: &Runc,
    plan: &Plan,
    bundle: Bundle,
    output: OwnedFd,
) -> Result<Created, RunStageError> {
    let bundle_path = bundle.path().to_owned();
    let network = namespace::open_network(&plan.network)
        .map_err(failed("open the stage's network namespace"))?;
    let mut container = Container {
        runc: runc.clone(),
        id: plan.id.clone(),
        sealed: plan.seal(expected_namespaces(&network)?),
        network,
        group: Group::at(&plan.cgroup).map_err(failed("find control groups"))?,
        bundle: Some(bundle),
        first: None,
        armed: true,
    };
    let (control, theirs) = socket::pair().map_err(failed("make the control socket"))?;
    let sealed = container.sealed_file()?;
    let descriptors = vec![sealed, theirs.into()];
    let given = Given {
        network: &container.network,
        output,
        descriptors,
    };
    let pid = runc.create(&plan.id, &bundle_path, given)?;
    container.first = Some(Child::adopt(pid).map_err(failed("watch the first process"))?);
    check_limits(plan, &container.group)?;
    match namespace::forbid_memory_file_execution(pid) {
        // Kernels before 6.3 have no such setting.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.map_err(failed("forbid executing memory files"))?,
    }
    Ok(Created { container, control })
}

impl Created {
    /// Starts the first process and waits for what it finds.
    ///
    /// # Errors
    /// See [`RunStageError`].
    pub fn confine(self) -> Result<Confined, RunStageError> {
        let Self {
            container,
            mut control,
        } = self;
        container.runc.start(&container.id)?;
        let confirmation = confirmation(&mut control, &container.sealed.digest)?;
        Ok(Confined {
            container,
            control,
            confirmation,
        })
    }

    /// Destroys it.
    ///
    /// # Errors
    /// When something is left.
    pub fn destroy(self) -> Result<(), RunStageError> {
        self.container.destroy()
    }
}

impl Confined {
    /// What the first process found.
    #[must_use]
    pub const fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }

    /// The first process, as the host counts; it stays the server's.
    #[must_use]
    pub fn process(&self) -> i32 {
        self.container.process()
    }

    /// Starts the prober beside the waiting first process, as confined as the server will be. Its
    /// channel is the stream; the child ends as the prober does.
    ///
    /// # Errors
    /// See [`RunStageError`].
    pub fn probe(&self, output: OwnedFd) -> Result<(Child, UnixStream), RunStageError> {
        self.container.probe(output)
    }

    /// Has the first process confine itself and execute the server.
    ///
    /// # Errors
    /// See [`RunStageError`].
    pub fn serve(self) -> Result<Serving, RunStageError> {
        let Self {
            container,
            mut control,
            confirmation,
        } = self;
        let landlock_abi = order(&mut control, true)?;
        Ok(Serving {
            container,
            confirmation,
            landlock_abi,
        })
    }

    /// Destroys it.
    ///
    /// # Errors
    /// When something is left.
    pub fn destroy(self) -> Result<(), RunStageError> {
        self.container.destroy()
    }
}

impl Serving {
    /// What the first process found.
    #[must_use]
    pub const fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }

    /// The Landlock ABI that was applied.
    #[must_use]
    pub const fn landlock_abi(&self) -> u32 {
        self.landlock_abi
    }

    /// The server's process, as the host counts.
    #[must_use]
    pub fn process(&self) -> i32 {
        self.container.process()
    }

    /// A copy of a descriptor that becomes readable when the server ends.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn ended(&self) -> io::Result<OwnedFd> {
        match &self.container.first {
            Some(first) => first.as_fd().try_clone_to_owned(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// How the server ended, if it did. Only a launcher that adopts orphans learns how; to others it
    /// looks like a signal of number 0.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn exit(&self) -> io::Result<Option<Exit>> {
        let Some(first) = &self.container.first else {
            return Ok(Some(Exit::Signal(0)));
        };
        if !process::readable_within(first.descriptor(), Duration::ZERO)? {
            return Ok(None);
        }
        // Not our child: somebody else reaps it.
        Ok(first.try_wait().unwrap_or(Some(Exit::Signal(0))))
    }

    /// What the stage uses.
    ///
    /// # Errors
    /// When the control group cannot be read.
    pub fn statistics(&self) -> io::Result<Statistics> {
        self.container.group.statistics()
    }

    /// Starts the prober beside the server.
    ///
    /// # Errors
    /// See [`RunStageError`].
    pub fn probe(&self, output: OwnedFd) -> Result<(Child, UnixStream), RunStageError> {
        self.container.probe(output)
    }

    /// Asks the server to end, waits at most `grace`, then destroys the stage.
    ///
    /// # Errors
    /// When something is left.
    pub fn stop(self, grace: Duration) -> Result<(), RunStageError> {
        if let Some(first) = &self.container.first {
            // One that has ended already is what is wanted.
            drop(first.signal(Signal::TERM));
            process::readable_within(first.descriptor(), grace)
                .map_err(failed("wait for the server"))?;
        }
        self.container.destroy()
    }

    /// Lets the stage go on without this launcher.
    pub fn leave(mut self) {
        self.container.armed = false;
        if let Some(bundle) = self.container.bundle.take() {
            bundle.leave();
        }
    }
}

impl Container {
    fn process(&self) -> i32 {
        self.first.as_ref().map(Child::id).unwrap_or_default()
    }

    fn sealed_file(&self) -> Result<OwnedFd, RunStageError> {
        let text = serde_json::to_vec(&self.sealed)
            .map_err(|error| failed("write the plan")(error.into()))?;
        memory::sealed_file("plan", &text).map_err(failed("seal the plan"))
    }

    fn probe(&self, output: OwnedFd) -> Result<(Child, UnixStream), RunStageError> {
        let (mut control, theirs) = socket::pair().map_err(failed("make the prober's channel"))?;
        let init = format!("{PROGRAM_DIRECTORY}/init");
        let user = (STAGE_USER.uid, STAGE_USER.gid);
        let descriptors = vec![self.sealed_file()?, theirs.into()];
        let given = Given {
            network: &self.network,
            output,
            descriptors,
        };
        let child = self.runc.exec(&self.id, &[&init, "probe"], user, given)?;
        let started = confirmation(&mut control, &self.sealed.digest)
            .and_then(|_| order(&mut control, false));
        match started {
            Ok(_) => {
                control
                    .set_read_timeout(None)
                    .map_err(failed("prepare the prober's channel"))?;
                Ok((child, control))
            }
            Err(error) => {
                // The first failure is the one to tell, but the runtime may know more.
                drop(child.kill());
                match (&error, self.runc.exec_failure(&self.id)) {
                    (RunStageError::Protocol(_), Some(reason)) => {
                        let id = self.id.clone();
                        Err(RunRuntimeError::Refused {
                            act: "exec",
                            id,
                            reason,
                        }
                        .into())
                    }
                    _ => Err(error),
                }
            }
        }
    }

    fn destroy(mut self) -> Result<(), RunStageError> {
        self.armed = false;
        self.clear()
    }

    fn clear(&mut self) -> Result<(), RunStageError> {
        if self.group.exists() {
            self.group
                .kill_all(LONGEST_KILL)
                .map_err(failed("kill the stage"))?;
        }
        if let Some(first) = &self.first {
            process::readable_within(first.descriptor(), LONGEST_KILL)
                .map_err(failed("wait for the stage"))?;
            // A launcher that adopts orphans must also bury them.
            drop(first.try_wait());
        }
        self.runc.delete(&self.id, true)?;
        self.group
            .remove()
            .map_err(failed("remove the control group"))?;
        if let Some(bundle) = self.bundle.take() {
            bundle.remove()?;
        }
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.armed {
            // Nobody is left to be told; a sweep finds what remains.
            drop(self.clear());
        }
    }
}

/// The inode numbers of the namespaces of a process, or of `self`.
///
/// # Errors
/// When they cannot be read.
pub fn namespaces(process: &str) -> io::Result<NamespaceInodes> {
    Ok(NamespaceInodes {
        cgroup: namespace::inode(process, Kind::Cgroup)?,
        ipc: namespace::inode(process, Kind::Ipc)?,
        mount: namespace::inode(process, Kind::Mount)?,
        network: namespace::inode(process, Kind::Network)?,
        pid: namespace::inode(process, Kind::Pid)?,
        user: namespace::inode(process, Kind::User)?,
        uts: namespace::inode(process, Kind::Uts)?,
    })
}

fn expected_namespaces(network: &OwnedFd) -> Result<ExpectedNamespaces, RunStageError> {
    let look = || {
        let network = namespace::inode_of(network)?;
        Ok(ExpectedNamespaces {
            network,
            launcher: namespaces("thread-self")?,
        })
    };
    look().map_err(failed("look at namespaces"))
}

/// From inside, a stage cannot see the limits of its control group; so they are read from here.
fn check_limits(plan: &Plan, group: &Group) -> Result<(), RunStageError> {
    let resources = &plan.config.linux.resources;
    let planned = Limits {
        memory_bytes: Some(resources.memory.limit),
        swap_bytes: Some(0),
        processes: Some(resources.pids.limit),
        milli_cpus: resources
            .cpu
            .quota
            .saturating_mul(1000)
            .checked_div(resources.cpu.period),
    };
    let mut found = group.limits().map_err(failed("read the control group"))?;
    // Where the kernel does not limit swap, there must be none.
    if found.swap_bytes.is_none() && !proc::swaps().map_err(failed("look for swap"))? {
        found.swap_bytes = Some(0);
    }
    // The kernel rounds memory down to whole pages, the largest of which have this size.
    let rounded = |limits: Limits| Limits {
        memory_bytes: limits.memory_bytes.map(|bytes| bytes / LARGEST_PAGE),
        ..limits
    };
    if rounded(found) == rounded(planned) {
        Ok(())
    } else {
        Err(RunStageError::Limits {
            planned: planned.into(),
            found: found.into(),
        })
    }
}

fn failed(act: &'static str) -> impl FnOnce(io::Error) -> RunStageError {
    move |source| RunStageError::Prepare { act, source }
}

const LONGEST_KILL: Duration = Duration::from_secs(10);
const LARGEST_PAGE: u64 = 64 << 10;
