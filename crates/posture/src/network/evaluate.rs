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
    let answer = restricting
        .iter()
        .filter(native)
        .flat_map(|policy| {
            let rules = policy
                .node
                .get("spec")
                .map_or(&[][..], |spec| spec.list(direction.list));
            rules.iter().map(move |rule| (policy, rule))
        })
        .map(|(policy, rule)| {
            let ports = port_allowed(estate, rule.list("ports"), flow);
            ports.min(peer_allowed(
                estate,
                settings,
                policy,
                rule,
                direction.peers,
                other,
            ))
        })
        .max()
        .unwrap_or(Answer::No);
    match answer {
        Answer::Yes => Standing::Allowed,
        Answer::No if restricting.iter().all(|policy| native(&policy)) => Standing::Denied,
        Answer::No | Answer::Unknown => Standing::Unknown,
    }
}

/// Whether something is let through; of two conditions the lesser counts, of two rules the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    No,
    /// It depends on what no document says: addresses of pods, labels of somebody else's namespace.
    Unknown,
    Yes,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// No list of ports is every port.
fn port_allowed(estate: &Estate<'_>, ports: &[Node], flow: &Flow) -> Answer {
    if ports.is_empty() {
        return Answer::Yes;
    }
    let answers = ports.iter().map(|port| {
        let protocol = port.text_at("protocol").unwrap_or("TCP");
        if protocol != flow.protocol.as_str() {
            return Answer::No;
        }
        let (Some(low), Some(wanted)) = (port.get("port"), flow.port) else {
            // No number is every port; a flow on any port needs just that.
            return port.get("port").is_none().into();
        };
        let Some(low) = low.integer() else {
            return named_port(estate, low.text().unwrap_or(""), wanted, &flow.to);
        };
        let high = port.get("endPort").and_then(Node::integer).unwrap_or(low);
        (low..=high).contains(&i64::from(wanted)).into()
    });
    answers.max().unwrap_or(Answer::No)
}

/// A name is the one that the pods which are called give to a port of theirs.
fn named_port(estate: &Estate<'_>, name: &str, wanted: u16, to: &Party) -> Answer {
    let Some(target) = workload(estate, to) else {
        return Answer::Unknown;
    };
    let mut ports = target.containers.iter().flat_map(|one| &one.ports);
    ports
        .any(|port| port.name == Some(name) && port.number == wanted)
        .into()
}

fn peer_allowed(
    estate: &Estate<'_>,
    settings: &Settings,
    policy: &Resource<'_>,
    rule: &Node,
    key: &str,
    other: &Party,
) -> Answer {
    let peers = rule.list(key);
    if peers.is_empty() {
        return Answer::Yes;
    }
    let answers = peers
        .iter()
        .map(|peer| peer_matches(estate, settings, policy, peer, other));
    answers.max().unwrap_or(Answer::No)
}

fn peer_matches(
    estate: &Estate<'_>,
    settings: &Settings,
    policy: &Resource<'_>,
    peer: &Node,
    other: &Party,
) -> Answer {
    if let Some(block) = peer.get("ipBlock") {
        return block_matches(block, other);
    }
    // A selector of nothing (`podSelector:`) is an absent one; an empty one (`{}`) selects everything.
    let (of_namespaces, of_pods) = (peer.get("namespaceSelector"), peer.get("podSelector"));
    let (namespace, labels): (&str, Option<Vec<(&str, &str)>>) = match other {
        Party::Workload(number) => match estate.workloads.get(*number) {
            Some(workload) => (
                workload.resource.namespace_or_default(),
                Some(workload.labels.clone()),
            ),
            None => return Answer::No,
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
            None => return Answer::No,
        },
        // Every pod: only selectors that select everything let it through.
        Party::AnyPod => {
            let everything =
                of_namespaces.is_some_and(is_everything) && of_pods.is_none_or(is_everything);
            return everything.into();
        }
        Party::Host(_) | Party::Anywhere => return Answer::No,
    };
    let in_namespace = match of_namespaces {
        None => (namespace == policy.namespace_or_default()).into(),
        Some(selector) => namespace_matches(estate, selector, namespace),
    };
    let pod = match (of_pods, labels) {
        (None, _) => Answer::Yes,
        (Some(selector), Some(labels)) => selects(selector, &labels).into(),
        // The pods of somebody else's namespace have labels that nobody told us.
        (Some(_), None) => Answer::Yes,
    };
    in_namespace.min(pod)
}

fn is_everything(selector: &Node) -> bool {
    let none = |key: &str| {
        selector.get(key).is_none_or(|member| {
            member.entries().is_empty() && member.items().is_empty() && member.text().is_none()
        })
    };
    none("matchLabels") && none("matchExpressions")
}

/// Whether a range of addresses takes a party in.
fn block_matches(block: &Node, other: &Party) -> Answer {
    let range = block.text_at("cidr").unwrap_or("");
    let except: Vec<&str> = block.list("except").iter().filter_map(Node::text).collect();
    let is_all = range
        .split_once('/')
        .is_some_and(|(_, bits)| bits.parse() == Ok(0_u32));
    match other {
        Party::Host(host) if is_ip(host) => {
            let out = except.iter().any(|range| contains(range, host));
            (contains(range, host) && !out).into()
        }
        // A name may be any address outside.
        Party::Host(_) | Party::Anywhere => {
            if is_all && except.iter().all(|range| is_private(range)) {
                Answer::Yes
            } else if is_private(range) {
                Answer::No
            } else {
                // Some addresses, and nobody says which are meant.
                Answer::Unknown
            }
        }
        // The addresses of pods are private ones, and whether a block means them is up to the engine.
        _ => {
            let pods_out = PRIVATE
                .iter()
                .all(|private| except.iter().any(|range| range == private));
            if (is_all && !pods_out) || is_private(range) {
                Answer::Unknown
            } else {
                Answer::No
            }
        }
    }
}

/// Whether a range lies in the networks that no address outside is from.
fn is_private(range: &str) -> bool {
    let base = range.split_once('/').map_or(range, |(base, _)| base);
    let bits = |range: &str| {
        let bits = range.split_once('/').map(|(_, bits)| bits.parse::<u32>());
        bits.and_then(Result::ok)
    };
    PRIVATE
        .iter()
        .chain(LOCAL)
        .any(|private| contains(private, base) && bits(range) >= bits(private))
}

const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const LOCAL: &[&str] = &[
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// Whether a selector picks a namespace: one whose document was not read may have any label but its name's.
fn namespace_matches(estate: &Estate<'_>, selector: &Node, name: &str) -> Answer {
    let labels = namespace_labels(estate, name);
    if labels.len() > 1 || estate.of_kind("Namespace").any(|one| one.name == name) {
        return selects(selector, &labels).into();
    }
    let known = |key: Option<&str>| key == Some(NAME);
    let wanted = selector.get("matchLabels").map_or(&[][..], Node::entries);
    let expressions = selector.list("matchExpressions");
    let by_name = wanted
        .iter()
        .filter(|entry| known(Some(&entry.key)))
        .all(|entry| entry.value.text() == Some(name));
    let others = wanted.iter().any(|entry| !known(Some(&entry.key)))
        || expressions.iter().any(|one| !known(one.text_at("key")));
    match (by_name, others) {
        (false, _) => Answer::No,
        (true, true) => Answer::Unknown,
        (true, false) => selects(selector, &labels).into(),
    }
}

const NAME: &str = "kubernetes.io/metadata.name";

/// The labels of a namespace: those that were read, and the name that Kubernetes puts on each.
fn namespace_labels<'estate>(
    estate: &'estate Estate<'_>,
    name: &'estate str,
) -> Vec<(&'estate str, &'estate str)> {
    let declared = estate
        .of_kind("Namespace")
        .find(|namespace| namespace.name == name);
    // Kubernetes writes this one itself, over whatever a manifest says.
    let mut labels = vec![(NAME, name)];
    let written = declared.map_or_else(Vec::new, |it| pairs(it.node.at(&["metadata", "labels"])));
    labels.extend(written.into_iter().filter(|label| label.0 != NAME));
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
