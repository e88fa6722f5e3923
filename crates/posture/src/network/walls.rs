//! The least that must stay open: for each workload of a cluster, the doors that its declared flows need.

use std::collections::BTreeSet;

use super::{Caller, Flow, Graph, Party, Protocol, Purpose, in_cluster, only_fetches};
use crate::kubernetes::pairs;
use crate::node::is_unresolved;
use crate::workload::Workload;

/// What must stay open for one workload; everything else is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walls {
    /// The workload, for the policy's name.
    pub name: String,
    /// What reports call it.
    pub title: String,
    /// Its namespace.
    pub namespace: String,
    /// The labels that select its pods; empty when it has none, and then no policy can be written.
    pub labels: Vec<(String, String)>,
    /// What may come in.
    pub ingress: Vec<Door>,
    /// What may go out.
    pub egress: Vec<Door>,
    /// What a person should know, a line each.
    pub notes: Vec<String>,
}

/// One opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Who is on the other side.
    pub peer: Peer,
    /// On which ports; none at all for any.
    pub ports: BTreeSet<(u16, Protocol)>,
    /// What needs it, in words.
    pub because: BTreeSet<String>,
}

/// Who is on the other side of a door.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Pods of one namespace, with labels; none for every pod of it.
    Pods {
        /// The namespace.
        namespace: String,
        /// The labels.
        labels: Vec<(String, String)>,
    },
    /// The cluster's name service.
    Dns,
    /// Hosts outside, by name.
    Hosts(Vec<String>),
    /// An address outside.
    Address(String),
    /// Addresses outside, as ranges.
    Ranges(Vec<String>),
}

/// The walls of every workload that runs an inference server, or that belongs to one by a flow.
#[must_use]
pub fn walls(graph: &Graph<'_>) -> Vec<Walls> {
    let mut all: Vec<Walls> = Vec::new();
    for (number, workload) in graph.estate.workloads.iter().enumerate() {
        if !in_cluster(workload) {
            continue;
        }
        let us = Party::Workload(number);
        let mut walls = Walls {
            name: workload.resource.name.to_owned(),
            title: workload.resource.title(),
            namespace: workload.resource.namespace_or_default().to_owned(),
            labels: stable_labels(workload),
            ingress: Vec::new(),
            egress: Vec::new(),
            notes: Vec::new(),
        };
        for flow in graph
            .flows
            .iter()
            .filter(|flow| flow.purpose != Purpose::Undeclared)
        {
            if flow.to == us {
                if let Some(peer) = peer(graph, &flow.from, flow) {
                    open(&mut walls.ingress, peer, flow);
                }
            } else if flow.from == us {
                if let Some(peer) = peer(graph, &flow.to, flow) {
                    open(&mut walls.egress, peer, flow);
                }
                if flow.purpose == Purpose::Fetch && !only_fetches(workload) {
                    walls.notes.push(format!(
                        "it fetches from {} while it serves ({}): move that to a job and remove this opening",
                        graph.title(&flow.to),
                        flow.evidence
                    ));
                }
            }
        }
        let serves = workload
            .containers
            .iter()
            .any(|container| container.server.is_some());
        if serves && !walls.ingress.iter().any(|door| !door.ports.is_empty()) {
            walls.notes.push(
                "no caller is declared in what was read, so nobody may call: name one with --caller NAMESPACE/LABEL=VALUE"
                    .to_owned(),
            );
        }
        if walls.ingress.iter().any(|door| matches!(&door.peer, Peer::Ranges(ranges) if ranges.iter().any(|range| range == "0.0.0.0/0"))) {
            walls.notes.push(
                "it is published to every address: set loadBalancerSourceRanges, or put an authenticating gate in front"
                    .to_owned(),
            );
        }
        all.push(walls);
    }
    // Several workloads of one name in a namespace (a predictor and its transformer) need names of their own.
    for at in 0..all.len() {
        let earlier = all.get(..at).unwrap_or(&[]);
        let (name, namespace) = match all.get(at) {
            Some(walls) => (walls.name.clone(), walls.namespace.clone()),
            None => continue,
        };
        let before = earlier
            .iter()
            .filter(|other| other.namespace == namespace && base(&other.name) == base(&name))
            .count();
        if before > 0
            && let Some(walls) = all.get_mut(at)
        {
            walls.name = format!("{name}.{}", before + 1);
        }
    }
    all
}

fn base(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn open(doors: &mut Vec<Door>, peer: Peer, flow: &Flow) {
    let because = format!("{}: {}", flow.purpose, flow.evidence);
    let ports: BTreeSet<(u16, Protocol)> = flow
        .port
        .map(|port| (port, flow.protocol))
        .into_iter()
        .collect();
    // Hosts of one port share a door; a door for every port stays by itself.
    let same = doors.iter_mut().find(|door| match (&door.peer, &peer) {
        (Peer::Hosts(_), Peer::Hosts(_)) => door.ports == ports,
        (one, other) => one == other && door.ports.is_empty() == ports.is_empty(),
    });
    match same {
        Some(door) => {
            if let (Peer::Hosts(hosts), Peer::Hosts(more)) = (&mut door.peer, peer) {
                hosts.extend(more);
                hosts.sort();
                hosts.dedup();
            }
            door.ports.extend(ports);
            door.because.insert(because);
        }
        None => doors.push(Door {
            peer,
            ports,
            because: BTreeSet::from([because]),
        }),
    }
}

fn peer(graph: &Graph<'_>, party: &Party, flow: &Flow) -> Option<Peer> {
    let namespace = |name: &str| Peer::Pods {
        namespace: name.to_owned(),
        labels: Vec::new(),
    };
    match party {
        Party::Workload(number) => {
            let other = graph.estate.workloads.get(*number)?;
            Some(Peer::Pods {
                namespace: other.resource.namespace_or_default().to_owned(),
                labels: stable_labels(other),
            })
        }
        Party::Ingress => Some(namespace(&graph.settings.ingress_namespace)),
        Party::Monitoring => Some(namespace(&graph.settings.monitoring_namespace)),
        Party::Caller(number) => graph.settings.callers.get(*number).map(caller),
        Party::Dns => Some(Peer::Dns),
        Party::Host(host) if super::mentions::is_ip(host) => Some(Peer::Address(host.clone())),
        Party::Host(host) => Some(Peer::Hosts(vec![host.clone()])),
        Party::Anywhere => Some(Peer::Ranges(source_ranges(graph, flow))),
        Party::AnyPod => None,
    }
}

fn caller(caller: &Caller) -> Peer {
    Peer::Pods {
        namespace: caller.namespace.clone(),
        labels: caller.label.iter().cloned().collect(),
    }
}

/// The ranges that the service behind a flow takes; everything when it names none.
fn source_ranges(graph: &Graph<'_>, flow: &Flow) -> Vec<String> {
    let listed = graph
        .estate
        .of_kind("Service")
        .filter(|service| {
            let place = service.node.place;
            place.file == flow.place.file
                && place.start <= flow.place.start
                && flow.place.end <= place.end
        })
        .flat_map(|service| {
            service
                .node
                .get("spec")
                .map_or(&[][..], |spec| spec.list("loadBalancerSourceRanges"))
        })
        .filter_map(|range| range.text())
        .map(str::to_owned)
        .collect::<Vec<_>>();
    if listed.is_empty() {
        vec!["0.0.0.0/0".to_owned()]
    } else {
        listed
    }
}

/// Labels that select a workload's pods and stay when it is rolled out again.
fn stable_labels(workload: &Workload<'_>) -> Vec<(String, String)> {
    let own = |pairs: Vec<(&str, &str)>| -> Vec<(String, String)> {
        pairs
            .into_iter()
            .filter(|(_, value)| !is_unresolved(value))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let selector = own(pairs(workload.resource.node.at(&[
        "spec",
        "selector",
        "matchLabels",
    ])));
    let of_pods = own(workload.labels.clone());
    // A selector of the resource counts only when it selects these pods: other kinds use the word otherwise.
    if !selector.is_empty() && selector.iter().all(|label| of_pods.contains(label)) {
        return selector;
    }
    let volatile = |key: &str| {
        matches!(
            key,
            "pod-template-hash"
                | "controller-revision-hash"
                | "helm.sh/chart"
                | "app.kubernetes.io/version"
                | "app.kubernetes.io/managed-by"
                | "version"
                | "chart"
                | "heritage"
        )
    };
    of_pods
        .into_iter()
        .filter(|(key, _)| !volatile(key))
        .collect()
}
