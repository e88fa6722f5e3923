//! What several rules ask of a container: its accelerators, its caches, who else can reach or write them.

use crate::cluster::{self, Exposure, How};
use crate::estate::Estate;
use crate::kubernetes::{pairs, same_namespace};
use crate::node::{Entry, Node, Style, Value};
use crate::place::Place;
use crate::rule::{Case, Sink};
use crate::workload::{Container, Given, Mount, Origin, Resource, Source, Workload};

/// Where a finding about something that a container lacks stands: at its image.
pub(crate) fn place_of(container: &Container<'_>) -> Place {
    container
        .image
        .as_ref()
        .map_or(container.node.place, |image| image.place)
}

/// The accelerators a container asks Kubernetes for, such as `nvidia.com/gpu: 1`.
pub(crate) fn accelerators<'tree>(container: &Container<'tree>) -> Vec<&'tree Entry> {
    let node: &'tree Node = container.node;
    ["limits", "requests"]
        .iter()
        .filter_map(|key| node.at(&["resources", key]))
        .map(|resources| {
            let accelerator = |entry: &&Entry| {
                (entry.key.starts_with("nvidia.com/") || entry.key == "amd.com/gpu")
                    && entry.value.text() != Some("0")
            };
            resources
                .entries()
                .iter()
                .filter(accelerator)
                .collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// Whether a container asks for an accelerator, in whatever way its document has.
pub(crate) fn asks_for_accelerator(container: &Container<'_>, origin: Origin) -> bool {
    let node = container.node;
    match origin {
        Origin::Kubernetes => {
            !accelerators(container).is_empty() || node.at(&["resources", "claims"]).is_some()
        }
        Origin::Compose | Origin::DockerRun => {
            let reserved = node
                .at(&["deploy", "resources", "reservations", "devices"])
                .map_or(&[][..], Node::items);
            let capable = |device: &Node| {
                device.text_at("driver") == Some("nvidia")
                    || device
                        .list("capabilities")
                        .iter()
                        .any(|one| one.text() == Some("gpu"))
            };
            let by_device = |device: &Node| {
                device
                    .text()
                    .is_some_and(|text| text.starts_with("nvidia.com/"))
            };
            node.get("gpus").is_some()
                || node.text_at("runtime") == Some("nvidia")
                || reserved.iter().any(capable)
                || node.list("devices").iter().any(by_device)
        }
    }
}

/// Whether a container is part of the node's own accelerator software, which needs what others must not have.
pub(crate) fn is_accelerator_software(container: &Container<'_>) -> bool {
    let Some(image) = &container.image else {
        return false;
    };
    let name = image.repository.rsplit('/').next().unwrap_or("");
    // The operator's own manifests name no image until it has filled one in.
    let unnamed = image.reference.contains(' ');
    let program = || {
        container.words.iter().any(|word| {
            let name = word.text.rsplit('/').next().unwrap_or("");
            PROGRAMS.contains(&name)
        })
    };
    SOFTWARE.iter().any(|known| name.contains(known))
        || (image.repository.contains("nvidia") && matches!(name, "driver" | "cloud-native"))
        || unnamed
        || program()
}

/// The innermost mount that `path` lies in.
pub(crate) fn mount_of<'look, 'tree>(
    container: &'look Container<'tree>,
    path: &str,
) -> Option<&'look Mount<'tree>> {
    let path = path.trim_end_matches('/');
    container
        .mounts
        .iter()
        .filter(|mount| {
            let root = mount.path.trim_end_matches('/');
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|mount| mount.path.len())
}

/// Who else can write what is mounted, in words; none when nobody is seen to.
pub(crate) fn shared_with(case: &Case<'_>, mount: &Mount<'_>) -> Option<String> {
    let own = &case.workload.resource;
    let others = || {
        case.estate
            .workloads
            .iter()
            .filter(|other| other.resource.place != own.place || other.resource.kind != own.kind)
    };
    let uses = |other: &Workload<'_>, source: &Source<'_>| {
        other
            .containers
            .iter()
            .flat_map(|container| &container.mounts)
            .any(|mount| mount.source == *source)
    };
    match &mount.source {
        Source::Host(path) => Some(format!("everything else on the node that mounts `{path}`")),
        Source::Claim(name) => {
            let other = others()
                .find(|other| same_namespace(&other.resource, own) && uses(other, &mount.source));
            let by_many = || {
                case.estate
                    .of_kind("PersistentVolumeClaim")
                    .filter(|claim| claim.name == *name && same_namespace(claim, own))
                    .any(|claim| {
                        let modes = claim.node.at(&["spec", "accessModes"]);
                        modes
                            .map_or(&[][..], Node::items)
                            .iter()
                            .any(|mode| mode.text() == Some("ReadWriteMany"))
                    })
            };
            other
                .map(|other| format!("`{}`", other.resource.title()))
                .or_else(|| {
                    by_many()
                        .then(|| format!("every pod that mounts claim `{name}` (ReadWriteMany)"))
                })
        }
        Source::Named(_) => others()
            .find(|other| other.resource.place.file == own.place.file && uses(other, &mount.source))
            .map(|other| format!("service `{}`", other.resource.name)),
        _ => None,
    }
}

/// The ways to `port` of a workload on which nobody asks the caller who it is: no gate of a mesh, no
/// authentication at the ingress.
pub(crate) fn open_ways<'look>(
    estate: &'look Estate<'look>,
    workload: &'look Workload<'look>,
    port: u16,
) -> Vec<Exposure<'look>> {
    if asks_who_calls(estate, workload) {
        return Vec::new();
    }
    ways(estate, workload, port)
        .into_iter()
        .filter(|way| way.how != How::Ingress || !ingress_asks(estate, way.resource))
        .collect()
}

/// The ways to `port` of a workload, those that end at the host's loopback left out.
pub(crate) fn ways<'look>(
    estate: &'look Estate<'look>,
    workload: &'look Workload<'look>,
    port: u16,
) -> Vec<Exposure<'look>> {
    cluster::exposures(estate, workload)
        .into_iter()
        .filter(|way| way.how != How::Loopback)
        .filter(|way| way.how == How::HostNetwork || way.port == Some(port))
        .collect()
}

/// Whether pods that no policy names can reach a workload; for compose, whether another machine can.
pub(crate) fn strangers_reach(estate: &Estate<'_>, workload: &Workload<'_>) -> bool {
    match workload.origin {
        Origin::Kubernetes => cluster::policies(estate, workload).ingress.is_empty(),
        Origin::Compose | Origin::DockerRun => cluster::exposures(estate, workload)
            .iter()
            .any(|way| way.how.is_external()),
    }
}

/// Whether a policy of a mesh or gateway that selects the workload asks callers who they are.
pub(crate) fn asks_who_calls(estate: &Estate<'_>, workload: &Workload<'_>) -> bool {
    estate.resources.iter().any(|policy| {
        let known = matches!(
            policy.kind,
            "AuthorizationPolicy" | "AuthPolicy" | "SecurityPolicy"
        );
        let selected = |spec: &Node| {
            spec.get("selector")
                .is_none_or(|selector| cluster::selects(selector, &workload.labels))
        };
        known
            && same_namespace(policy, &workload.resource)
            && policy.node.get("spec").is_none_or(selected)
            && !allows_everybody(policy)
    })
}

/// Whether a policy's rules have an empty one, which every caller meets.
pub(crate) fn allows_everybody(policy: &Resource<'_>) -> bool {
    let spec = policy.node.get("spec");
    let action = spec
        .and_then(|spec| spec.text_at("action"))
        .unwrap_or("ALLOW");
    let rules = spec.map_or(&[][..], |spec| spec.list("rules"));
    action == "ALLOW" && rules.iter().any(|rule| rule.entries().is_empty())
}

/// Whether an ingress or route asks the caller who it is, by the annotations that the common controllers have
/// or by a policy that targets it.
fn ingress_asks(estate: &Estate<'_>, ingress: &Resource<'_>) -> bool {
    let by_annotation = annotations(ingress).iter().any(|(key, value)| {
        let name = key.rsplit('/').next().unwrap_or("");
        let plugin = matches!(name, "router.middlewares" | "plugins");
        let words = ["auth", "jwt", "oidc", "openid"];
        ((name.starts_with("auth-") || name.starts_with("oauth")) && *value != "none")
            || (plugin && words.iter().any(|word| value.contains(word)))
    });
    let by_policy = || {
        estate.resources.iter().any(|policy| {
            matches!(policy.kind, "SecurityPolicy" | "AuthPolicy")
                && same_namespace(policy, ingress)
                && names_target(policy.node, ingress.name)
        })
    };
    by_annotation || by_policy()
}

/// The annotations of an ingress: its own, and for a kind whose operator makes the ingress, those it is given there.
pub(crate) fn annotations<'tree>(ingress: &Resource<'tree>) -> Vec<(&'tree str, &'tree str)> {
    let node: &'tree Node = ingress.node;
    let mut found = pairs(node.at(&["metadata", "annotations"]));
    if is_operated(ingress) {
        node.walk(&mut |one| found.extend(pairs(one.get("annotations"))));
    }
    found
}

/// Whether an operator makes services and ingresses of this resource by itself.
pub(crate) fn is_operated(resource: &Resource<'_>) -> bool {
    matches!(resource.kind, "NIMService" | "NIMPipeline")
}

/// Whether a policy attaches itself to a resource named `name`.
pub(crate) fn names_target(policy: &Node, name: &str) -> bool {
    let spec = policy.get("spec");
    let one = spec.and_then(|spec| spec.get("targetRef"));
    let many = spec.map_or(&[][..], |spec| spec.list("targetRefs"));
    one.into_iter()
        .chain(many)
        .any(|target| target.text_at("name") == Some(name))
}

/// A place inside a text of several lines, from the line and column (counted from 1) in that text. The bytes stay
/// those of the whole text, and so does the place in a text of one line.
pub(crate) fn inside(text: &Node, (line, column): (u32, u32)) -> Place {
    match &text.value {
        Value::Scalar {
            style: Style::Block,
            ..
        } => Place {
            line: text.place.line.saturating_add(line.saturating_sub(1)),
            column: text.place.column.saturating_add(column.saturating_sub(1)),
            ..text.place
        },
        Value::Scalar { .. } | Value::Sequence { .. } | Value::Mapping { .. } => text.place,
    }
}

/// Where a bundle of variables (`envFrom`) is named that was not read: what is absent may be in it.
pub(crate) fn unread_bundle(container: &Container<'_>) -> Option<Place> {
    container
        .environment
        .iter()
        .find(|variable| variable.name == "*" && matches!(variable.value, Given::ConfigMap(_)))
        .map(|variable| variable.place)
}

/// Whether the variable `name` is absent as far as was read, and says so when it may be in a bundle that was not.
pub(crate) fn surely_absent(container: &Container<'_>, name: &str, sink: &mut Sink<'_>) -> bool {
    if container.variable(name).is_some() {
        return false;
    }
    let unread = unread_bundle(container);
    if let Some(place) = unread {
        sink.cannot_tell(
            place,
            format!("`{name}` may be in a config map that was not read"),
        );
    }
    unread.is_none()
}

/// Whether an address that a server binds is reachable from its own machine alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim().trim_start_matches('[').trim_end_matches(']');
    host.starts_with("127.") || matches!(host, "localhost" | "::1") || host.ends_with(".sock")
}

const PROGRAMS: [&str; 5] = [
    "nvidia-device-plugin",
    "mps-control-daemon",
    "nvidia-validator",
    "gpu-feature-discovery",
    "dcgm-exporter",
];
const SOFTWARE: [&str; 16] = [
    "vgpu-manager",
    "sandbox-device-plugin",
    "k8s-device-plugin",
    "container-toolkit",
    "gpu-operator",
    "dcgm",
    "k8s-mig-manager",
    "k8s-driver-manager",
    "gpu-feature-discovery",
    "node-feature-discovery",
    "k8s-dra-driver",
    "k8s-cc-manager",
    "vgpu-device-manager",
    "kubevirt-gpu-device-plugin",
    "vfio-manager",
    "rdma-shared",
];
