//! What a prober is asked to do inside a sandbox, and what it answers.
//!
//! An order comes from the launcher over an inherited descriptor and names everything that may be
//! touched: the prober has no targets of its own. A finding is one question, its verdict, the layer
//! that answered and the steps that show it. "Could not tell" is a verdict and never counts as held.
//!
//! Start with [`ProbeOrder`] (in) and [`Finding`] (out); [`Summary`] counts, [`ProbeMessage`] is the line
//! format of the channel.

mod order;
#[cfg(test)]
mod tests;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use order::{
    Budget, Canaries, CanaryFile, CanaryProcess, Endpoint, EndpointKind, Grants, Limits,
    ModelGrant, Namespaces, OrderError, ProbeOrder,
};

/// What a check found out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The attack was tried properly and a layer refused it.
    Blocked,
    /// The attack worked, or the surface it needs is reachable.
    Open,
    /// The check could not tell: its control failed, it timed out, or it has a bug. Never counts as held.
    Inconclusive,
    /// There is nothing to attack here: the kernel or the stage has no such thing.
    NotApplicable,
}

impl Verdict {
    /// All verdicts, worst first.
    pub const ALL: [Self; 4] = [
        Self::Open,
        Self::Inconclusive,
        Self::Blocked,
        Self::NotApplicable,
    ];

    /// The word used in tables and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Open => "open",
            Self::Inconclusive => "inconclusive",
            Self::NotApplicable => "not_applicable",
        }
    }

    /// The verdict of the whole from the verdicts of its parts: the worst part decides.
    #[must_use]
    pub const fn worst(self, other: Self) -> Self {
        if other.badness() > self.badness() {
            other
        } else {
            self
        }
    }

    const fn badness(self) -> u8 {
        match self {
            Self::NotApplicable => 0,
            Self::Blocked => 1,
            Self::Inconclusive => 2,
            Self::Open => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// What kind of attack a check carries out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Getting data out of the stage.
    Egress,
    /// Reaching another stage, its processes or its identity.
    Lateral,
    /// Leaving the sandbox or gaining privilege in it.
    Escape,
    /// Reading the memory of another process.
    Memory,
    /// Changing, keeping or finding model weights.
    Weights,
    /// Running foreign code, or spoiling what the probe reports.
    Execution,
}

impl Category {
    /// All categories, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::Egress,
        Self::Lateral,
        Self::Escape,
        Self::Memory,
        Self::Weights,
        Self::Execution,
    ];

    /// The heading used in reports.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Egress => "Egress",
            Self::Lateral => "Lateral movement",
            Self::Escape => "Escape and privilege",
            Self::Memory => "Memory reading",
            Self::Weights => "Weights and artifacts",
            Self::Execution => "Execution and evidence",
        }
    }
}

/// The layer that refused an attack.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A system call filter.
    Seccomp,
    /// A capability that the process does not hold.
    Capability,
    /// The call was refused before anything told the two apart: the capability is missing too.
    SeccompOrCapability,
    /// A Landlock rule.
    Landlock,
    /// A mount flag: read-only, noexec, nodev, nosuid.
    MountFlag,
    /// The network namespace has no such address, route or interface.
    Netns,
    /// The process namespace shows no such process.
    Pidns,
    /// The System V and message queue namespace shows no such object.
    Ipcns,
    /// The user namespace maps no such identity.
    Userns,
    /// The file, device or interface is not there.
    MissingNode,
    /// Ordinary owner, group and mode rules.
    Dac,
    /// A control group limit.
    Cgroup,
    /// A resource limit of the process.
    Rlimit,
    /// `no_new_privs` of the process.
    NoNewPrivs,
    /// The kernel itself, for everybody: a general rule or a setting of the host.
    Kernel,
}

impl Layer {
    /// The word used in tables and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Capability => "capability",
            Self::SeccompOrCapability => "seccomp-or-capability",
            Self::Landlock => "landlock",
            Self::MountFlag => "mount-flag",
            Self::Netns => "netns",
            Self::Pidns => "pidns",
            Self::Ipcns => "ipcns",
            Self::Userns => "userns",
            Self::MissingNode => "missing-node",
            Self::Dac => "dac",
            Self::Cgroup => "cgroup",
            Self::Rlimit => "rlimit",
            Self::NoNewPrivs => "no-new-privs",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// Whether a check asks for an effect or only for reachable kernel surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// OPEN means that the attack had its effect.
    Effect,
    /// OPEN means that the entry point answers; what it could be used for was not tried.
    Surface,
}

/// One primitive that a check tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The primitive in a few words, such as `connect tcp 127.0.0.1:4711`.
    pub tried: String,
    /// How this primitive alone came out.
    pub verdict: Verdict,
    /// The layer that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// The name of the error number that came back, such as `EPERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// What else was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The positive control of a check: the same primitive where it must work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlResult {
    /// What was done.
    pub tried: String,
    /// Whether it worked; when it did not, the check is inconclusive.
    pub worked: bool,
    /// What was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What shows that a verdict is right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Every primitive that was tried, in order.
    pub steps: Vec<Step>,
    /// How the check's process ended, when not by itself: `SIGSYS`, `alarm after 2000 ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How often the witness outside was reached by this check; filled in by the launcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<u64>,
}

/// One question asked of a sandbox, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The stable id of the check, such as `EG-01`.
    pub check: String,
    /// What it asks, in a few words.
    pub title: String,
    /// What kind of attack it is.
    pub category: Category,
    /// MITRE ATT&CK and ATLAS technique ids.
    pub techniques: Vec<String>,
    /// Whether OPEN would mean an effect or a reachable surface.
    pub proof: Proof,
    /// The answer.
    pub verdict: Verdict,
    /// The layer that refused, when something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// What shows it.
    pub evidence: Evidence,
    /// The positive control; absent when the child ended before reaching it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlResult>,
    /// How long the check took.
    pub millis: u64,
}

impl Finding {
    /// Records how often the witness was reached. What the witness saw outweighs what the prober
    /// says: anything that arrived outside makes the finding open.
    #[must_use]
    pub fn witnessed(mut self, arrivals: u64) -> Self {
        self.evidence.witnessed = Some(arrivals);
        if arrivals > 0 && self.verdict != Verdict::Open {
            self.verdict = Verdict::Open;
            self.layer = None;
        }
        self
    }
}

/// How many findings there are of each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// All findings.
    pub checks: u64,
    /// Attacks that were refused.
    pub blocked: u64,
    /// Attacks that worked.
    pub open: u64,
    /// Checks that could not tell.
    pub inconclusive: u64,
    /// Checks with nothing to attack.
    pub not_applicable: u64,
}

impl Summary {
    /// Counts `findings`.
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut summary = Self::default();
        for finding in findings {
            summary.checks += 1;
            match finding.verdict {
                Verdict::Blocked => summary.blocked += 1,
                Verdict::Open => summary.open += 1,
                Verdict::Inconclusive => summary.inconclusive += 1,
                Verdict::NotApplicable => summary.not_applicable += 1,
            }
        }
        summary
    }
}

/// One line that the prober writes on its channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeMessage {
    /// The order was checked and matches this sandbox.
    Started(ProbeStart),
    /// One check is finished.
    Finding(Box<Finding>),
    /// Every check of the order is finished.
    Done(ProbeEnd),
    /// The prober will not run here.
    Refused(ProbeRefusal),
}

/// What the prober says about itself before the first check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeStart {
    /// The nonce of the order.
    pub nonce: String,
    /// The kernel's release as seen inside.
    pub kernel: String,
    /// The namespaces that the prober is in.
    pub namespaces: Namespaces,
    /// User and group id inside the sandbox.
    pub uid: u32,
    /// Group id inside the sandbox.
    pub gid: u32,
    /// How many checks will follow.
    pub checks: u64,
}

/// The last line of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeEnd {
    /// The nonce of the order.
    pub nonce: String,
    /// How many findings were written.
    pub checks: u64,
    /// How long all of them took.
    pub millis: u64,
    /// Connections and datagrams that were sent, within the order's budget.
    pub sent: u64,
}

/// Why the prober did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRefusal {
    /// The reason, for people.
    pub reason: String,
}

/// SHA-256 of `bytes` in lower-case hexadecimal; how canaries are compared without carrying them around.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            text
        })
}
