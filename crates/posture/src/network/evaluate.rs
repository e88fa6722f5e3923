//! What the policies that were read make of each flow, and which doors nothing closes.
//!
//! Kubernetes' own `NetworkPolicy` is followed rule by rule: policies add up, a direction that any of them
//! restricts is closed but for what they allow. Cilium's and Calico's are seen to restrict, not evaluated.

use std::net::IpAddr;

use super::mentions::is_ip;
use super::{Flow, Party, Protocol, Purpose, Settings, Standing, in_cluster};
use crate::cluster::{policies, selects};
use crate::estate::Estate;
use crate::kubernetes::pairs;
use crate::node::Node;
use crate::workload::{Resource, Workload};

/// Tells every flow whether it is let through.
pub(super) fn standings(estate: &Estate<'_>, settings: &Settings, flows: &mut [Flow]) {
    for flow in flows {
        let ingress = workload(estate, &flow.to).map_or(Standing::Open, |target| {
            let restricting = policies(estate, target).ingress;
            let rules = Direction {
                list: "ingress",
                peers: "from",
            };
            verdict(estate, settings, &restricting, rules, &flow.from, flow)
        });
        let egress = workload(estate, &flow.from).map_or(Standing::Open, |source| {
            let restricting = policies(estate, source).egress;
            let rules = Direction {
                list: "egress",
                peers: "to",
            };
            verdict(estate, settings, &restricting, rules, &flow.to, flow)
        });
        flow.standing = match (ingress, egress) {
            (Standing::Denied, _) | (_, Standing::Denied) => Standing::Denied,
            (Standing::Unknown, _) | (_, Standing::Unknown) => Standing::Unknown,
            (Standing::Open, Standing::Open) => Standing::Open,
            (Standing::Allowed | Standing::Open, Standing::Allowed | Standing::Open) => {
                Standing::Allowed
            }
        };
    }
}

/// The doors that no policy closes: one for each direction of each workload in a cluster.
pub(super) fn open_doors(estate: &Estate<'_>) -> Vec<Flow> {
    let mut doors = Vec::new();
    for (number, workload) in estate.workloads.iter().enumerate() {
        if !in_cluster(workload) {
            continue;
        }
        let found = policies(estate, workload);
        let mut add = |from: Party, to: Party, evidence: &str| {
            doors.push(Flow {
                from,
                to,
                port: None,
                protocol: Protocol::Tcp,
                purpose: Purpose::Undeclared,
                evidence: evidence.to_owned(),
                place: workload.resource.place,
                standing: Standing::Open,
            });
        };
        if found.ingress.is_empty() {
            let evidence = "no policy restricts what comes in";
            add(Party::AnyPod, Party::Workload(number), evidence);
        }
        if found.egress.is_empty() {
            let evidence = "no policy restricts what goes out";
            add(Party::Workload(number), Party::Anywhere, evidence);
        }
    }
    doors
}

fn workload<'estate>(
    estate: &'estate Estate<'_>,
    party: &Party,
) -> Option<&'estate Workload<'estate>> {
    match party {
        Party::Workload(number) => estate.workloads.get(*number),
        Party::AnyPod
        | Party::Ingress
        | Party::Monitoring
        | Party::Dns
        | Party::Caller(_)
        | Party::Host(_)
        | Party::Anywhere => None,
    }
}

#[derive(Clone, Copy)]
struct Direction {
    list: &'static str,
    peers: &'static str,
}

fn verdict(
    estate: &Estate<'_>,
    settings: &Settings,
    restricting: &[&Resource<'_>],
    direction: Direction,
    other: &Party,
    flow: &Flow,
) -> Standing {
    if restricting.is_empty() {
        return Standing::Open;
    }
    let native = |policy: &&&Resource<'_>| policy.api_version.starts_with("networking.k8s.io/");
    let allowed = restricting.iter().filter(native).any(|policy| {
        policy
            .node
            .get("spec")
            .map_or(&[][..], |spec| spec.list(direction.list))
            .iter()
            .any(|rule| {
                port_allowed(rule.list("ports"), flow)
                    && peer_allowed(estate, settings, policy, rule, direction.peers, other)
            })
    });
    if allowed {
        Standing::Allowed
    } else if restricting.iter().all(|policy| native(&policy)) {
        Standing::Denied
    } else {
        Standing::Unknown
    }
}

/// No list of ports is every port.
fn port_allowed(ports: &[Node], flow: &Flow) -> bool {
    ports.is_empty()
        || ports.iter().any(|port| {
            let protocol = port.text_at("protocol").unwrap_or("TCP");
            if protocol != flow.protocol.as_str() {
                return false;
            }
            let (Some(low), Some(wanted)) = (port.get("port"), flow.port) else {
                // No number is every port; a flow on any port needs just that.
                return port.get("port").is_none();
            };
            let Some(low) = low.integer() else {
                // A name belongs to the pod; the flow was resolved to a number, so take it for the same.
                return true;
            };
            let high = port.get("endPort").and_then(Node::integer).unwrap_or(low);
            (low..=high).contains(&i64::from(wanted))
        })
}

fn peer_allowed(
    estate: &Estate<'_>,
    settings: &Settings,
    policy: &Resource<'_>,
    rule: &Node,
    key: &str,
    other: &Party,
) -> bool {
    let peers = rule.list(key);
    peers.is_empty()
        || peers
            .iter()
            .any(|peer| peer_matches(estate, settings, policy, peer, other))
}

fn peer_matches(
    estate: &Estate<'_>,
    settings: &Settings,
    policy: &Resource<'_>,
    peer: &Node,
    other: &Party,
) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        return match other {
            Party::Anywhere => {
                matches!(block.text_at("cidr"), Some("0.0.0.0/0" | "::/0"))
            }
            // A name may be any address outside; a block that is the whole internet lets it through.
            Party::Host(host) if !is_ip(host) => {
                matches!(block.text_at("cidr"), Some("0.0.0.0/0" | "::/0"))
            }
            Party::Host(host) => {
                let inside = |text: Option<&str>| text.is_some_and(|range| contains(range, host));
                inside(block.text_at("cidr"))
                    && !block
                        .list("except")
                        .iter()
                        .any(|range| inside(range.text()))
            }
            _ => false,
        };
    }
    let (namespace, labels): (&str, Option<Vec<(&str, &str)>>) = match other {
        Party::Workload(number) => match estate.workloads.get(*number) {
            Some(workload) => (
                workload.resource.namespace_or_default(),
                Some(workload.labels.clone()),
            ),
            None => return false,
        },
        Party::Dns => ("kube-system", Some(vec![("k8s-app", "kube-dns")])),
        Party::Ingress => (settings.ingress_namespace.as_str(), None),
        Party::Monitoring => (settings.monitoring_namespace.as_str(), None),
        Party::Caller(number) => match settings.callers.get(*number) {
            Some(caller) => {
                let label = caller.label.as_ref();
                let labels = label.map(|(key, value)| vec![(key.as_str(), value.as_str())]);
                (caller.namespace.as_str(), labels)
            }
            None => return false,
        },
        // Every pod: only selectors that select everything let it through.
        Party::AnyPod => {
            let everything =
                |key: &str| present(peer, key).is_some_and(|node| node.entries().is_empty());
            return everything("namespaceSelector")
                && present(peer, "podSelector").is_none_or(|node| node.entries().is_empty());
        }
        Party::Host(_) | Party::Anywhere => return false,
    };
    let in_namespace = match present(peer, "namespaceSelector") {
        None => namespace == policy.namespace_or_default(),
        Some(selector) => selects(selector, &namespace_labels(estate, namespace)),
    };
    let pod = match (present(peer, "podSelector"), labels) {
        (None, _) => true,
        (Some(selector), Some(labels)) => selects(selector, &labels),
        // The pods of somebody else's namespace have labels that nobody told us.
        (Some(_), None) => true,
    };
    in_namespace && pod
}

/// A member that is there, even when it is written as `{}` or with nothing.
fn present<'node>(node: &'node Node, key: &str) -> Option<&'node Node> {
    node.entries()
        .iter()
        .find(|entry| entry.key == key)
        .map(|entry| &entry.value)
}

/// The labels of a namespace: those that were read, and the name that Kubernetes puts on each.
fn namespace_labels<'estate>(
    estate: &'estate Estate<'_>,
    name: &'estate str,
) -> Vec<(&'estate str, &'estate str)> {
    let declared = estate
        .of_kind("Namespace")
        .find(|namespace| namespace.name == name);
    let mut labels =
        declared.map_or_else(Vec::new, |it| pairs(it.node.at(&["metadata", "labels"])));
    labels.push(("kubernetes.io/metadata.name", name));
    labels
}

/// Whether an address lies in a range such as `10.0.0.0/8`.
fn contains(range: &str, address: &str) -> bool {
    let Some((base, bits)) = range.split_once('/') else {
        return range == address;
    };
    let (Ok(base), Ok(address), Ok(bits)) = (
        base.parse::<IpAddr>(),
        address.parse::<IpAddr>(),
        bits.parse::<u32>(),
    ) else {
        return false;
    };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}
