//! Who talks to whom, as the documents imply it: who may reach a workload on what, and what leaves.
//!
//! A flow is declared (a service and somebody who names it, an ingress, a scrape, an address in a variable) or it
//! is a door that nothing closes (any pod, anywhere). Every flow says whether the policies that were read
//! allow it. From the declared flows alone [`walls`] works out the least that must stay open.

mod declared;
mod evaluate;
mod mentions;
mod picture;
mod render;
mod walls;

use std::fmt;

use serde::Serialize;

use crate::estate::Estate;
use crate::place::Place;
use crate::workload::{Origin, Role, Workload};

pub use self::picture::{html, svg};
pub use self::render::{Dialect, render};
pub use self::walls::{Door, Peer, Walls, walls};

/// What the documents do not say and a person does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the ingress controller.
    pub ingress_namespace: String,
    /// The namespace whose pods scrape metrics.
    pub monitoring_namespace: String,
    /// Namespaces, or pods in them, that may call inference ports though no document says so.
    pub callers: Vec<Caller>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ingress_namespace: "ingress-nginx".to_owned(),
            monitoring_namespace: "monitoring".to_owned(),
            callers: Vec::new(),
        }
    }
}

/// A caller that a person names: `namespace` or `namespace/label=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The namespace.
    pub namespace: String,
    /// A label of the pods; none for every pod of the namespace.
    pub label: Option<(String, String)>,
}

/// A text that is not a [`Caller`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a caller: write NAMESPACE or NAMESPACE/LABEL=VALUE")]
pub struct ParseCallerError(String);

impl std::str::FromStr for Caller {
    type Err = ParseCallerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseCallerError(text.chars().take(80).collect());
        let word = |part: &str| {
            !part.is_empty()
                && part.len() <= 253
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        };
        let (namespace, label) = match text.split_once('/') {
            None => (text, None),
            Some((namespace, label)) => {
                let (key, value) = label.split_once('=').ok_or_else(fail)?;
                if !word(key) || !word(value) {
                    return Err(fail());
                }
                (namespace, Some((key.to_owned(), value.to_owned())))
            }
        };
        if !word(namespace) {
            return Err(fail());
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            label,
        })
    }
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A workload, by its number in the estate.
    Workload(usize),
    /// Every pod of the cluster (or every container of the compose network).
    AnyPod,
    /// The ingress controller.
    Ingress,
    /// Whatever scrapes metrics.
    Monitoring,
    /// The cluster's name service.
    Dns,
    /// A caller that a person named.
    Caller(usize),
    /// A host outside, by name or address.
    Host(String),
    /// Any address outside.
    Anywhere,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl Protocol {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// What a flow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Questions and answers.
    Inference,
    /// Counters.
    Metrics,
    /// A port that changes the server or that only its own parts should reach.
    Management,
    /// Any other port of a workload.
    Service,
    /// Fetching models before serving.
    Fetch,
    /// Whatever the workload calls while it runs.
    Call,
    /// What the server tells its makers.
    Telemetry,
    /// Names.
    Names,
    /// Nothing that a document says: a door that nothing closes.
    Undeclared,
}

impl Purpose {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Metrics => "metrics",
            Self::Management => "management",
            Self::Service => "service",
            Self::Fetch => "fetch",
            Self::Call => "call",
            Self::Telemetry => "telemetry",
            Self::Names => "names",
            Self::Undeclared => "undeclared",
        }
    }
}

/// What the policies that were read make of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A policy restricts the workload, and lets this through.
    Allowed,
    /// No policy restricts it.
    Open,
    /// A policy restricts the workload, and nothing lets this through.
    Denied,
    /// A policy of a kind that is not evaluated here restricts it.
    Unknown,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Open => "open",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who starts it.
    pub from: Party,
    /// Who answers.
    pub to: Party,
    /// On which port; none for any.
    pub port: Option<u16>,
    /// Over what.
    pub protocol: Protocol,
    /// What for.
    pub purpose: Purpose,
    /// What says so, in words.
    pub evidence: String,
    /// Where that stands.
    pub place: Place,
    /// Whether it is let through.
    pub standing: Standing,
}

/// The flows of an estate.
#[derive(Debug)]
pub struct Graph<'estate> {
    /// The documents.
    pub estate: &'estate Estate<'estate>,
    /// What a person said beside them.
    pub settings: Settings,
    /// The flows: declared ones first, then the doors that nothing closes.
    pub flows: Vec<Flow>,
}

/// Works out the flows of `estate`.
#[must_use]
pub fn graph<'estate>(estate: &'estate Estate<'estate>, settings: &Settings) -> Graph<'estate> {
    let mut flows = declared::flows(estate, settings);
    evaluate::standings(estate, settings, &mut flows);
    flows.extend(evaluate::open_doors(estate));
    Graph {
        estate,
        settings: settings.clone(),
        flows,
    }
}

impl Graph<'_> {
    /// What a party is called in tables and pictures.
    #[must_use]
    pub fn title(&self, party: &Party) -> String {
        match party {
            Party::Workload(number) => self
                .estate
                .workloads
                .get(*number)
                .map_or_else(String::new, |workload| workload.resource.title()),
            Party::AnyPod => "any pod".to_owned(),
            Party::Ingress => format!("ingress ({})", self.settings.ingress_namespace),
            Party::Monitoring => format!("monitoring ({})", self.settings.monitoring_namespace),
            Party::Dns => "name service".to_owned(),
            Party::Caller(number) => {
                self.settings
                    .callers
                    .get(*number)
                    .map_or_else(String::new, |caller| match &caller.label {
                        None => format!("namespace {}", caller.namespace),
                        Some((key, value)) => format!("{}/{key}={value}", caller.namespace),
                    })
            }
            Party::Host(name) => name.clone(),
            Party::Anywhere => "anywhere".to_owned(),
        }
    }

    /// The graph for machines: `flows[] {from, to, port, protocol, purpose, standing, evidence, file, line}`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let flows: Vec<serde_json::Value> = self
            .flows
            .iter()
            .map(|flow| {
                serde_json::json!({
                    "from": self.title(&flow.from),
                    "to": self.title(&flow.to),
                    "port": flow.port,
                    "protocol": flow.protocol,
                    "purpose": flow.purpose,
                    "standing": flow.standing,
                    "evidence": flow.evidence,
                    "file": self.estate.files.name(flow.place.file),
                    "line": flow.place.line,
                })
            })
            .collect();
        serde_json::json!({ "flows": flows })
    }

    /// The graph as rows of a table, header first.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 6]> {
        let header = ["from", "to", "port", "for", "policy", "because"];
        std::iter::once(header.map(str::to_owned))
            .chain(self.flows.iter().map(|flow| {
                [
                    self.title(&flow.from),
                    self.title(&flow.to),
                    port_text(flow),
                    flow.purpose.as_str().to_owned(),
                    flow.standing.as_str().to_owned(),
                    flow.evidence.clone(),
                ]
            }))
            .collect()
    }
}

/// A flow's port in words.
pub(crate) fn port_text(flow: &Flow) -> String {
    match (flow.port, flow.protocol) {
        (None, _) => "any".to_owned(),
        (Some(port), Protocol::Tcp) => port.to_string(),
        (Some(port), Protocol::Udp) => format!("{port}/udp"),
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Whether a workload only prepares models: a job, or one of the kinds that fill caches.
pub(crate) fn only_fetches(workload: &Workload<'_>) -> bool {
    matches!(
        workload.resource.kind,
        "Job" | "CronJob" | "NIMCache" | "LocalModelCache"
    ) || workload
        .containers
        .iter()
        .all(|container| container.role == Role::Init)
}

/// Whether the workload lives in a cluster.
pub(crate) fn in_cluster(workload: &Workload<'_>) -> bool {
    workload.origin == Origin::Kubernetes
}

#[cfg(test)]
mod tests;
