//! The part of the OCI runtime configuration that a stage uses, written exactly as declared here.

use serde::Serialize;

/// `config.json` of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The version of the specification.
    pub oci_version: &'static str,
    /// The first process.
    pub process: Process,
    /// The root file system.
    pub root: Root,
    /// The host name inside.
    pub hostname: String,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Everything that is particular to Linux.
    pub linux: Linux,
}

/// The first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// No terminal.
    pub terminal: bool,
    /// Who it is, inside.
    pub user: User,
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: String,
    /// No capability, in any set.
    pub capabilities: Capabilities,
    /// Resource limits.
    pub rlimits: Vec<ResourceLimit>,
    /// Executing gains nothing.
    pub no_new_privileges: bool,
    /// Who goes first when the host is short of memory; higher goes earlier.
    pub oom_score_adj: i32,
}

/// A user, a group, no other groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The file creation mask.
    pub umask: u32,
}

/// Capability sets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// The bounding set.
    pub bounding: Vec<String>,
    /// The effective set.
    pub effective: Vec<String>,
    /// The inheritable set.
    pub inheritable: Vec<String>,
    /// The permitted set.
    pub permitted: Vec<String>,
    /// The ambient set.
    pub ambient: Vec<String>,
}

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceLimit {
    /// Such as `RLIMIT_CORE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The hard limit.
    pub hard: u64,
    /// The soft limit.
    pub soft: u64,
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Its directory, relative to the bundle.
    pub path: String,
    /// Whether nothing in it can be written.
    pub readonly: bool,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where, inside.
    pub destination: String,
    /// The file system's type; `none` for a bind.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// How.
    pub options: Vec<String>,
}

/// What is particular to Linux.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Users of the stage's user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Groups of the stage's user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// Namespaces to make.
    pub namespaces: Vec<Namespace>,
    /// The control group, in every hierarchy.
    pub cgroups_path: String,
    /// Limits of the control group.
    pub resources: Resources,
    /// System calls.
    pub seccomp: Seccomp,
    /// Paths that are covered.
    pub masked_paths: Vec<String>,
    /// Paths that are made read-only.
    pub readonly_paths: Vec<String>,
    /// No mount propagates in or out.
    pub rootfs_propagation: &'static str,
}

/// A line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdMapping {
    /// The first id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A new namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Limits of a control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Device access; the runtime adds its own short list.
    pub devices: Vec<DeviceRule>,
    /// Memory.
    pub memory: Memory,
    /// Processors.
    pub cpu: Cpu,
    /// Processes.
    pub pids: Pids,
    /// Settings of the unified hierarchy by file name.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub unified: std::collections::BTreeMap<String, String>,
}

/// A rule of the device control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceRule {
    /// Whether it allows.
    pub allow: bool,
    /// Reading, writing, making nodes.
    pub access: &'static str,
}

/// Limits on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes.
    pub limit: u64,
    /// Bytes together with swap; equal to `limit` for no swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
}

/// Limits on processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Microseconds of all processors together, in each period.
    pub quota: u64,
    /// Microseconds.
    pub period: u64,
}

/// Limits on processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// Processes and threads.
    pub limit: u64,
}

/// The first filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// For calls that no rule names.
    pub default_action: &'static str,
    /// The error number of the default.
    pub default_errno_ret: u32,
    /// The only ways into the kernel; others kill.
    pub architectures: Vec<&'static str>,
    /// The rules.
    pub syscalls: Vec<SyscallRule>,
}

/// A rule for some calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Their names.
    pub names: Vec<&'static str>,
    /// What happens.
    pub action: &'static str,
    /// The error number, where the action is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments; all must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SyscallArgument>,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallArgument {
    /// Which.
    pub index: u32,
    /// The value, or the mask of a masked comparison.
    pub value: u64,
    /// The value of a masked comparison.
    pub value_two: u64,
    /// The comparison.
    pub op: &'static str,
}
