//! Policies for the network: whether a pod has one, and what it lets out.

use std::net::IpAddr;

use crate::cluster::{policies, selects};
use crate::estate::Estate;
use crate::kubernetes::{pairs, same_namespace};
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Check, Group, Rule, Severity, Sink};
use crate::rules::subject::{is_custom, is_inference, is_template, workload_place};
use crate::workload::{Origin, Resource, Workload};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-103",
        title: "no NetworkPolicy holds the pod",
        group: Group::Hardening,
        severity: Severity::High,
        why: "Without an egress policy a taken-over server sends the weights wherever it likes, and reads the cloud's \
              metadata service; without an ingress policy every pod of the cluster is a client.",
        fix: "Deny both directions by default, then allow the callers, and for egress DNS and what the server needs: \
              `casemate render network-policy` writes it.",
        maps: &[
            "CIS 5.3.2",
            "NIST 800-190 4.3.3",
            "NIST 800-190 4.4.2",
            "K07",
            "T1041",
            "AML.T0025",
        ],
        checks: &[Check::Workload(held)],
    },
    Rule {
        id: "AI-104",
        title: "egress to everywhere allowed",
        group: Group::Hardening,
        severity: Severity::High,
        why: "A policy that allows 0.0.0.0/0 is no policy for weights: they leave by the same way. It includes \
              169.254.169.254, where the node's cloud credentials are handed out.",
        fix: "Allow the addresses or names the server needs, or leave `egress` to DNS and the pods it calls.",
        maps: &[
            "CIS 5.3.2",
            "NIST 800-190 4.4.2",
            "K07",
            "T1041",
            "T1552.005",
            "AML.T0025",
            "AML.T0055",
        ],
        checks: &[Check::Estate(open_egress)],
    },
];

const POLICIES: &[&str] = &[
    "NetworkPolicy",
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "GlobalNetworkPolicy",
];

fn held(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if workload.origin != Origin::Kubernetes
        || workload.containers.is_empty()
        || is_template(workload)
    {
        return;
    }
    let found = policies(estate, workload);
    if !found.egress.is_empty() && !found.ingress.is_empty() {
        return;
    }
    if is_custom(workload) && generated_may_match(workload, estate) {
        let message = "the pods get their labels from a controller; scan the pods it makes to see which policies hold them";
        sink.cannot_tell(workload_place(workload), message);
        return;
    }
    let (message, severity) = match (found.ingress.is_empty(), found.egress.is_empty()) {
        (true, true) => (
            "no NetworkPolicy selects this pod: it may send to every address and takes calls from every pod",
            Severity::High,
        ),
        (false, true) => (
            "no NetworkPolicy restricts what this pod sends: weights and prompts may go to every address",
            Severity::High,
        ),
        (true, false) | (false, false) => (
            "no NetworkPolicy restricts who calls this pod: every pod of the cluster may",
            Severity::Medium,
        ),
    };
    let severity = if is_inference(workload) {
        severity
    } else {
        Severity::Low
    };
    sink.find(workload_place(workload), "policy", message)
        .severity(severity);
}

/// Whether a policy of the namespace goes by a label that a controller gives.
fn generated_may_match(workload: &Workload<'_>, estate: &Estate<'_>) -> bool {
    estate.resources.iter().any(|policy| {
        POLICIES.contains(&policy.kind)
            && same_namespace(policy, &workload.resource)
            && selector_of(policy).is_some_and(|selector| {
                names_generated(selector) && mentions(selector, workload.resource.name)
            })
    })
}

fn mentions(selector: &Node, name: &str) -> bool {
    let mut found = false;
    selector.walk(&mut |node| found = found || node.text().is_some_and(|text| text.contains(name)));
    found
}

pub(crate) fn selector_of<'tree>(policy: &Resource<'tree>) -> Option<&'tree Node> {
    let spec = policy.node.get("spec")?;
    spec.get("podSelector")
        .or_else(|| spec.get("endpointSelector"))
}

/// Whether a selector goes by labels that controllers give to pods, which no document shows.
fn names_generated(selector: &Node) -> bool {
    let generated = |key: &str| {
        matches!(
            key,
            "job-name" | "controller-uid" | "app.kubernetes.io/instance" | "app"
        ) || [
            "kserve.io",
            "nvidia.com",
            "ray.io",
            "x-k8s.io",
            "batch.kubernetes.io",
            "statefulset.kubernetes.io",
            "knative.dev",
        ]
        .iter()
        .any(|domain| {
            key.split('/')
                .next()
                .is_some_and(|prefix| prefix.ends_with(domain))
        })
    };
    pairs(selector.get("matchLabels"))
        .iter()
        .any(|label| generated(label.0))
        || selector
            .list("matchExpressions")
            .iter()
            .any(|one| one.text_at("key").is_some_and(generated))
}

fn open_egress(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for policy in estate
        .resources
        .iter()
        .filter(|one| POLICIES.contains(&one.kind))
    {
        sink.about_resource(policy);
        let Some(spec) = policy.node.get("spec") else {
            continue;
        };
        let restricts = |key: &str| {
            spec.get(key).is_none_or(|types| {
                types.items().is_empty()
                    || types.items().iter().any(|one| one.text() == Some("Egress"))
            })
        };
        if !restricts("policyTypes") || !restricts("types") {
            continue;
        }
        let fetches = only_fetches(policy, estate);
        for rule in spec.list("egress") {
            open_rule(policy, rule, fetches, sink);
        }
    }
}

/// Whether every workload that the policy selects runs once and ends: what fetches a model, rather than serves.
fn only_fetches(policy: &Resource<'_>, estate: &Estate<'_>) -> bool {
    let Some(selector) = selector_of(policy) else {
        return false;
    };
    let mut selected = estate
        .workloads
        .iter()
        .filter(|workload| {
            same_namespace(policy, &workload.resource) && selects(selector, &workload.labels)
        })
        .peekable();
    selected.peek().is_some()
        && selected.all(|workload| matches!(workload.resource.kind, "Job" | "CronJob" | "NIMCache"))
}

fn open_rule(policy: &Resource<'_>, rule: &Node, fetches: bool, sink: &mut Sink<'_>) {
    match policy.kind {
        "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" => cilium_rule(rule, sink),
        "GlobalNetworkPolicy" => calico_rule(rule, sink),
        "NetworkPolicy" if policy.api_version.starts_with("projectcalico.org") => {
            calico_rule(rule, sink)
        }
        _ => {
            let peers = rule.list("to");
            if peers.is_empty() {
                any_destination(rule, sink);
            }
            for block in peers.iter().filter_map(|peer| peer.get("ipBlock")) {
                if let Some(cidr) = block.get("cidr") {
                    judge_block(cidr, block.list("except"), fetches, sink);
                }
            }
        }
    }
}

/// A rule that names no destination: fine for DNS, and nothing else.
fn any_destination(rule: &Node, sink: &mut Sink<'_>) {
    let ports = rule.list("ports");
    let is_dns = |port: &Node| port.text_at("port") == Some("53") && port.get("endPort").is_none();
    let Some(open) = ports.iter().find(|port| !is_dns(port)) else {
        if ports.is_empty() {
            let message = "an egress rule without `to` and `ports` allows every destination";
            sink.find(rule.place, "egress any", message);
        }
        return;
    };
    let (place, what) = match open.get("port") {
        Some(port) => (port.place, port.text().unwrap_or("")),
        None => (open.place, "every"),
    };
    let message =
        format!("the egress rule names no destination: port {what} of every address is allowed");
    sink.find(place, format!("egress any {what}"), message);
}

fn cilium_rule(rule: &Node, sink: &mut Sink<'_>) {
    for entity in rule.list("toEntities") {
        if let Some(name @ ("world" | "all" | "world-ipv4" | "world-ipv6")) = entity.text() {
            let message = format!("entity `{name}` allows every address outside the cluster");
            sink.find(entity.place, format!("egress {name}"), message);
        }
    }
    for cidr in rule.list("toCIDR") {
        judge_block(cidr, &[], false, sink);
    }
    for set in rule.list("toCIDRSet") {
        if let Some(cidr) = set.get("cidr") {
            judge_block(cidr, set.list("except"), false, sink);
        }
    }
}

fn calico_rule(rule: &Node, sink: &mut Sink<'_>) {
    if rule.text_at("action") != Some("Allow") {
        return;
    }
    let destination = rule.get("destination");
    for net in destination.map_or(&[][..], |one| one.list("nets")) {
        judge_block(
            net,
            destination.map_or(&[][..], |one| one.list("notNets")),
            false,
            sink,
        );
    }
    if destination.is_none()
        && let Some(action) = rule.get("action")
    {
        let message = "an egress rule that allows and names no destination allows every address";
        sink.find(action.place, "egress any", message);
    }
}

/// Where clouds hand out credentials.
const METADATA: [u8; 4] = [169, 254, 169, 254];

fn judge_block(cidr: &Node, except: &[Node], fetches: bool, sink: &mut Sink<'_>) {
    let Some(text) = sink.known(cidr) else { return };
    let Some((address, length)) = network(text) else {
        return;
    };
    let metadata = IpAddr::from(METADATA);
    let excepted = |node: &Node| node.text().is_some_and(|text| contains(text, metadata));
    let leaks_credentials = contains(text, metadata) && !except.iter().any(excepted);
    let everywhere = length < 8 && !(address.is_ipv6() && length >= 3 && !is_global(address));
    let place: Place = cidr.place;
    let subject = format!("egress {text}");
    if leaks_credentials {
        let message = if everywhere {
            format!(
                "`{text}` allows every address, the metadata service at 169.254.169.254 among them"
            )
        } else {
            format!(
                "`{text}` contains 169.254.169.254, where the node's cloud credentials are handed out"
            )
        };
        sink.find(place, subject, message);
    } else if everywhere && !fetches {
        let message = format!(
            "`{text}` allows every address that is not excepted: weights leave by this way"
        );
        let severity = if except.is_empty() {
            Severity::High
        } else {
            Severity::Medium
        };
        sink.find(place, subject, message).severity(severity);
    }
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        // Unique local and link-local addresses.
        IpAddr::V6(address) => !matches!(address.segments().first(), Some(0xfc00..=0xffff)),
    }
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, length.parse().ok()?),
        None => (text, if text.contains(':') { 128 } else { 32 }),
    };
    Some((address.parse().ok()?, length))
}

fn contains(network_text: &str, address: IpAddr) -> bool {
    match (network(network_text), address) {
        (Some((IpAddr::V4(network), length)), IpAddr::V4(address)) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(length))
                .unwrap_or(0);
            length <= 32 && network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}
