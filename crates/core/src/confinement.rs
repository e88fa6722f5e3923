//! What a stage may touch, and whether the sandbox it stands in is the one that was planned.
//!
//! The launcher seals a [`SealedPlan`] into a read-only memory file. The first process of the stage
//! gathers [`Facts`] about its own sandbox and asks [`SealedPlan::differences`]; one difference is
//! enough to stop. What the two say to each other is [`InitReport`] and [`InitOrder`].
//!
//! Nothing here assumes: a fact that could not be read is a difference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod compare;
#[cfg(test)]
mod tests;

/// The exit status of the first process when the sandbox is not the planned one, or cannot be confined.
pub const EXIT_NOT_CONFINED: u8 = 70;
/// The descriptor on which the first process finds its [`SealedPlan`].
pub const PLAN_DESCRIPTOR: u32 = 3;
/// The descriptor on which the first process speaks with its launcher.
pub const CONTROL_DESCRIPTOR: u32 = 4;
/// Where the launcher's own programs are mounted inside a stage.
pub const PROGRAM_DIRECTORY: &str = "/.casemate";

/// A confinement, the digest of the whole plan it came from, and the namespaces of this one launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SealedPlan {
    /// SHA-256 of the plan (runtime configuration and confinement), in lower-case hexadecimal.
    pub digest: String,
    /// What must hold.
    pub confinement: Confinement,
    /// What can only be known at launch.
    pub namespaces: ExpectedNamespaces,
}

/// What must hold inside the sandbox before a server may run there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Confinement {
    /// The user and group of every process of the stage, as seen inside its user namespace.
    pub identity: Identity,
    /// The one line of `/proc/self/uid_map`.
    pub uid_map: IdRange,
    /// The one line of `/proc/self/gid_map`.
    pub gid_map: IdRange,
    /// Every mount. One that is missing, weaker, or not listed is a difference.
    pub mounts: Vec<PlannedMount>,
    /// Paths that, where the kernel has them, are covered by something empty and read-only.
    pub masked: Vec<String>,
    /// Paths that, where the kernel has them, are read-only.
    pub read_only: Vec<String>,
    /// Every device node under `/dev`.
    pub devices: Vec<DeviceNode>,
    /// Every network interface.
    pub interfaces: Vec<String>,
    /// Resource limits of the process, by the kernel's name in `/proc/self/limits`.
    pub limits: BTreeMap<String, Limit>,
    /// How many seccomp filters are installed at least when the first process starts.
    pub seccomp_filters: u32,
    /// What Landlock will grant; all else is refused.
    pub landlock: LandlockRules,
    /// System calls that the second filter refuses, by name.
    pub denied_syscalls: Vec<String>,
    /// `prctl` operations that the second filter refuses, by number.
    pub denied_prctl: Vec<u32>,
    /// The server to execute.
    pub server: Server,
}

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identity {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdRange {
    /// The first id inside the namespace.
    pub inside: u32,
    /// The first id outside of it.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// A mount that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlannedMount {
    /// Where.
    pub path: String,
    /// The file system's type, or nothing when any type will do, as for a bind mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// Flags it must have; it may have more.
    pub flags: Vec<MountFlag>,
}

/// A restriction on a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountFlag {
    /// Nothing can be written.
    ReadOnly,
    /// Set-user-ID bits and file capabilities have no effect.
    NoSetuid,
    /// Device nodes cannot be opened.
    NoDevices,
    /// Nothing can be executed.
    NoExecute,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeviceNode {
    /// Where.
    pub path: String,
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

/// A soft and a hard resource limit; nothing means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limit {
    /// What applies.
    pub soft: Option<u64>,
    /// What the process could raise it to.
    pub hard: Option<u64>,
}

/// What Landlock grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LandlockRules {
    /// The oldest Landlock that will do. 4 knows TCP ports, 6 abstract sockets and signals.
    pub minimum_abi: u32,
    /// Trees that can be read and executed from.
    pub execute: Vec<String>,
    /// Trees that can only be read.
    pub read: Vec<String>,
    /// Trees that can be read and written, never executed from.
    pub write: Vec<String>,
    /// Existing files below these can be read and written, nothing can be made or removed.
    pub write_existing: Vec<String>,
    /// TCP ports that can be bound.
    pub bind: Vec<u16>,
    /// TCP ports that can be connected to.
    pub connect: Vec<u16>,
}

/// The server of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    /// Program and arguments. The program is a path or is looked up in the environment's `PATH`.
    pub arguments: Vec<String>,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// The working directory.
    pub directory: String,
}

/// Inode numbers of namespaces, as in `/proc/self/ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamespaceInodes {
    /// The cgroup namespace.
    pub cgroup: u64,
    /// The System V and POSIX message queue namespace.
    pub ipc: u64,
    /// The mount namespace.
    pub mount: u64,
    /// The network namespace.
    pub network: u64,
    /// The process id namespace.
    pub pid: u64,
    /// The user namespace.
    pub user: u64,
    /// The host name namespace.
    pub uts: u64,
}

/// Which namespaces this launch must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExpectedNamespaces {
    /// The network namespace that was made for the stage.
    pub network: u64,
    /// The launcher's own; the stage must share none of them.
    pub launcher: NamespaceInodes,
}

/// What the first process found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Facts {
    /// Real, effective, saved and file system user.
    pub uids: Vec<u32>,
    /// Real, effective, saved and file system group.
    pub gids: Vec<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// `/proc/self/uid_map`.
    pub uid_map: Vec<IdRange>,
    /// `/proc/self/gid_map`.
    pub gid_map: Vec<IdRange>,
    /// Inheritable, permitted, effective, bounding and ambient capabilities, or'ed together.
    pub capabilities: u64,
    /// Whether privileges can be gained by executing.
    pub no_new_privileges: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// How many filters.
    pub seccomp_filters: u32,
    /// Calls that the runtime's filter must refuse and that got any other answer: what a filter
    /// does cannot be read, only tried.
    pub unrefused: Vec<String>,
    /// `/proc/self/mountinfo`.
    pub mounts: Vec<FoundMount>,
    /// Which of the masked and read-only paths of the plan exist.
    pub present: Vec<String>,
    /// Every device node under `/dev`.
    pub devices: Vec<DeviceNode>,
    /// Every network interface.
    pub interfaces: Vec<String>,
    /// `/proc/self/limits`.
    pub limits: BTreeMap<String, Limit>,
    /// `/proc/self/ns`.
    pub namespaces: NamespaceInodes,
    /// Open file descriptors, without the one used for looking.
    pub descriptors: Vec<u32>,
    /// The Landlock ABI of the kernel, 0 for none.
    pub landlock_abi: u32,
}

/// A mount as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FoundMount {
    /// Where.
    pub path: String,
    /// The file system's type.
    pub file_system: String,
    /// Which restrictions it has.
    pub flags: Vec<MountFlag>,
}

/// One way in which the sandbox is not the planned one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Difference {
    /// What was looked at.
    pub what: String,
    /// What the plan says.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What the first process tells its launcher, one line of JSON each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "report",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum InitReport {
    /// The sandbox is the planned one; waiting for an order.
    Confined {
        /// The plan's digest.
        digest: String,
        /// Where the process stands.
        namespaces: NamespaceInodes,
        /// How many mounts were compared.
        mounts: u32,
        /// The kernel's Landlock ABI.
        landlock_abi: u32,
        /// How many seccomp filters were already there.
        seccomp_filters: u32,
    },
    /// The sandbox is another one; exiting.
    Mismatch {
        /// Every difference.
        differences: Vec<Difference>,
    },
    /// Landlock and the second filter are on; the server is executed next.
    Executing {
        /// The Landlock ABI that was applied.
        landlock_abi: u32,
    },
    /// Something could not be read or applied; exiting.
    Failed {
        /// What, with its causes.
        reason: String,
    },
}

/// What the launcher tells the first process, one line of JSON each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InitOrder {
    /// Confine yourself and execute the server.
    Serve,
}

impl SealedPlan {
    /// Every way in which `facts` are not what was planned; empty when they are.
    #[must_use]
    pub fn differences(&self, facts: &Facts) -> Vec<Difference> {
        compare::differences(self, facts)
    }
}
