//! Walls as `NetworkPolicy` of `projectcalico.org/v3`.

use std::fmt::Write as _;

use super::super::{Door, Peer, Protocol, Walls};
use super::{INSIDE, heading, object_name, quoted, reasons};

pub(super) fn default_deny(text: &mut String, namespace: &str) {
    let _infallible = write!(
        text,
        "---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata:\n  name: default-deny\n  namespace: {}\nspec:\n  order: 1000\n  selector: all()\n  types: [Ingress, Egress]\n",
        quoted(namespace)
    );
}

pub(super) fn workload(text: &mut String, walls: &Walls) {
    heading(text, walls);
    let _infallible = write!(
        text,
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n  order: 100\n  selector: {}\n  types: [Ingress, Egress]\n",
        quoted(&object_name(&walls.name)),
        quoted(&walls.namespace),
        quoted(&expression(&walls.labels))
    );
    for (list, side, doors) in [
        ("ingress", "source", &walls.ingress),
        ("egress", "destination", &walls.egress),
    ] {
        if doors.is_empty() {
            continue;
        }
        let _infallible = writeln!(text, "  {list}:");
        for door in doors {
            for protocol in protocols(door) {
                reasons(text, 4, door);
                rule(text, side, door, protocol);
            }
        }
    }
}

/// A rule holds one protocol; a door for every port is one rule without.
fn protocols(door: &Door) -> Vec<Option<Protocol>> {
    if door.ports.is_empty() {
        return vec![None];
    }
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(|protocol| door.ports.iter().any(|port| port.1 == *protocol))
        .map(Some)
        .collect()
}

fn rule(text: &mut String, side: &str, door: &Door, protocol: Option<Protocol>) {
    text.push_str("    - action: Allow\n");
    if let Some(protocol) = protocol {
        let _infallible = writeln!(text, "      protocol: {}", protocol.as_str());
    }
    let ports: Vec<String> = door
        .ports
        .iter()
        .filter(|port| Some(port.1) == protocol)
        .map(|port| port.0.to_string())
        .collect();
    let mut peer = Vec::new();
    match &door.peer {
        Peer::Pods { namespace, labels } => {
            peer.push(format!(
                "namespaceSelector: {}",
                quoted(&in_namespace(namespace))
            ));
            if !labels.is_empty() {
                peer.push(format!("selector: {}", quoted(&expression(labels))));
            }
        }
        Peer::Dns => {
            peer.push(format!(
                "namespaceSelector: {}",
                quoted(&in_namespace("kube-system"))
            ));
            peer.push("selector: k8s-app == 'kube-dns'".to_owned());
        }
        Peer::Hosts(hosts) => {
            let _infallible = writeln!(
                text,
                "      # {}: without the commercial edition no names are held, so this is every address outside.",
                hosts
                    .iter()
                    .map(|host| super::clean(host))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            peer.push(format!("notNets: [{}]", INSIDE.join(", ")));
        }
        Peer::Address(address) => {
            let bits = if address.contains(':') { 128 } else { 32 };
            peer.push(format!("nets: [\"{address}/{bits}\"]"));
        }
        Peer::Ranges(ranges) => {
            let listed: Vec<String> = ranges.iter().map(|range| quoted(range)).collect();
            peer.push(format!("nets: [{}]", listed.join(", ")));
        }
    }
    let ports = (!ports.is_empty()).then(|| format!("ports: [{}]", ports.join(", ")));
    let block = |text: &mut String, side: &str, lines: &[String]| {
        if !lines.is_empty() {
            let _infallible = writeln!(text, "      {side}:");
            for line in lines {
                let _infallible = writeln!(text, "        {line}");
            }
        }
    };
    // Ports are always those of the destination.
    if side == "destination" {
        peer.extend(ports);
        block(text, "destination", &peer);
    } else {
        block(text, "source", &peer);
        block(text, "destination", &ports.into_iter().collect::<Vec<_>>());
    }
}

fn in_namespace(namespace: &str) -> String {
    format!("kubernetes.io/metadata.name == '{}'", plain(namespace))
}

fn expression(labels: &[(String, String)]) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{} == '{}'", plain(key), plain(value)))
        .collect::<Vec<_>>()
        .join(" && ")
}

/// Labels hold nothing else; what a hostile document has beside it must not become part of the expression.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '/')
        })
        .collect()
}
