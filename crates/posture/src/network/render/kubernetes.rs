//! Walls as `NetworkPolicy` of `networking.k8s.io/v1`.

use std::fmt::Write as _;

use super::super::{Door, Peer, Walls};
use super::{INSIDE, heading, object_name, quoted, reasons};

pub(super) fn default_deny(text: &mut String, namespace: &str) {
    let _infallible = write!(
        text,
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: default-deny\n  namespace: {}\nspec:\n  podSelector: {{}}\n  policyTypes: [Ingress, Egress]\n",
        quoted(namespace)
    );
}

pub(super) fn workload(text: &mut String, walls: &Walls) {
    heading(text, walls);
    let _infallible = write!(
        text,
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n  podSelector:\n    matchLabels:\n",
        quoted(&object_name(&walls.name)),
        quoted(&walls.namespace)
    );
    labels(text, 6, &walls.labels);
    text.push_str("  policyTypes: [Ingress, Egress]\n");
    for (list, peers, doors) in [
        ("ingress", "from", &walls.ingress),
        ("egress", "to", &walls.egress),
    ] {
        if doors.is_empty() {
            continue;
        }
        let _infallible = writeln!(text, "  {list}:");
        for door in doors {
            reasons(text, 4, door);
            let _infallible = writeln!(text, "    - {peers}:");
            peer(text, door);
            ports(text, door);
        }
    }
}

fn labels(text: &mut String, indent: usize, labels: &[(String, String)]) {
    for (key, value) in labels {
        let _infallible = writeln!(text, "{:indent$}{}: {}", "", quoted(key), quoted(value));
    }
}

fn peer(text: &mut String, door: &Door) {
    match &door.peer {
        Peer::Pods {
            namespace,
            labels: selected,
        } => {
            namespace_selector(text, namespace);
            if !selected.is_empty() {
                text.push_str("          podSelector:\n            matchLabels:\n");
                labels(text, 14, selected);
            }
        }
        Peer::Dns => {
            namespace_selector(text, "kube-system");
            text.push_str("          podSelector:\n            matchLabels:\n              k8s-app: kube-dns\n");
        }
        Peer::Hosts(hosts) => {
            let _infallible = writeln!(
                text,
                "        # {}: this kind of policy knows no names, so this is every address outside.\n        # Cilium holds names: casemate render network-policy --for cilium",
                hosts
                    .iter()
                    .map(|host| super::clean(host))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            block(text, "0.0.0.0/0");
        }
        Peer::Address(address) => {
            let bits = if address.contains(':') { 128 } else { 32 };
            let _infallible = writeln!(
                text,
                "        - ipBlock:\n            cidr: {address}/{bits}"
            );
        }
        Peer::Ranges(ranges) => {
            for range in ranges {
                let _infallible = writeln!(
                    text,
                    "        - ipBlock:\n            cidr: {}",
                    quoted(range)
                );
            }
        }
    }
}

fn namespace_selector(text: &mut String, namespace: &str) {
    let _infallible = write!(
        text,
        "        - namespaceSelector:\n            matchLabels:\n              kubernetes.io/metadata.name: {}\n",
        quoted(namespace)
    );
}

fn block(text: &mut String, range: &str) {
    let _infallible = writeln!(
        text,
        "        - ipBlock:\n            cidr: {range}\n            except: [{}]",
        INSIDE.join(", ")
    );
}

fn ports(text: &mut String, door: &Door) {
    if door.ports.is_empty() {
        return;
    }
    text.push_str("      ports:\n");
    for (port, protocol) in &door.ports {
        let _infallible = writeln!(
            text,
            "        - {{ protocol: {}, port: {port} }}",
            protocol.as_str()
        );
    }
}
