//! What is asked for when a stage is planned.

use std::path::PathBuf;

use crate::image::Image;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRequest {
    /// The name of the container, such as `chat.infer`: letters, digits, `.`, `-` and `_`.
    pub id: String,
    /// Which of the host's stages it is; each slot has its own range of ids.
    pub slot: u16,
    /// Where programs and libraries come from.
    pub root: RootFileSystem,
    /// What the launcher keeps for itself: no directory of the host may be, hold or be in one of these.
    pub kept: Vec<PathBuf>,
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
    /// Memory is moved to swap.
    pub swaps: bool,
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
    /// When no control groups are mounted, or it cannot be told whether there is swap.
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
            swaps: casemate_linux::proc::swaps()?,
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

/// `CAP_SYS_RESOURCE`.
const RAISE_LIMITS: u64 = 1 << 24;
