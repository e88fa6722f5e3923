//! One running helper program: an issuer, a gate or a vault.
//!
//! Started without privilege under its own user, told its settings through a sealed memory file,
//! spoken to over one control stream, watched through its pid descriptor, and ended when dropped.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use casemate_linux::memory;
use casemate_linux::process::{Child, Command, Exit, Signal};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::control::{self, ControlError, Lines, Sender};
use crate::processes;
use crate::spawner::{Spawner, StartChildError};
use crate::stage_log::visible;
use crate::store::{Instance, InstanceKind, Store, StoreError};

/// Why a helper is not running.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartHelperError {
    #[error("the settings of {what} cannot be written as JSON")]
    Settings {
        what: String,
        source: serde_json::Error,
    },
    #[error("cannot prepare descriptors for {what}")]
    Descriptors { what: String, source: io::Error },
    #[error("cannot start {what}")]
    Start {
        what: String,
        source: StartChildError,
    },
    #[error("cannot speak with {what}")]
    Control { what: String, source: ControlError },
    #[error("cannot remember {what}")]
    Remember { what: String, source: StoreError },
    #[error("{what} ended before it was ready ({exit}){said}")]
    Ended {
        what: String,
        exit: String,
        said: String,
    },
    #[error("{what} was not ready within {} seconds{said}", limit.as_secs())]
    NotReady {
        what: String,
        limit: Duration,
        said: String,
    },
    #[error("{what} refused: {reason}")]
    Refused { what: String, reason: String },
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Plan<'a, S> {
    pub(crate) kind: InstanceKind,
    /// `enclosure.stage`, or what else names it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) settings: &'a S,
    /// Descriptors beside 3 (settings) and 4 (control), by number.
    pub(crate) descriptors: Vec<(u16, OwnedFd)>,
    /// What only this kind of helper needs: namespaces, limits.
    pub(crate) adjust: fn(&mut Command),
    /// The network namespace to start in; the daemon's own when absent.
    pub(crate) network: Option<OwnedFd>,
}

/// A helper that was started. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Helper {
    kind: InstanceKind,
    name: String,
    child: Arc<Child>,
    ended: Arc<Ended>,
    said: Arc<Mutex<VecDeque<String>>>,
    control: Arc<Sender>,
    store: Arc<Store>,
}

#[derive(Debug, Default)]
struct Ended {
    exit: Mutex<Option<Exit>>,
    changed: Condvar,
}

impl Helper {
    /// Starts a helper; its control lines come back as `T`.
    pub(crate) fn start<S: Serialize, T: serde::de::DeserializeOwned>(
        spawner: &Spawner,
        store: &Arc<Store>,
        plan: Plan<'_, S>,
    ) -> Result<(Self, Lines<T>), StartHelperError> {
        let what = describe(plan.kind, &plan.name);
        let descriptors = |source| StartHelperError::Descriptors {
            what: what.clone(),
            source,
        };
        let settings =
            serde_json::to_vec(plan.settings).map_err(|source| StartHelperError::Settings {
                what: what.clone(),
                source,
            })?;
        // They may hold keys.
        let settings = Zeroizing::new(settings);
        let settings = memory::sealed_file("settings", &settings).map_err(descriptors)?;
        let (ours, theirs) = UnixStream::pair().map_err(descriptors)?;
        let (errors, errors_in) = io::pipe().map_err(descriptors)?;

        let mut command = Command::new(&plan.program);
        command
            .descriptor(2, OwnedFd::from(errors_in))
            .descriptor(3, settings)
            .descriptor(4, OwnedFd::from(theirs))
            .identity(plan.uid, plan.gid, &plan.groups)
            .confined();
        for (number, descriptor) in plan.descriptors {
            command.descriptor(number, descriptor);
        }
        if let Some(network) = plan.network {
            command.network(network);
        }
        (plan.adjust)(&mut command);

        let (control, lines) =
            control::split(ours).map_err(|source| StartHelperError::Control {
                what: what.clone(),
                source,
            })?;
        let child = spawner
            .spawn(command)
            .map_err(|source| StartHelperError::Start {
                what: what.clone(),
                source,
            })?;
        let helper = Self {
            kind: plan.kind,
            name: plan.name,
            child: Arc::new(child),
            ended: Arc::default(),
            said: Arc::default(),
            control: Arc::new(control),
            store: Arc::clone(store),
        };
        helper.watch(errors).map_err(descriptors)?;
        helper
            .remember()
            .map_err(|source| StartHelperError::Remember { what, source })?;
        Ok((helper, lines))
    }

    /// The daemon's writing end of the control stream.
    pub(crate) fn control(&self) -> Arc<Sender> {
        Arc::clone(&self.control)
    }

    /// Runs `then` on a thread of its own when the helper has ended.
    pub(crate) fn when_ended(&self, then: impl FnOnce(Exit) + Send + 'static) -> io::Result<()> {
        let ended = Arc::clone(&self.ended);
        std::thread::Builder::new()
            .name(format!("watch {}", self.name))
            .spawn(move || then(ended.wait()))
            .map(drop)
    }

    /// Why the first line of a helper did not come: it ended, or time ran out.
    pub(crate) fn not_ready(&self, limit: Duration) -> StartHelperError {
        let what = describe(self.kind, &self.name);
        let exit = self.ended.wait_for(SETTLE);
        let said = self.said();
        match exit {
            Some(exit) => StartHelperError::Ended {
                what,
                exit: exit.to_string(),
                said,
            },
            None => StartHelperError::NotReady { what, limit, said },
        }
    }

    /// An error that says what the helper refused.
    pub(crate) fn refused(&self, reason: String) -> StartHelperError {
        StartHelperError::Refused {
            what: describe(self.kind, &self.name),
            reason,
        }
    }

    /// Ends the helper at once; whoever watches it sees it end.
    pub(crate) fn kill(&self) {
        // Fails only when it has ended already.
        self.child.signal(Signal::KILL).ok();
    }

    /// What ends the helper at once, for whoever does not own it.
    pub(crate) fn killer(&self) -> impl Fn() + Send + Sync + 'static {
        let child = Arc::clone(&self.child);
        move || drop(child.signal(Signal::KILL))
    }

    /// Waits at most `limit` for the helper to end by itself.
    pub(crate) fn wait_for(&self, limit: Duration) -> bool {
        self.ended.wait_for(limit).is_some()
    }

    /// Asks the helper to end by closing its control stream, and ends it when it takes longer.
    pub(crate) fn stop(&self, grace: Duration) {
        self.control.close();
        if self.ended.wait_for(grace).is_none() {
            // It may end by itself in between; what counts is the wait below.
            self.child.signal(Signal::KILL).ok();
            self.ended.wait();
        }
        if let Err(error) = self.store.remove_instance(self.kind, &self.name) {
            tracing::warn!(helper = %self.name, error = %crate::report(&error), "instance not forgotten");
        }
    }

    /// The last lines it wrote to its standard error, for an error message.
    fn said(&self) -> String {
        let lines = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .fold(String::new(), |text, line| text + "\n    " + line)
    }

    fn watch(&self, errors: io::PipeReader) -> io::Result<()> {
        let (child, ended) = (Arc::clone(&self.child), Arc::clone(&self.ended));
        std::thread::Builder::new()
            .name(format!("wait {}", self.name))
            .spawn(move || {
                // Nobody else waits for it, so this fails only when the kernel lost it.
                ended.set(child.wait().unwrap_or(Exit::Signal(0)));
            })?;
        let (said, name) = (Arc::clone(&self.said), describe(self.kind, &self.name));
        std::thread::Builder::new()
            .name(format!("errors {}", self.name))
            .spawn(move || copy_errors(errors, &name, &said))
            .map(drop)
    }

    fn remember(&self) -> Result<(), StoreError> {
        let pid = self.child.id();
        // A helper that has ended already leaves nothing to remember.
        let Some(start_ticks) = processes::start_ticks(pid) else {
            return Ok(());
        };
        self.store.add_instance(&Instance {
            kind: self.kind,
            name: self.name.clone(),
            pid,
            start_ticks,
            boot: processes::boot_id(),
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop(GRACE);
    }
}

impl Ended {
    fn set(&self, exit: Exit) {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner) = Some(exit);
        self.changed.notify_all();
    }

    fn wait(&self) -> Exit {
        loop {
            if let Some(exit) = self.wait_for(Duration::from_secs(3600)) {
                return exit;
            }
        }
    }

    fn wait_for(&self, limit: Duration) -> Option<Exit> {
        let exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        let (exit, _) = self
            .changed
            .wait_timeout_while(exit, limit, |exit| exit.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *exit
    }
}

fn describe(kind: InstanceKind, name: &str) -> String {
    match kind {
        InstanceKind::Issuer => "the issuer".to_owned(),
        InstanceKind::Gate => format!("the gate of {name}"),
        InstanceKind::Vault => format!("the vault of {name}"),
    }
}

/// Copies a helper's standard error into our log, line by line, bounded, and keeps the end of it.
fn copy_errors(errors: io::PipeReader, name: &str, said: &Mutex<VecDeque<String>>) {
    let mut errors = BufReader::new(errors);
    loop {
        let mut line = Vec::new();
        match (&mut errors)
            .take(MAX_ERROR_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = visible(line.strip_suffix(b"\n").unwrap_or(&line));
        tracing::info!(helper = name, line = %line, "helper wrote");
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= KEPT_LINES {
            said.pop_front();
        }
        said.push_back(line);
    }
}

const GRACE: Duration = Duration::from_secs(2);
/// How long a helper that closed its stream gets until its exit is seen.
const SETTLE: Duration = Duration::from_millis(500);
const MAX_ERROR_LINE: u64 = 4096;
const KEPT_LINES: usize = 12;
