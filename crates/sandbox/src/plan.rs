//! The plan of a stage: everything its sandbox will be, decided before anything is done.
//!
//! [`plan`] reads nothing but its argument. What it refuses is a [`PlanStageError`]; what it returns
//! can be compared, stored and signed by its digest.

use std::path::PathBuf;

use casemate_core::confinement::{
    Confinement, ExpectedNamespaces, IdRange, Identity, LandlockRules, SealedPlan, Server,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::oci::{
    Capabilities, Config, Cpu, DeviceRule, IdMapping, Linux, Memory, Namespace, Pids, Process,
    Resources, Root, User,
};

mod limits;
mod mounts;
mod paths;
mod request;
mod seccomp;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use mounts::HOSTS;
pub use paths::{MASKED, READ_ONLY};
pub use request::{FlowPort, HostFacts, ModelView, RootFileSystem, StageLimits, StageRequest};

/// The user and group of every process of a stage, inside its user namespace.
pub const STAGE_USER: Identity = Identity {
    uid: 1000,
    gid: 1000,
};
/// How many ids each stage has.
pub const RANGE_LENGTH: u32 = 65_536;
/// The first id of the stage with slot 0.
pub const RANGE_BASE: u32 = 600_000;

/// The control group above those of all stages.
pub const PARENT_GROUP: &str = "/casemate";
/// Where directories of the host are in a bundle, by number.
pub(crate) const HOST_DIRECTORY: &str = "host";
/// How many stages one host has ids for.
pub const MOST_SLOTS: u16 = 65_000;

/// Why a request cannot become a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanStageError {
    /// The container's name could be read as a path or an option.
    #[error("`{0}` cannot name a container")]
    Id(String),
    /// The host has no ids left for this slot.
    #[error("slot {0} is beyond the ids of a host; there are {MOST_SLOTS}")]
    Slot(u16),
    /// Neither the request nor the image says what to run.
    #[error("no command: neither the stage nor its image names one")]
    NoCommand,
    /// A path is not absolute, not plain, or not text.
    #[error("`{0}` is not a plain absolute path")]
    Path(String),
    /// A path that the sandbox itself needs, or that would show the host.
    #[error("`{path}` cannot be {what}: {reason}")]
    Forbidden {
        /// The path.
        path: String,
        /// What it was to be.
        what: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// Two mounts at the same place, or one that would hide another.
    #[error("`{0}` is given twice, or hides something else")]
    Overlap(String),
    /// A variable that cannot be one.
    #[error("`{0}` cannot be an environment variable")]
    Variable(String),
    /// A limit that no server could live with.
    #[error("{what} of {value} is less than {least}")]
    TooLittle {
        /// Which.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// The least.
        least: u64,
    },
    /// Weights in memory would be written to a disk.
    #[error(
        "this host swaps, and its control groups cannot keep a stage out of it; \
             run `swapoff -a` or boot with `swapaccount=1`"
    )]
    Swap,
    /// A port that needs privilege or is none.
    #[error("port {0} cannot be served without privilege; use 1024 or above")]
    Port(u16),
}

/// A plan: what the runtime is told, what the first process checks, what is laid out before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The container's name.
    pub id: String,
    /// For the runtime.
    pub config: Config,
    /// For the first process.
    pub confinement: Confinement,
    /// The root file system, before mounts.
    pub root: PlannedRoot,
    /// The control group, relative to each hierarchy.
    pub cgroup: String,
    /// The network namespace in which the stage is started.
    pub network: PathBuf,
    /// SHA-256 of `config` and `confinement`, in hexadecimal.
    pub digest: String,
}

/// What is laid out before the runtime starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRoot {
    /// The unpacked image, if there is one; else an empty directory is filled with what follows.
    pub image: Option<PathBuf>,
    /// Directories of the host; the runtime finds each at its place of [`HOST_DIRECTORY`].
    pub host: Vec<PathBuf>,
    /// Directories that those must have nothing to do with.
    pub kept: Vec<PathBuf>,
    /// Mount points to make.
    pub directories: Vec<String>,
    /// Symbolic links to make, with their targets.
    pub links: Vec<(String, String)>,
    /// Files to make.
    pub files: Vec<(String, String)>,
}

impl Plan {
    /// The plan for one launch, to be sealed into memory for the first process.
    #[must_use]
    pub fn seal(&self, namespaces: ExpectedNamespaces) -> SealedPlan {
        SealedPlan {
            digest: self.digest.clone(),
            confinement: self.confinement.clone(),
            namespaces,
        }
    }
}

/// Decides what the sandbox of a stage will be.
///
/// # Errors
/// See [`PlanStageError`]. Nothing is corrected silently.
pub fn plan(request: &StageRequest) -> Result<Plan, PlanStageError> {
    limits::check(request)?;
    paths::text(&request.network)?;
    let laid = mounts::lay(request)?;
    let server = server::server(request)?;
    let range = IdRange {
        inside: 0,
        outside: RANGE_BASE.saturating_add(u32::from(request.slot).saturating_mul(RANGE_LENGTH)),
        count: RANGE_LENGTH,
    };
    let cgroup = format!("{PARENT_GROUP}/{}", request.id);
    let config = config(request, &laid, &server, range, &cgroup);
    let confinement = Confinement {
        identity: STAGE_USER,
        uid_map: range,
        gid_map: range,
        mounts: laid.planned,
        masked: paths::owned(MASKED),
        read_only: paths::owned(READ_ONLY),
        devices: paths::devices(),
        interfaces: vec!["lo".to_owned()],
        limits: limits::expected(request),
        seccomp_filters: 1,
        landlock: LandlockRules {
            minimum_abi: 4,
            execute: laid.execute,
            read: laid.read,
            write: laid.write,
            write_existing: paths::write_existing(),
            bind: vec![request.serves],
            connect: request.flows.iter().map(|flow| flow.port).collect(),
        },
        denied_syscalls: seccomp::denied_after_start(),
        denied_prctl: seccomp::DENIED_PRCTL.to_vec(),
        server,
    };
    let digest = digest(&config, &confinement);
    Ok(Plan {
        id: request.id.clone(),
        config,
        confinement,
        root: laid.root,
        cgroup,
        network: request.network.clone(),
        digest,
    })
}

fn config(
    request: &StageRequest,
    laid: &mounts::Laid,
    server: &Server,
    range: IdRange,
    cgroup: &str,
) -> Config {
    let mapping = IdMapping {
        container_id: range.inside,
        host_id: range.outside,
        size: range.count,
    };
    Config {
        oci_version: "1.0.2",
        process: Process {
            terminal: false,
            user: User {
                uid: STAGE_USER.uid,
                gid: STAGE_USER.gid,
                umask: 0o077,
            },
            args: vec![format!(
                "{}/init",
                casemate_core::confinement::PROGRAM_DIRECTORY
            )],
            env: server.environment.clone(),
            cwd: "/".to_owned(),
            capabilities: Capabilities::default(),
            rlimits: limits::resource_limits(request),
            no_new_privileges: true,
            oom_score_adj: 500,
        },
        root: Root {
            path: "rootfs".to_owned(),
            readonly: true,
        },
        hostname: request.id.clone(),
        mounts: laid.mounts.clone(),
        linux: Linux {
            uid_mappings: vec![mapping],
            gid_mappings: vec![mapping],
            namespaces: namespaces(),
            cgroups_path: cgroup.to_owned(),
            resources: resources(request),
            seccomp: seccomp::first_filter(),
            masked_paths: paths::owned(MASKED),
            readonly_paths: paths::owned(READ_ONLY),
            rootfs_propagation: "private",
        },
    }
}

/// New ones of every kind but network: the runtime is itself started inside the stage's network
/// namespace, which so stays with the stage.
///
/// Named here, it could be joined when a container is made but not when a process is added to it:
/// by then the runtime has entered the stage's user namespace, which has no say over a network that
/// the host made. That it has none is wanted, and the first process checks which network it is in.
fn namespaces() -> Vec<Namespace> {
    let own = ["user", "pid", "mount", "ipc", "uts", "cgroup"];
    own.into_iter().map(|kind| Namespace { kind }).collect()
}

fn resources(request: &StageRequest) -> Resources {
    let limits = &request.limits;
    let kill_together = ("memory.oom.group".to_owned(), "1".to_owned());
    Resources {
        devices: vec![DeviceRule {
            allow: false,
            access: "rwm",
        }],
        memory: Memory {
            limit: limits.memory_bytes,
            swap: request.host.swap_limit.then_some(limits.memory_bytes),
        },
        cpu: Cpu {
            quota: limits.milli_cpus.saturating_mul(PERIOD_MICROSECONDS) / 1000,
            period: PERIOD_MICROSECONDS,
        },
        pids: Pids {
            limit: limits.processes,
        },
        unified: request
            .host
            .unified_cgroups
            .then_some(kill_together)
            .into_iter()
            .collect(),
    }
}

fn digest(config: &Config, confinement: &Confinement) -> String {
    #[derive(Serialize)]
    struct Whole<'plan> {
        config: &'plan Config,
        confinement: &'plan Confinement,
    }
    // Members are written in the order of their declaration, so equal plans have equal bytes.
    let bytes = serde_json::to_vec(&Whole {
        config,
        confinement,
    })
    .unwrap_or_default();
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

const PERIOD_MICROSECONDS: u64 = 100_000;
