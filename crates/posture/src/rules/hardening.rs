//! No privilege and no part of the host: what takes the wall between a container and its node away.

use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Change, Check, Group, Rule, Severity, Sink};
use crate::workload::{Origin, Source, Workload};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-092",
        title: "container runs privileged",
        group: Group::Hardening,
        severity: Severity::Critical,
        why: "A privileged container has every capability and every device: whoever takes over the model server, by a \
              pickle or a bug in a parser, owns the node and reads the memory of every other model on it.",
        fix: "Remove `privileged`. A GPU needs no privilege: ask for `nvidia.com/gpu`, or name the device.",
        maps: &[
            "CIS 5.2.2",
            "CIS-Docker 5.4",
            "NIST 800-190 4.4.3",
            "K01",
            "T1611",
            "AML.T0105",
        ],
        checks: &[Check::Container(privileged)],
    },
    Rule {
        id: "AI-093",
        title: "host IPC namespace shared",
        group: Group::Hardening,
        severity: Severity::High,
        why: "Vendor examples share the host's IPC namespace to get a large /dev/shm. Every process of the node that \
              does the same reads and writes the tensors, KV caches and queues that the server keeps there.",
        fix: "Keep IPC private and mount an `emptyDir` with `medium: Memory` and a `sizeLimit` at /dev/shm.",
        maps: &[
            "CIS 5.2.4",
            "CIS-Docker 5.16",
            "NIST 800-190 4.4.3",
            "K01",
            "T1611",
            "AML.T0105",
        ],
        checks: &[Check::Workload(host_ipc)],
    },
    Rule {
        id: "AI-095",
        title: "host process or network namespace, or a port of the node",
        group: Group::Hardening,
        severity: Severity::High,
        why: "In the host's network no NetworkPolicy applies, the node's loopback and the cloud's metadata service \
              answer, and each port of the server is a port of the node; in its process namespace the server sees the \
              command lines, environment and memory of its neighbors.",
        fix: "Remove the setting and put a Service in front of the port.",
        maps: &[
            "CIS 5.2.3",
            "CIS 5.2.5",
            "CIS 5.2.13",
            "CIS-Docker 5.9",
            "CIS-Docker 5.15",
            "NIST 800-190 4.3.3",
            "K01",
            "T1611",
        ],
        checks: &[
            Check::Workload(host_namespaces),
            Check::Container(host_ports),
        ],
    },
    Rule {
        id: "AI-101",
        title: "container runtime's socket mounted",
        group: Group::Hardening,
        severity: Severity::Critical,
        why: "Who can write to the runtime's socket starts a privileged container with the node's disk in it: one \
              request from a taken-over server is the whole node, its keys and its models.",
        fix: "Remove the mount. What must start containers belongs into an operator with a role of its own.",
        maps: &[
            "CIS-Docker 5.31",
            "NIST 800-190 4.4.3",
            "K01",
            "T1611",
            "T1610",
        ],
        checks: &[Check::Container(runtime_socket)],
    },
];

fn privileged(case: &Case<'_>, sink: &mut Sink<'_>) {
    let node = match case.workload.origin {
        Origin::Kubernetes => case.container.node.at(&["securityContext", "privileged"]),
        Origin::Compose | Origin::DockerRun => case.container.node.get("privileged"),
    };
    let Some(node) = node else { return };
    if sink.known(node).is_some() && node.boolean() == Some(true) {
        let message = format!(
            "`privileged: true` gives container `{}` every capability and every device of the node",
            case.container.name
        );
        sink.find(node.place, "privileged", message)
            .change(Change::replace(node, "false"));
    }
}

fn host_ipc(workload: &Workload<'_>, _: &crate::estate::Estate<'_>, sink: &mut Sink<'_>) {
    if workload.origin == Origin::Kubernetes {
        if let Some(node) = switched_on(workload.pod, "hostIPC", sink) {
            let message = "`hostIPC: true` puts every container of this pod into the node's IPC namespace: shared \
                           memory of the model is open to each process there";
            sink.find(node.place, "hostIPC", message)
                .fix("Write `hostIPC: false`, and mount `emptyDir: {medium: Memory, sizeLimit: 8Gi}` at /dev/shm.")
                .change(Change::replace(node, "false"));
        }
    } else if let Some(node) = workload.pod.get("ipc")
        && sink.known(node) == Some("host")
    {
        let message =
            "`ipc: host` shares the host's System V and POSIX shared memory with this container";
        sink.find(node.place, "ipc", message).fix(
            "Write `ipc: private` and give /dev/shm a size with `shm_size` (`--shm-size 8g`).",
        );
    }
}

fn host_namespaces(workload: &Workload<'_>, _: &crate::estate::Estate<'_>, sink: &mut Sink<'_>) {
    if workload.origin == Origin::Kubernetes {
        for (key, allows) in [
            (
                "hostPID",
                "every container of this pod sees and can signal all processes of the node",
            ),
            (
                "hostNetwork",
                "every port the server opens is open on the node, and no NetworkPolicy applies to it",
            ),
        ] {
            if let Some(node) = switched_on(workload.pod, key, sink) {
                sink.find(node.place, key, format!("`{key}: true`: {allows}"))
                    .change(Change::replace(node, "false"));
            }
        }
        return;
    }
    for (key, allows) in [
        (
            "pid",
            "the container sees and can signal all processes of the host",
        ),
        (
            "network_mode",
            "every port the server opens is open on the host, its metrics and management among them",
        ),
    ] {
        if let Some(node) = workload.pod.get(key)
            && sink.known(node) == Some("host")
        {
            sink.find(node.place, key, format!("`{key}: host`: {allows}"))
                .fix("Remove it, and publish the one port that clients need on 127.0.0.1.");
        }
    }
}

fn host_ports(case: &Case<'_>, sink: &mut Sink<'_>) {
    if case.workload.origin != Origin::Kubernetes {
        return;
    }
    for port in case.container.node.list("ports") {
        let Some(entry) = port.entry("hostPort") else {
            continue;
        };
        let Some(number) = sink.known(&entry.value) else {
            continue;
        };
        if number == "0" {
            continue;
        }
        let message = format!(
            "`hostPort: {number}` opens the container's port on every node that runs it, past Services and Ingress"
        );
        sink.find(entry.value.place, format!("hostPort {number}"), message)
            .fix("Remove `hostPort` and reach the port through a ClusterIP Service.")
            .change(Change::remove(entry));
    }
}

/// The value of `key` when it is known and on.
fn switched_on<'node>(node: &'node Node, key: &str, sink: &mut Sink<'_>) -> Option<&'node Node> {
    let value = node.get(key)?;
    sink.known(value)?;
    (value.boolean() == Some(true)).then_some(value)
}

/// Sockets that start containers.
const SOCKETS: &[&str] = &[
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "podman.sock",
    "cri-dockerd.sock",
    "dockershim.sock",
    "buildkitd.sock",
];

/// Directories that hold such a socket.
const SOCKET_DIRECTORIES: &[&str] = &[
    "/run",
    "/var/run",
    "/run/containerd",
    "/var/run/containerd",
    "/run/crio",
    "/var/run/crio",
    "/run/podman",
    "/run/k3s",
    "/run/k3s/containerd",
];

fn runtime_socket(case: &Case<'_>, sink: &mut Sink<'_>) {
    for mount in &case.container.mounts {
        let Source::Host(path) = &mount.source else {
            continue;
        };
        let clean = path.trim_end_matches('/');
        let file = clean.rsplit('/').next().unwrap_or(clean);
        if !SOCKETS.contains(&file) && !SOCKET_DIRECTORIES.contains(&clean) {
            continue;
        }
        let place = mount
            .volume
            .and_then(|volume| volume.at(&["hostPath", "path"]))
            .map_or(mount.place, |node: &Node| -> Place { node.place });
        let message = format!(
            "`{path}` of the host, at `{}` in container `{}`, is the way to start any container on the node (read-only \
             does not stop a connection)",
            mount.path, case.container.name
        );
        sink.find(place, format!("mount {}", mount.path), message);
    }
}
