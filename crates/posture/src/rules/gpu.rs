//! How a container gets its accelerator, and what it gets besides.

use crate::estate::{Document, Estate};
use crate::kubernetes::pairs;
use crate::node::Node;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Container, Origin, Role, Source, Workload};

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-073",
        title: "accelerators are taken by a variable instead of being asked for",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "With `NVIDIA_VISIBLE_DEVICES` a pod takes devices that the scheduler gave to others: it reads what they \
              leave in memory, and takes their time, without any of it showing in the cluster.",
        fix: "Ask for `nvidia.com/gpu` under `resources.limits`, and take the variable out.",
        maps: &["NIST 800-190 4.4.3", "T1611", "AML.T0105"],
        checks: &[Check::Container(by_variable)],
    },
    Rule {
        id: "AI-074",
        title: "the image asks for every accelerator by itself",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "On a node whose toolkit believes images (its default), every pod with this image sees all accelerators, \
              without asking the scheduler and without privilege.",
        fix: "Set `NVIDIA_VISIBLE_DEVICES=void` in the image's last stage, and have nodes refuse the variable \
              (`accept-nvidia-visible-devices-envvar-when-unprivileged = false`).",
        maps: &["NIST 800-190 4.4.3", "NIST 800-190 4.1.2", "T1610"],
        checks: &[Check::Image(by_image)],
    },
    Rule {
        id: "AI-086",
        title: "device files are mounted in place of asking for a device",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "The container gets devices that nobody accounted for: other tenants' accelerators, the fabric that \
              reaches other nodes' memory, or the whole of `/dev`.",
        fix: "Ask for the device: `nvidia.com/gpu`, an RDMA resource of its plugin, or a resource claim.",
        maps: &["CIS-Docker 5.17", "NIST 800-190 4.4.3", "T1611"],
        checks: &[Check::Container(device_files)],
    },
    Rule {
        id: "AI-087",
        title: "a pod that is meant for a sandbox runs without one",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "Its labels or its node ask for a confidential or sandboxed accelerator, and without a runtime class it \
              runs in the node's own kernel: what the sandbox was to keep from the node's owner lies open.",
        fix: "Set `runtimeClassName` to the sandbox's class, such as `kata-qemu-nvidia-gpu-snp`.",
        maps: &["NIST 800-190 4.3.4", "AML.M0012", "T1611"],
        checks: &[Check::Workload(no_sandbox)],
    },
    Rule {
        id: "AI-088",
        title: "accelerator nodes take any pod, or a pod goes to any node",
        group: Group::Accelerator,
        severity: Severity::Low,
        why: "Pods of anybody land beside the model: one escape, one kernel bug, and its weights are read.",
        fix: "Taint accelerator nodes (`nvidia.com/gpu=present:NoSchedule`) and tolerate that taint alone.",
        maps: &["NIST 800-190 4.3.4", "NIST 800-190 4.3.5"],
        checks: &[Check::Workload(tolerates_all), Check::Estate(untainted)],
    },
    Rule {
        id: "AI-089",
        title: "RDMA is used with more privilege than it needs",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "RDMA needs locked memory and nothing else. With the host's network the process reaches every service of \
              the node past all network policies; with SYS_ADMIN it is one step from the node.",
        fix: "Add only `IPC_LOCK`, and give the pod an SR-IOV or RDMA device of a plugin in place of the host's network.",
        maps: &["CIS 5.2.9", "CIS 5.2.5", "NIST 800-190 4.4.3", "T1611"],
        checks: &[Check::Container(remote_memory)],
    },
];

fn by_variable(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let Some((text, place)) = container.literal("NVIDIA_VISIBLE_DEVICES") else {
        return;
    };
    let value = text.trim().to_ascii_lowercase();
    if matches!(value.as_str(), "" | "void" | "none")
        || evidence::is_accelerator_software(container)
    {
        return;
    }
    match case.workload.origin {
        Origin::Kubernetes => {
            if evidence::asks_for_accelerator(container, case.workload.origin) && value != "all" {
                return;
            }
            let message = format!(
                "`NVIDIA_VISIBLE_DEVICES={text}` takes {} past the scheduler: other pods' memory and time with them",
                which(&value)
            );
            sink.find(place, "NVIDIA_VISIBLE_DEVICES", message);
        }
        // Here the variable is how the older runtime is asked; naming devices is all one can do.
        Origin::Compose | Origin::DockerRun => {
            let reserved = container
                .node
                .at(&["deploy", "resources", "reservations", "devices"])
                .is_some()
                || container.node.get("gpus").is_some();
            if value == "all" && !reserved {
                let message = "`NVIDIA_VISIBLE_DEVICES=all` gives the container every accelerator of the machine";
                sink.find(place, "NVIDIA_VISIBLE_DEVICES", message)
                    .severity(Severity::Medium)
                    .fix("Name the devices: `--gpus device=0`, or `device_ids` under `deploy.resources.reservations`.");
            }
        }
    }
}

fn which(value: &str) -> String {
    if value == "all" {
        "every accelerator of the node".to_owned()
    } else {
        format!("accelerator {value}")
    }
}

fn by_image(document: &Document, sink: &mut Sink<'_>) {
    let variables = document
        .root
        .at(&["config", "Env"])
        .map_or(&[][..], Node::items);
    let value_of = |name: &str| {
        variables.iter().rev().find_map(|variable| {
            let (key, value) = variable.text()?.split_once('=')?;
            (key == name).then_some((value, variable.place))
        })
    };
    let Some((devices, place)) = value_of("NVIDIA_VISIBLE_DEVICES") else {
        return;
    };
    if devices != "all" {
        return;
    }
    let capabilities = value_of("NVIDIA_DRIVER_CAPABILITIES").map_or("", |(value, _)| value);
    let every = capabilities == "all" || capabilities.split(',').any(|one| one == "all");
    let beyond: Vec<&str> = capabilities
        .split(',')
        .filter(|one| matches!(*one, "graphics" | "display" | "video" | "ngx"))
        .collect();
    let (severity, more) = if every {
        (
            Severity::High,
            " with every capability of the driver".to_owned(),
        )
    } else if beyond.is_empty() {
        (Severity::Medium, String::new())
    } else {
        (Severity::Medium, format!(" with `{}`", beyond.join(",")))
    };
    let message = format!(
        "the image sets `NVIDIA_VISIBLE_DEVICES=all`{more}: on a node that believes images, every pod that runs it sees \
         all accelerators"
    );
    sink.find(place, "NVIDIA_VISIBLE_DEVICES", message)
        .severity(severity);
}

fn device_files(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if evidence::is_accelerator_software(container) {
        return;
    }
    for mount in &container.mounts {
        let Source::Host(path) = &mount.source else {
            continue;
        };
        if let Some(what) = device(path) {
            let written = mount
                .volume
                .and_then(|volume| volume.at(&["hostPath", "path"]));
            let place = written.map_or(mount.place, |node| node.place);
            let message = format!(
                "`{path}` of the host is mounted: {what}, past the scheduler and its accounting"
            );
            sink.find(place, format!("device {path}"), message);
        }
    }
    for item in container.node.list("devices") {
        let written = item.get("source").unwrap_or(item);
        let Some(text) = sink.known(written) else {
            continue;
        };
        // `nvidia.com/gpu=0` names a device of the container device interface.
        let path = text.split(':').next().unwrap_or(text);
        if let Some(what) = device(path) {
            let message = format!("device `{path}` is handed in by hand: {what}");
            sink.find(written.place, format!("device {path}"), message)
                .fix("Ask for it: `--gpus device=0`, or `nvidia.com/gpu=0` of the container device interface.");
        }
    }
}

/// What a path under `/dev` gives; none for those that have nothing to do with accelerators.
fn device(path: &str) -> Option<&'static str> {
    let name = path.trim_end_matches('/').strip_prefix("/dev")?;
    if name.is_empty() {
        return Some("every device of the node");
    }
    let name = name.strip_prefix('/')?;
    if name.starts_with("nvidia-caps-imex") {
        Some("memory of other nodes' accelerators")
    } else if name.starts_with("nvidia") {
        Some("an accelerator of the node")
    } else if name.starts_with("infiniband") {
        Some("the fabric that reaches other nodes' memory")
    } else if name.starts_with("gdrdrv") {
        Some("direct access to accelerator memory")
    } else if name.starts_with("vfio") {
        Some("devices that are passed through whole")
    } else if name == "kfd" || name.starts_with("dri") {
        Some("an accelerator of the node")
    } else {
        None
    }
}

fn no_sandbox(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if workload.origin != Origin::Kubernetes {
        return;
    }
    let Some(container) = asking(workload) else {
        return;
    };
    let class = workload.pod.get("runtimeClassName");
    if let Some(class) = class
        && sink
            .known(class)
            .is_none_or(|name| SANDBOXES.iter().any(|part| name.contains(part)))
    {
        return;
    }
    let place = class.map_or_else(|| evidence::place_of(container), |class| class.place);
    let found = class.and_then(Node::text).map_or_else(
        || "no `runtimeClassName` is set".to_owned(),
        |name| format!("`runtimeClassName: {name}` is no sandbox"),
    );
    if let Some(demand) = demand(workload) {
        let message = format!("{demand}, and {found}: it runs in the node's own kernel");
        sink.find(place, "runtimeClassName", message);
        return;
    }
    let offered = estate
        .of_kind("RuntimeClass")
        .find(|offered| offered.name.starts_with("kata-qemu-nvidia-gpu"));
    if let Some(offered) = offered {
        let message = format!(
            "the cluster offers `{}` for accelerators, and {found}",
            offered.name
        );
        sink.find(place, "runtimeClassName", message)
            .severity(Severity::Low);
    }
}

/// The main container that asks for an accelerator.
fn asking<'look, 'tree>(workload: &'look Workload<'tree>) -> Option<&'look Container<'tree>> {
    workload
        .containers
        .iter()
        .filter(|container| container.role == Role::Main)
        .find(|container| evidence::asks_for_accelerator(container, workload.origin))
}

/// What of a pod says that it is meant for a sandbox.
fn demand(workload: &Workload<'_>) -> Option<String> {
    let selected = pairs(workload.pod.get("nodeSelector"));
    let node = selected.iter().find(|(key, value)| {
        (*key == "nvidia.com/gpu.workload.config" && value.starts_with("vm-"))
            || (key.starts_with("nvidia.com/cc.") && matches!(*value, "on" | "true" | "devtools"))
            || (key.starts_with("amd.feature.node.kubernetes.io/snp") && *value == "true")
            || (key.starts_with("intel.feature.node.kubernetes.io/tdx") && *value == "true")
    });
    if let Some((key, value)) = node {
        return Some(format!("the pod goes to nodes with `{key}: {value}`"));
    }
    let told = workload
        .labels
        .iter()
        .chain(&workload.annotations)
        .find(|(key, value)| {
            let name = key.rsplit('/').next().unwrap_or("");
            matches!(
                name,
                "confidential" | "confidential-computing" | "sandbox" | "isolation"
            ) && matches!(*value, "true" | "required" | "confidential" | "vm" | "kata")
        });
    told.map(|(key, value)| format!("the pod is marked `{key}: {value}`"))
}

const SANDBOXES: [&str; 4] = ["kata", "gvisor", "runsc", "confidential"];

fn tolerates_all(workload: &Workload<'_>, _estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let software = workload
        .containers
        .iter()
        .any(evidence::is_accelerator_software);
    if asking(workload).is_none() || software {
        return;
    }
    for toleration in workload.pod.list("tolerations") {
        let all =
            toleration.text_at("operator") == Some("Exists") && toleration.get("key").is_none();
        if all {
            let message = "the pod tolerates every taint: it is scheduled on control-plane nodes and on nodes that are kept \
                           for others";
            let place = toleration.get("operator").unwrap_or(toleration).place;
            sink.find(place, "tolerations", message)
                .fix("Tolerate `nvidia.com/gpu` with `effect: NoSchedule`, and nothing else.");
        }
    }
}

fn untainted(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for node in estate.of_kind("Node") {
        let labels = pairs(node.node.at(&["metadata", "labels"]));
        let capacity = node
            .node
            .at(&["status", "capacity"])
            .map_or(&[][..], Node::entries);
        let present = labels.contains(&("nvidia.com/gpu.present", "true"))
            || capacity.iter().any(|entry| {
                entry.key.starts_with("nvidia.com/") && entry.value.text() != Some("0")
            });
        let taints = node
            .node
            .at(&["spec", "taints"])
            .map_or(&[][..], Node::items);
        let kept = taints
            .iter()
            .any(|taint| matches!(taint.text_at("effect"), Some("NoSchedule" | "NoExecute")));
        if present && !kept {
            let place = node
                .node
                .at(&["metadata", "name"])
                .map_or(node.place, |name| name.place);
            let message = format!(
                "node `{}` has accelerators and no taint: pods of anybody run beside its models",
                node.name
            );
            sink.about_resource(node).find(place, "taints", message);
        }
    }
}

fn remote_memory(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if evidence::is_accelerator_software(container) || !uses_remote_memory(container) {
        return;
    }
    let added = match case.workload.origin {
        Origin::Kubernetes => container
            .node
            .at(&["securityContext", "capabilities", "add"]),
        Origin::Compose | Origin::DockerRun => container.node.get("cap_add"),
    };
    for capability in added.map_or(&[][..], Node::items) {
        let name = capability.text().unwrap_or("").trim_start_matches("CAP_");
        if matches!(
            name,
            "SYS_ADMIN" | "SYS_RAWIO" | "NET_ADMIN" | "NET_RAW" | "SYS_PTRACE" | "ALL"
        ) {
            let message = format!("`{name}` is added for RDMA, which needs `IPC_LOCK` alone");
            sink.find(capability.place, format!("capability {name}"), message);
        }
    }
    let (network, host) = match case.workload.origin {
        Origin::Kubernetes => {
            let network = case.workload.pod.get("hostNetwork");
            (network, network.and_then(Node::boolean) == Some(true))
        }
        Origin::Compose | Origin::DockerRun => {
            let network = case.workload.pod.get("network_mode");
            (network, network.and_then(Node::text) == Some("host"))
        }
    };
    if let Some(network) = network.filter(|_| host) {
        let message = "the host's network is taken for the traffic between accelerators: the server reaches every service \
                       of the node, past all network policies";
        sink.find(network.place, "host network", message);
    }
}

/// Whether a container talks to accelerators of other machines: by a resource, a device or its settings.
fn uses_remote_memory(container: &Container<'_>) -> bool {
    let resources = container.node.get("resources");
    let by_resource = ["limits", "requests"].iter().any(|key| {
        resources
            .and_then(|resources| resources.get(key))
            .map_or(&[][..], Node::entries)
            .iter()
            .any(|entry| {
                entry.key.contains("rdma")
                    || entry.key.contains("hca")
                    || entry.key.contains("infiniband")
            })
    });
    let by_variable = container.environment.iter().any(|variable| {
        let name = variable.name.as_ref();
        name.starts_with("NCCL_IB_")
            || matches!(
                name,
                "NCCL_SOCKET_IFNAME" | "NCCL_NET_GDR_LEVEL" | "NVSHMEM_REMOTE_TRANSPORT"
            )
    });
    let by_device = container.node.list("devices").iter().any(|device| {
        device
            .text()
            .is_some_and(|text| text.starts_with("/dev/infiniband"))
    });
    let by_mount = container
        .mounts
        .iter()
        .any(|mount| mount.path.starts_with("/dev/infiniband"));
    by_resource || by_variable || by_device || by_mount
}
