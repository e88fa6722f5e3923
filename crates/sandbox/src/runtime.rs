//! The installed OCI runtime, driven through its command line.
//!
//! [`Runc::find`] looks for it and refuses one below the floor, which is too old to contain anything, with
//! the way to mend that. Every act has a deadline, and fails with the reason that the runtime logged.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_linux::process::{Child, Command, Exit, SpawnError};
use serde::Deserialize;

mod version;

pub use version::{Floor, Version, Warning};

/// Why there is no runtime to use.
#[derive(Debug, thiserror::Error)]
pub enum FindRuntimeError {
    /// It is not installed.
    #[error("runc is not installed; install it (Debian and Ubuntu: `apt-get install runc`)")]
    Absent,
    /// It does not say what it is.
    #[error("`{program}` does not say which version it is: {reason}")]
    Unknown {
        /// Where it is.
        program: PathBuf,
        /// What happened.
        reason: String,
    },
    /// It has a hole that a stage could leave through.
    #[error(
        "runc {found} at `{program}` is too old: {reason}; install {needed} or newer, or a distribution's package with the fix"
    )]
    TooOld {
        /// Where it is.
        program: PathBuf,
        /// Which it is.
        found: String,
        /// What it lacks.
        reason: &'static str,
        /// The first version that will do.
        needed: &'static str,
    },
    /// Its directory for state cannot be made.
    #[error("cannot make `{path}`")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why the runtime did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum RunRuntimeError {
    /// It could not be started.
    #[error("cannot start the runtime")]
    Start(#[from] SpawnError),
    /// Something of ours around it failed.
    #[error("cannot {act} for the runtime")]
    Prepare {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It said no.
    #[error("runc {act} `{id}`: {reason}")]
    Refused {
        /// What it was told.
        act: &'static str,
        /// About which container.
        id: String,
        /// What it logged.
        reason: String,
    },
    /// It did not end in time, and was killed.
    #[error("runc {act} `{id}` did not end within {seconds} seconds")]
    Overdue {
        /// What it was told.
        act: &'static str,
        /// About which container.
        id: String,
        /// How long it had.
        seconds: u64,
    },
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, its first process waits.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Stopped,
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// Its first process, as the host counts; 0 when there is none.
    #[serde(default)]
    pub pid: i32,
}

/// What a process in a container is given.
#[derive(Debug)]
pub struct Given<'launch> {
    /// The network namespace that it runs in.
    pub network: &'launch OwnedFd,
    /// Its standard output and error.
    pub output: OwnedFd,
    /// Its descriptors from 3 on.
    pub descriptors: Vec<OwnedFd>,
}

/// `runc`, with its own directory for state.
#[derive(Clone, Debug)]
pub struct Runc {
    program: PathBuf,
    root: PathBuf,
    version: Version,
}

impl Runc {
    /// Finds runc, at `program` or in the system's directories, and looks at its version. Known holes
    /// that a distribution may have closed in its own way come back as warnings, and so does, with
    /// [`Floor::Waived`], what it would be refused for.
    ///
    /// # Errors
    /// See [`FindRuntimeError`].
    pub fn find(
        program: Option<&Path>,
        root: &Path,
        floor: Floor,
    ) -> Result<(Self, Vec<Warning>), FindRuntimeError> {
        let program = program
            .map(Path::to_owned)
            .or_else(|| {
                DIRECTORIES
                    .iter()
                    .map(|at| Path::new(at).join("runc"))
                    .find(|at| at.is_file())
            })
            .filter(|program| program.is_file())
            .ok_or(FindRuntimeError::Absent)?;
        let unknown = |reason: String| FindRuntimeError::Unknown {
            program: program.clone(),
            reason,
        };
        let text = output_of(&program).map_err(unknown)?;
        let version = Version::parse(&text).ok_or_else(|| unknown(format!("`{}`", text.trim())))?;
        let warnings = version
            .judge(floor)
            .map_err(|hole| FindRuntimeError::TooOld {
                program: program.clone(),
                found: version.to_string(),
                reason: hole.what,
                needed: hole.needed,
            })?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|source| FindRuntimeError::Directory {
                path: root.to_owned(),
                source,
            })?;
        Ok((
            Self {
                program,
                root: root.to_owned(),
                version,
            },
            warnings,
        ))
    }

    /// Which runc it is.
    #[must_use]
    pub const fn version(&self) -> &Version {
        &self.version
    }

    /// Makes a container from a bundle, inside a network namespace. Its first process, whose id as
    /// the host counts is returned, has what is given; it waits for [`Runc::start`].
    ///
    /// # Errors
    /// See [`RunRuntimeError`].
    pub fn create(
        &self,
        id: &str,
        bundle: &Path,
        given: Given<'_>,
    ) -> Result<i32, RunRuntimeError> {
        let pid_file = self.root.join(format!("{id}.pid"));
        let mut command = self.command(id);
        command
            .argument("create")
            .argument("--bundle")
            .argument(bundle);
        command.argument("--pid-file").argument(&pid_file);
        give(&mut command, given)?;
        command.argument("--").argument(id);
        self.run("create", id, &command)?;
        let text = fs::read_to_string(&pid_file);
        drop(fs::remove_file(&pid_file));
        text.and_then(|text| text.trim().parse().map_err(io::Error::other))
            .map_err(|source| RunRuntimeError::Prepare {
                act: "read the first process's id",
                source,
            })
    }

    /// Lets the first process of a container go on.
    ///
    /// # Errors
    /// See [`RunRuntimeError`].
    pub fn start(&self, id: &str) -> Result<(), RunRuntimeError> {
        let mut command = self.command(id);
        command.argument("start").argument("--").argument(id);
        self.run("start", id, &command)
    }

    /// Starts a further process in a running container: same namespaces, same first filter, same
    /// limits. The child returned is the runtime's own process; it ends as the inner one does.
    ///
    /// # Errors
    /// See [`RunRuntimeError`].
    pub fn exec(
        &self,
        id: &str,
        arguments: &[&str],
        (uid, gid): (u32, u32),
        given: Given<'_>,
    ) -> Result<Child, RunRuntimeError> {
        let mut command = self.command_logging_to(&self.exec_log(id));
        command.argument("exec").argument("--cwd").argument("/");
        command.argument("--user").argument(format!("{uid}:{gid}"));
        give(&mut command, given)?;
        command.argument("--").argument(id).arguments(arguments);
        Ok(command.spawn()?)
    }

    /// What a container is doing; nothing if there is none of this name.
    ///
    /// # Errors
    /// See [`RunRuntimeError`].
    pub fn state(&self, id: &str) -> Result<Option<State>, RunRuntimeError> {
        if !self.root.join(id).is_dir() {
            return Ok(None);
        }
        let prepare = |source| RunRuntimeError::Prepare {
            act: "make a pipe",
            source,
        };
        let (reader, writer) = io::pipe().map_err(prepare)?;
        let mut command = self.command(id);
        command
            .descriptor(1, writer)
            .argument("state")
            .argument("--")
            .argument(id);
        let child = command.spawn()?;
        drop(command);
        let mut text = Vec::new();
        reader
            .take(LONGEST_OUTPUT)
            .read_to_end(&mut text)
            .map_err(prepare)?;
        self.settle("state", id, &child)?;
        let state = serde_json::from_slice(&text).map_err(|error| RunRuntimeError::Refused {
            act: "state",
            id: id.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Some(state))
    }

    /// Sends a signal, by name, to the first process of a container, or to all of them.
    ///
    /// # Errors
    /// See [`RunRuntimeError`].
    pub fn kill(&self, id: &str, signal: &str, all: bool) -> Result<(), RunRuntimeError> {
        let mut command = self.command(id);
        command.argument("kill");
        if all {
            command.argument("--all");
        }
        command.argument("--").argument(id).argument(signal);
        self.run("kill", id, &command)
    }

    /// Removes a container; with `force`, kills what runs in it first. One that is not there is fine.
    ///
    /// # Errors
    /// See [`RunRuntimeError`].
    pub fn delete(&self, id: &str, force: bool) -> Result<(), RunRuntimeError> {
        drop(fs::remove_file(self.exec_log(id)));
        if !self.root.join(id).exists() {
            return Ok(());
        }
        let mut command = self.command(id);
        command.argument("delete");
        if force {
            command.argument("--force");
        }
        command.argument("--").argument(id);
        self.run("delete", id, &command)
    }

    /// The names of all containers, in whatever state.
    ///
    /// # Errors
    /// When the directory for state cannot be read.
    pub fn containers(&self) -> Result<Vec<String>, RunRuntimeError> {
        let prepare = |source| RunRuntimeError::Prepare {
            act: "list containers",
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(prepare)? {
            let entry = entry.map_err(prepare)?;
            if entry.file_type().map_err(prepare)?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// What the runtime said about the last [`Runc::exec`] that went wrong, if it did.
    pub(crate) fn exec_failure(&self, id: &str) -> Option<String> {
        last_error(&self.exec_log(id))
    }

    fn command(&self, id: &str) -> Command {
        self.command_logging_to(&self.log(id))
    }

    fn command_logging_to(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.variable("PATH", DIRECTORIES.join(":"));
        command.argument("--root").argument(&self.root);
        command
            .argument("--log")
            .argument(log)
            .argument("--log-format")
            .argument("json");
        command
    }

    fn exec_log(&self, id: &str) -> PathBuf {
        self.root.join(format!("{id}.exec.log"))
    }

    fn log(&self, id: &str) -> PathBuf {
        self.root.join(format!("{id}.log"))
    }

    fn run(&self, act: &'static str, id: &str, command: &Command) -> Result<(), RunRuntimeError> {
        let child = command.spawn()?;
        self.settle(act, id, &child)
    }

    fn settle(&self, act: &'static str, id: &str, child: &Child) -> Result<(), RunRuntimeError> {
        let wait = |source| RunRuntimeError::Prepare {
            act: "wait",
            source,
        };
        let outcome = child.wait_for(DEADLINE).map_err(wait)?;
        let log = self.log(id);
        let reason = last_error(&log);
        if outcome.is_some_and(Exit::success) {
            // Kept only while it explains a failure.
            drop(fs::remove_file(&log));
            return Ok(());
        }
        let Some(outcome) = outcome else {
            child.kill().map_err(wait)?;
            let seconds = DEADLINE.as_secs();
            return Err(RunRuntimeError::Overdue {
                act,
                id: id.to_owned(),
                seconds,
            });
        };
        let reason = reason.unwrap_or_else(|| outcome.to_string());
        drop(fs::remove_file(&log));
        Err(RunRuntimeError::Refused {
            act,
            id: id.to_owned(),
            reason,
        })
    }
}

fn give(command: &mut Command, given: Given<'_>) -> Result<(), RunRuntimeError> {
    let copy = |descriptor: &OwnedFd| {
        let prepare = |source| RunRuntimeError::Prepare {
            act: "copy a descriptor",
            source,
        };
        descriptor.try_clone().map_err(prepare)
    };
    command.network(copy(given.network)?);
    command.descriptor(1, copy(&given.output)?);
    command.descriptor(2, given.output);
    command
        .argument("--preserve-fds")
        .argument(given.descriptors.len().to_string());
    for (number, descriptor) in (3_u16..).zip(given.descriptors) {
        command.descriptor(number, descriptor);
    }
    Ok(())
}

fn output_of(program: &Path) -> Result<String, String> {
    let (reader, writer) = io::pipe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.argument("--version").descriptor(1, writer);
    let child = command.spawn().map_err(|error| error.to_string())?;
    drop(command);
    let mut text = String::new();
    reader
        .take(LONGEST_OUTPUT)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string())?;
    Ok(text)
}

/// The last error in a log of JSON lines.
fn last_error(log: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let mut text = String::new();
    File::open(log)
        .ok()?
        .take(LONGEST_OUTPUT)
        .read_to_string(&mut text)
        .ok()?;
    let mut lines = text
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines
        .find(|line| line.level == "error" || line.level == "fatal")
        .map(|line| line.msg)
}

const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
const DEADLINE: Duration = Duration::from_secs(30);
const LONGEST_OUTPUT: u64 = 1 << 20;
