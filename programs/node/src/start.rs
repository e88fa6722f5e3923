//! From a fresh process to a serving daemon, and back down again.
//!
//! The order matters: the private mount namespace before the first thread, the locks before anything
//! is launched, the sweep before anything is launched.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_core::event::{Severity, kind};
use casemate_core::time::SystemClock;
use casemate_linux::{namespace, process};
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::host::Host;
use crate::journal::Journal;
use crate::keys::{KeepKeyError, NodeKey, ReceiptKey};
use crate::leftovers;
use crate::locks::{self, TakeLockError};
use crate::node::Node;
use crate::recorder::Recorder;
use crate::serve::{self, FindGroupError, Group, ServeError};
use crate::settings::{LogFormat, Settings};
use crate::spawner::Spawner;
use crate::store::{Store, StoreError};
use crate::users;

/// Why the daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "casemated must be started as root: it makes namespaces, mounts and users; try `sudo casemated ...`"
    )]
    NotRoot,
    #[error("cannot leave the host's mount tree or adopt orphans")]
    Mounts(#[source] io::Error),
    #[error("cannot make the directory `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "`{path}` must be open to be passed through by others (mode 0711 is enough): stages are built below it"
    )]
    Closed { path: PathBuf },
    #[error("this casemated would not be alone")]
    Lock(#[from] TakeLockError),
    #[error("numeric users of the node are somebody else's")]
    Taken(#[from] users::Taken),
    #[error("cannot read `{path}`")]
    Users {
        path: &'static str,
        source: io::Error,
    },
    #[error("the group cannot be used")]
    Group(#[from] FindGroupError),
    #[error("the node's keys cannot be used")]
    Keys(#[from] KeepKeyError),
    #[error("the node's memory cannot be used")]
    Store(#[from] StoreError),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("the API cannot be offered")]
    Serve(#[from] ServeError),
    #[error("cannot publish the receipt key: {0}")]
    Publish(String),
}

impl StartError {
    /// 1 for what the caller can mend, 70 for what is our fault.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::NotRoot
            | Self::Directory { .. }
            | Self::Closed { .. }
            | Self::Taken(_)
            | Self::Users { .. }
            | Self::Group(_)
            | Self::Keys(_)
            | Self::Store(_)
            | Self::Serve(_)
            | Self::Lock(TakeLockError::OnHost { .. } | TakeLockError::OnState { .. }) => 1,
            Self::Lock(TakeLockError::File { .. })
            | Self::Mounts(_)
            | Self::Thread(_)
            | Self::Publish(_) => 70,
        }
    }
}

/// Runs until the process is asked to end.
pub(crate) fn run(settings: Settings) -> Result<(), StartError> {
    if !rustix::process::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    log_to_stderr(settings.log);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    users_are_free()?;
    let group = settings.group.as_deref().map(Group::find).transpose()?;
    namespace::isolate_mounts().map_err(StartError::Mounts)?;
    // Servers outlive the runtime that made them; as their parent we learn how they end.
    process::adopt_orphans().map_err(StartError::Mounts)?;
    let _host = locks::host(&settings.run)?;
    make_directories(&settings)?;
    let _state = locks::state(&settings.state)?;

    let key = NodeKey::open(&settings.state)?;
    let receipt_key = Arc::new(ReceiptKey::open(&settings.state, &key)?);
    let store = Arc::new(Store::open(&settings.state, Arc::clone(&receipt_key))?);
    let journal = Journal::new(store, Arc::new(SystemClock));
    let spawner = Spawner::start().map_err(StartError::Thread)?;
    let recorder = Recorder::start(journal.clone()).map_err(StartError::Thread)?;
    let host = Host::find(&settings);
    let listener = serve::bind(&settings.socket(), group.as_ref())?;
    leftovers::sweep(&settings, &journal, &host);
    let node = Node::new(settings, key, receipt_key, journal, spawner, recorder, host);
    node.publish("receipt-key.pem", &node.receipt_key.public_pem())
        .map_err(|failure| StartError::Publish(failure.message().to_owned()))?;
    if let Err(failure) = node.resume_issuer() {
        // Stages cannot come up without it, and `up` will say why again.
        tracing::error!(
            code = failure.code().word(),
            reason = failure.message(),
            "no issuer"
        );
    }
    let started = node.journal.event(kind::NODE_STARTED, Severity::Info);
    node.journal
        .add(started.fact("version", env!("CARGO_PKG_VERSION")));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let socket = node.settings.socket();
    let served = runtime.block_on(serve(listener, Arc::clone(&node), group));
    // Whoever still waits for an answer gets none; stages and helpers go down in order.
    node.stop();
    runtime.shutdown_background();
    fs::remove_file(&socket).ok();
    tracing::info!("stopped");
    served
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    node: Arc<Node>,
    group: Option<Group>,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Thread)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Thread)?;
    let ready = node.settings.socket().display().to_string();
    tracing::info!(socket = %ready, next = "casemate up FILE", "ready");
    tokio::select! {
        served = serve::serve(listener, Arc::clone(&node), group) => served.map_err(StartError::from),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// That nobody on this host can become what a part of the node runs under.
fn users_are_free() -> Result<(), StartError> {
    let read = |path: &'static str| match fs::read(path) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        // A host without delegations may lack the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(StartError::Users { path, source }),
    };
    let found = users::taken(users::Files {
        passwd: &read("/etc/passwd")?,
        group: &read("/etc/group")?,
        subuid: &read("/etc/subuid")?,
        subgid: &read("/etc/subgid")?,
    });
    found.map_or(Ok(()), |taken| Err(taken.into()))
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_env_var("CASEMATE_LOG")
        .with_default_directive(tracing_subscriber::filter::LevelFilter::INFO.into())
        .from_env_lossy();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn make_directories(settings: &Settings) -> Result<(), StartError> {
    make(&settings.state, 0o700, 0)?;
    make(&settings.state.join("images"), 0o700, 0)?;
    make(&settings.run, 0o711, 0)?;
    // Stages resolve what they are built from as themselves.
    for ancestor in settings.run.ancestors() {
        let mode = fs::metadata(ancestor).map_or(0, |found| found.mode());
        if mode & 0o001 == 0 {
            return Err(StartError::Closed {
                path: ancestor.to_owned(),
            });
        }
    }
    for (name, mode, gid) in [
        ("bundles", 0o711, 0),
        ("netns", 0o711, 0),
        ("views", 0o711, 0),
        ("mesh", 0o710, users::MESH_GID),
        ("logs", 0o700, 0),
        ("witness", 0o711, 0),
        ("runc", 0o700, 0),
    ] {
        make(&settings.run_dir(name), mode, gid)?;
    }
    Ok(())
}

fn make(path: &Path, mode: u32, gid: u32) -> Result<(), StartError> {
    let make = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        std::os::unix::fs::chown(path, Some(0), Some(gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    make().map_err(|source| StartError::Directory {
        path: path.to_owned(),
        source,
    })
}
