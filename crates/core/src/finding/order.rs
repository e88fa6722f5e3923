//! The order that makes a prober run: where it must be, and the only things it may touch.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Inode numbers of a process's namespaces, as `/proc/self/ns/*` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Namespaces {
    /// Network namespace.
    pub net: u64,
    /// Mount namespace.
    pub mnt: u64,
    /// Process namespace.
    pub pid: u64,
    /// User namespace.
    pub user: u64,
    /// System V and message queue namespace.
    pub ipc: u64,
}

/// How an endpoint of the witness is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointKind {
    /// A TCP listener; `address` is `ip:port`.
    Tcp,
    /// A UDP socket; `address` is `ip:port`.
    Udp,
    /// A Unix stream socket with a path on the host.
    UnixPath,
    /// A Unix stream socket with an abstract name.
    AbstractStream,
    /// A Unix datagram socket with an abstract name.
    AbstractDatagram,
}

/// One listener of the witness, used by one check only, so that an arrival names its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The check that may use it.
    pub check: String,
    /// How it is reached.
    pub kind: EndpointKind,
    /// Where it is: `ip:port`, a path, or an abstract name without the leading zero byte.
    pub address: String,
}

impl Endpoint {
    /// The address as a socket address, for the kinds that have one.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self.kind {
            EndpointKind::Tcp | EndpointKind::Udp => self.address.parse().ok(),
            EndpointKind::UnixPath
            | EndpointKind::AbstractStream
            | EndpointKind::AbstractDatagram => None,
        }
    }
}

/// A file on the host that no stage may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryFile {
    /// Its path on the host.
    pub path: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// A process on the host with a secret in its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryProcess {
    /// Its process id on the host.
    pub pid: u32,
    /// Its name, as `/proc/PID/comm` shows it.
    pub name: String,
    /// Where the secret lies in its memory.
    pub address: u64,
    /// How long the secret is.
    pub length: u64,
    /// SHA-256 of the secret.
    pub sha256: String,
}

/// Everything outside that a check may aim at. Nothing else is ever a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canaries {
    /// Random text that the witness expects and answers with, so that nobody else's arrival counts.
    pub token: String,
    /// Listeners.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Files on the host.
    #[serde(default)]
    pub files: Vec<CanaryFile>,
    /// The canary process.
    #[serde(default)]
    pub process: Option<CanaryProcess>,
    /// Key of a System V segment in the host's namespace.
    #[serde(default)]
    pub shared_memory_key: Option<i32>,
    /// Name of a POSIX message queue in the host's namespace, with its leading slash.
    #[serde(default)]
    pub message_queue: Option<String>,
    /// Addresses to ask the routing table about; no packet is ever sent to them.
    #[serde(default)]
    pub lookups: Vec<IpAddr>,
    /// Host paths that must not exist inside: state, keys, sealed models, sockets of neighbours.
    #[serde(default)]
    pub hidden_paths: Vec<String>,
}

/// A model's view as the stage is meant to see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelGrant {
    /// Where the view is mounted inside.
    pub path: String,
    /// How many bytes of weights it shows.
    pub bytes: u64,
}

/// Limits that the plan puts on the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of the whole stage.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Processes of the whole stage.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Size of the writable scratch.
    #[serde(default)]
    pub scratch_bytes: Option<u64>,
}

/// What the stage is meant to have; checks use it for their controls and to judge what they find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Port on which the stage's server listens.
    #[serde(default)]
    pub serves: Option<u16>,
    /// Loopback ports inside the stage to which it may connect.
    #[serde(default)]
    pub connects: Vec<u16>,
    /// A writable directory inside.
    pub scratch: String,
    /// Views of models.
    #[serde(default)]
    pub models: Vec<ModelGrant>,
    /// Limits of the plan.
    #[serde(default)]
    pub limits: Limits,
    /// Environment variables of the plan, by name.
    #[serde(default)]
    pub environment: Vec<String>,
    /// Whether exhausting the stage's memory and processes is allowed: before it serves, never after.
    #[serde(default)]
    pub may_exhaust: bool,
}

/// How much a probe may send and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Connections and datagrams towards canaries, all checks together.
    pub sends: u32,
    /// Bytes in one of them.
    pub bytes_each: u32,
    /// Time for one check.
    pub check_millis: u32,
    /// Time for all checks.
    pub total_millis: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            sends: 64,
            bytes_each: 128,
            check_millis: 2_000,
            total_millis: 30_000,
        }
    }
}

/// What the launcher hands to the prober: one line on the channel, used once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeOrder {
    /// 32 random bytes in hexadecimal; every answer carries it.
    pub nonce: String,
    /// The namespaces in which the prober must find itself.
    pub expected: Namespaces,
    /// The launcher's own namespaces: the prober refuses when it shares the network, mount or process one.
    pub host: Namespaces,
    /// The network interfaces that the namespace must have, exactly; a stage has only `lo`.
    #[serde(default = "only_loopback")]
    pub links: Vec<String>,
    /// What may be aimed at.
    pub canaries: Canaries,
    /// What the stage is meant to have.
    pub grants: Grants,
    /// How much may be sent.
    #[serde(default)]
    pub budget: Budget,
    /// As whom the prober was started, in the launcher's words: `stage`, `root-in-namespace`.
    pub identity: String,
    /// Checks to run, by id; empty means all.
    #[serde(default)]
    pub only: Vec<String>,
}

/// Why an order is not one.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It is not the JSON that an order is.
    #[error("the order is not valid JSON of an order")]
    Decode(#[source] serde_json::Error),
    /// The nonce is not 32 bytes in hexadecimal.
    #[error("the order's nonce is not 64 hexadecimal digits")]
    Nonce,
    /// A namespace number is missing, so that nothing could be compared.
    #[error("the order does not name every namespace")]
    Namespaces,
    /// The launcher expects the prober to share a namespace with it.
    #[error("the order would run the prober in the launcher's own {0} namespace")]
    SharesNamespace(&'static str),
    /// A limit is zero or larger than any probe needs.
    #[error("the order's budget is not sensible")]
    Budget,
}

impl ProbeOrder {
    /// Reads an order and refuses one that could make the prober run on a bare machine.
    ///
    /// # Errors
    /// When the text is not an order, or when it names no namespaces or the launcher's own.
    pub fn parse(line: &[u8]) -> Result<Self, OrderError> {
        let order: Self = serde_json::from_slice(line).map_err(OrderError::Decode)?;
        order.check()?;
        Ok(order)
    }

    fn check(&self) -> Result<(), OrderError> {
        if self.nonce.len() != 64 || !self.nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(OrderError::Nonce);
        }
        let (inside, host) = (&self.expected, &self.host);
        let numbers = [
            inside.net,
            inside.mnt,
            inside.pid,
            inside.user,
            host.net,
            host.mnt,
            host.pid,
            host.user,
        ];
        if numbers.contains(&0) {
            return Err(OrderError::Namespaces);
        }
        for (name, ours, theirs) in [
            ("network", inside.net, host.net),
            ("mount", inside.mnt, host.mnt),
            ("process", inside.pid, host.pid),
        ] {
            if ours == theirs {
                return Err(OrderError::SharesNamespace(name));
            }
        }
        let budget = &self.budget;
        let sensible = (1..=1_000).contains(&budget.sends)
            && (1..=1_024).contains(&budget.bytes_each)
            && (100..=10_000).contains(&budget.check_millis)
            && (1_000..=120_000).contains(&budget.total_millis);
        if sensible {
            Ok(())
        } else {
            Err(OrderError::Budget)
        }
    }

    /// The endpoints that `check` may use.
    pub fn endpoints<'a>(&'a self, check: &'a str) -> impl Iterator<Item = &'a Endpoint> {
        self.canaries
            .endpoints
            .iter()
            .filter(move |endpoint| endpoint.check == check)
    }

    /// Whether the order asks for `check`.
    #[must_use]
    pub fn wants(&self, check: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == check)
    }
}

fn only_loopback() -> Vec<String> {
    vec!["lo".to_owned()]
}
