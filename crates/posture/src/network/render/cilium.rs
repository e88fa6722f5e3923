//! Walls as `CiliumNetworkPolicy` of `cilium.io/v2`: host names stay names.

use std::fmt::Write as _;

use super::super::{Door, Peer, Protocol, Walls};
use super::{heading, object_name, quoted, reasons};

pub(super) fn default_deny(text: &mut String, namespace: &str) {
    let _infallible = write!(
        text,
        "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: default-deny\n  namespace: {}\nspec:\n  endpointSelector: {{}}\n  ingress: [{{}}]\n  egress: [{{}}]\n",
        quoted(namespace)
    );
}

pub(super) fn workload(text: &mut String, walls: &Walls) {
    heading(text, walls);
    let _infallible = write!(
        text,
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n  endpointSelector:\n    matchLabels:\n",
        quoted(&object_name(&walls.name)),
        quoted(&walls.namespace)
    );
    labels(text, 6, "", &walls.labels);
    for (list, direction, doors) in [
        ("ingress", "from", &walls.ingress),
        ("egress", "to", &walls.egress),
    ] {
        // An empty rule makes the direction closed by default and lets nothing through.
        if doors.is_empty() {
            let _infallible = writeln!(text, "  {list}: [{{}}]");
            continue;
        }
        let _infallible = writeln!(text, "  {list}:");
        for door in doors {
            reasons(text, 4, door);
            peer(text, direction, door);
            ports(text, door);
        }
    }
}

fn labels(text: &mut String, indent: usize, prefix: &str, labels: &[(String, String)]) {
    for (key, value) in labels {
        let key = format!("{prefix}{key}");
        let _infallible = writeln!(text, "{:indent$}{}: {}", "", quoted(&key), quoted(value));
    }
}

fn peer(text: &mut String, direction: &str, door: &Door) {
    match &door.peer {
        Peer::Pods {
            namespace,
            labels: selected,
        } => {
            endpoints(text, direction, namespace);
            labels(text, 12, "", selected);
        }
        Peer::Dns => {
            endpoints(text, direction, "kube-system");
            text.push_str("            k8s-app: kube-dns\n");
        }
        Peer::Hosts(hosts) => {
            let _infallible = writeln!(text, "    - {direction}FQDNs:");
            for host in hosts {
                let _infallible = writeln!(text, "        - matchName: {}", quoted(host));
            }
        }
        Peer::Address(address) => {
            let bits = if address.contains(':') { 128 } else { 32 };
            let _infallible = writeln!(
                text,
                "    - {direction}CIDR: [{}]",
                quoted(&format!("{address}/{bits}"))
            );
        }
        Peer::Ranges(ranges) if ranges.iter().any(|range| range == "0.0.0.0/0") => {
            let _infallible = writeln!(text, "    - {direction}Entities: [world]");
        }
        Peer::Ranges(ranges) => {
            let listed: Vec<String> = ranges.iter().map(|range| quoted(range)).collect();
            let _infallible = writeln!(text, "    - {direction}CIDR: [{}]", listed.join(", "));
        }
    }
}

fn endpoints(text: &mut String, direction: &str, namespace: &str) {
    let _infallible = write!(
        text,
        "    - {direction}Endpoints:\n        - matchLabels:\n            k8s:io.kubernetes.pod.namespace: {}\n",
        quoted(namespace)
    );
}

fn ports(text: &mut String, door: &Door) {
    if door.ports.is_empty() {
        return;
    }
    text.push_str("      toPorts:\n        - ports:\n");
    for (port, protocol) in &door.ports {
        let _infallible = writeln!(
            text,
            "            - {{ port: \"{port}\", protocol: {} }}",
            protocol.as_str()
        );
    }
    // Names are held by watching what the name service answers.
    if door.peer == Peer::Dns && door.ports.contains(&(53, Protocol::Udp)) {
        text.push_str("          rules: { dns: [{ matchPattern: \"*\" }] }\n");
    }
}
