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

use crate::image::Image;
use crate::oci::{
    Capabilities, Config, Cpu, DeviceRule, IdMapping, Linux, Memory, Namespace, Pids, Process,
    Resources, Root, User,
};

mod limits;
mod mounts;
mod paths;
mod seccomp;
#[cfg(test)]
mod tests;

pub(crate) use mounts::HOSTS;
pub use paths::{MASKED, READ_ONLY};

/// The user and group of every process of a stage, inside its user namespace.
pub const STAGE_USER: Identity = Identity {
    uid: 1000,
    gid: 1000,
};
/// How many ids each stage has.
pub const RANGE_LENGTH: u32 = 65_536;
/// The first id of the stage with slot 0.
pub const RANGE_BASE: u32 = 600_000;

/// How many stages one host has ids for.
pub const MOST_SLOTS: u16 = 65_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRequest {
    /// The name of the container, such as `chat.infer`: letters, digits, `.`, `-` and `_`.
    pub id: String,
    /// Which of the host's stages it is; each slot has its own range of ids.
    pub slot: u16,
    /// Where programs and libraries come from.
    pub root: RootFileSystem,
    /// Program and arguments; empty for what the image says.
    pub command: Vec<String>,
    /// Variables over those of the image.
    pub environment: Vec<(String, String)>,
    /// The working directory; else that of the image, else `/tmp`.
    pub directory: Option<String>,
    /// Models, each at `/models/<name>`.
    pub models: Vec<ModelView>,
    /// The directory of the launcher's programs (`init`, `probe`), mounted at `/.casemate`.
    pub programs: PathBuf,
    /// The stage's network namespace.
    pub network: PathBuf,
    /// The TCP port that the server binds.
    pub serves: u16,
    /// Stages that this one may call, and the loopback port on which its gate takes each call.
    pub flows: Vec<FlowPort>,
    /// Directories with scratch space of their own, beside `/tmp` and `/dev/shm`.
    pub writable: Vec<String>,
    /// What the stage may use.
    pub limits: StageLimits,
    /// What the host can do.
    pub host: HostFacts,
}

/// Where programs and libraries come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootFileSystem {
    /// An unpacked image.
    Image(Image),
    /// Directories of the host, each at its own path, read-only.
    HostDirectories(Vec<PathBuf>),
}

/// A model as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelView {
    /// Its directory below `/models`.
    pub name: String,
    /// Where the view is mounted outside.
    pub view: PathBuf,
}

/// A way to another stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPort {
    /// The other stage's name; the server finds its address in `CASEMATE_FLOW_<STAGE>`.
    pub stage: String,
    /// The loopback port.
    pub port: u16,
}

/// What a stage may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// Bytes of memory, with scratch space and page cache; no swap.
    pub memory_bytes: u64,
    /// Processors, in thousandths of one.
    pub milli_cpus: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of `/tmp` and of each other writable directory.
    pub scratch_bytes: u64,
    /// Bytes of `/dev/shm`.
    pub shared_memory_bytes: u64,
}

impl Default for StageLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            milli_cpus: 2000,
            processes: 512,
            open_files: 65_536,
            scratch_bytes: 64 << 20,
            shared_memory_bytes: 64 << 20,
        }
    }
}

/// What the host can do, as far as the plan depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Control groups are of version 2.
    pub unified_cgroups: bool,
    /// Swap can be limited.
    pub swap_limit: bool,
    /// No process here can have more open files.
    pub most_open_files: Option<u64>,
    /// No process here can lock more bytes of memory.
    pub most_locked_bytes: Option<u64>,
    /// No user here can have more processes.
    pub most_processes: Option<u64>,
}

impl HostFacts {
    /// Looks at this host.
    ///
    /// # Errors
    /// When no control groups are mounted.
    pub fn detect() -> std::io::Result<Self> {
        use casemate_linux::cgroup::Hierarchy;
        let hierarchy = Hierarchy::detect()?;
        let swap_limit = match &hierarchy {
            Hierarchy::Unified(_) => true,
            Hierarchy::Separate(roots) => roots
                .get("memory")
                .is_some_and(|root| root.join("memory.memsw.limit_in_bytes").exists()),
        };
        let facts = Self {
            unified_cgroups: hierarchy.unified(),
            swap_limit,
            most_open_files: None,
            most_locked_bytes: None,
            most_processes: None,
        };
        let privileged = casemate_linux::proc::status("self")?.capabilities.effective;
        if privileged & RAISE_LIMITS != 0 {
            return Ok(facts);
        }
        // Without that privilege even root keeps to its own limits.
        let limits = casemate_linux::proc::limits("self")?;
        let hard = |name: &str| limits.get(name).and_then(|(_, hard)| *hard);
        Ok(Self {
            most_open_files: hard("Max open files"),
            most_locked_bytes: hard("Max locked memory"),
            most_processes: hard("Max processes"),
            ..facts
        })
    }
}

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
    let server = server(request)?;
    let range = IdRange {
        inside: 0,
        outside: RANGE_BASE.saturating_add(u32::from(request.slot).saturating_mul(RANGE_LENGTH)),
        count: RANGE_LENGTH,
    };
    let cgroup = format!("/casemate/{}", request.id);
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

fn server(request: &StageRequest) -> Result<Server, PlanStageError> {
    let image = match &request.root {
        RootFileSystem::Image(image) => Some(&image.config),
        RootFileSystem::HostDirectories(_) => None,
    };
    let arguments = match (request.command.is_empty(), image) {
        (false, _) => request.command.clone(),
        (true, Some(image)) => image
            .entrypoint
            .iter()
            .chain(&image.command)
            .cloned()
            .collect(),
        (true, None) => Vec::new(),
    };
    if arguments.first().is_none_or(String::is_empty)
        || arguments.iter().any(|text| text.contains('\0'))
    {
        return Err(PlanStageError::NoCommand);
    }
    let directory = request
        .directory
        .clone()
        .or_else(|| image.and_then(|image| image.directory.clone()))
        .unwrap_or_else(|| "/tmp".to_owned());
    paths::plain(&directory)?;
    let mut environment = Environment::default();
    environment.set("PATH", DEFAULT_PATH)?;
    environment.set("LANG", "C.UTF-8")?;
    for variable in image
        .map(|image| image.environment.as_slice())
        .unwrap_or_default()
    {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| PlanStageError::Variable(variable.clone()))?;
        environment.set(name, value)?;
    }
    environment.set("HOME", "/tmp")?;
    environment.set("TMPDIR", "/tmp")?;
    for (name, value) in &request.environment {
        environment.set(name, value)?;
    }
    for flow in &request.flows {
        let name: String = flow
            .stage
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        environment.set(
            &format!("CASEMATE_FLOW_{name}"),
            &format!("http://127.0.0.1:{}", flow.port),
        )?;
    }
    Ok(Server {
        arguments,
        environment: environment.0,
        directory,
    })
}

/// Variables in the order of their first setting; a later one replaces the value.
#[derive(Default)]
struct Environment(Vec<String>);

impl Environment {
    fn set(&mut self, name: &str, value: &str) -> Result<(), PlanStageError> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
        if name.is_empty() || !name.bytes().all(legal) || value.contains('\0') {
            return Err(PlanStageError::Variable(name.to_owned()));
        }
        let variable = format!("{name}={value}");
        let same = |known: &&mut String| {
            known
                .split_once('=')
                .is_some_and(|(known, _)| known == name)
        };
        match self.0.iter_mut().find(same) {
            Some(known) => *known = variable,
            None => self.0.push(variable),
        }
        Ok(())
    }
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

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// `CAP_SYS_RESOURCE`.
const RAISE_LIMITS: u64 = 1 << 24;
const PERIOD_MICROSECONDS: u64 = 100_000;
