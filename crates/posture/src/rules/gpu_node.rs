//! Accelerator nodes: how they share devices among tenants, and the software that runs them.

use crate::cluster;
use crate::estate::Estate;
use crate::node::{Entry, Node};
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Container, Workload};
use crate::yaml;

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-075",
        title: "an accelerator is shared in time between pods",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "Time-slicing and MPS share one memory and one fault domain: a neighbour can use it up, crash all of it, \
              and learn from its timing what others compute. Only MIG and whole devices keep tenants apart.",
        fix: "Give each tenant MIG slices (`nvidia.com/mig-…`) or whole devices; keep shared ones under a name of their \
              own with `renameByDefault: true`.",
        maps: &["NIST 800-190 4.3.4", "AML.T0029", "LLM10"],
        checks: &[
            Check::Container(shared_device),
            Check::Estate(shared_by_plugin),
        ],
    },
    Rule {
        id: "AI-076",
        title: "MIG is switched off on a device that has it, or a workload may change it",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "Without slices tenants of one device are not kept apart by hardware. A workload that configures or \
              watches MIG re-partitions the device under everybody else.",
        fix: "Use the strategy `mixed` (or `single`) on nodes with several tenants; take `NVIDIA_MIG_CONFIG_DEVICES` and \
              `NVIDIA_MIG_MONITOR_DEVICES` out of workloads.",
        maps: &["NIST 800-190 4.3.4", "T1611"],
        checks: &[
            Check::Container(slices_by_workload),
            Check::Estate(slices_off),
        ],
    },
    Rule {
        id: "AI-077",
        title: "the node's accelerator software has more than it needs",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "These containers run on every accelerator node. With privilege that they do not need, or beside workloads \
              in one namespace, one bug or one careless role binding is every node at once.",
        fix: "Use the upstream values: no privilege for the device plugin and the exporter, and a namespace of their own.",
        maps: &["NIST 800-190 4.4.3", "CIS 5.2.2", "AML.M0016", "T1611"],
        checks: &[
            Check::Container(needless_privilege),
            Check::Workload(mixed_namespace),
        ],
    },
    Rule {
        id: "AI-091",
        title: "metrics of accelerators are in everybody's reach",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "The exporter tells which pods of which namespaces run on which device and how busy they are: names of \
              models, hours of use, and when somebody trains.",
        fix: "Let a NetworkPolicy admit the monitoring namespace to port 9400, and publish it nowhere else.",
        maps: &["AML.T0007", "LLM02", "NIST 800-190 4.4.2", "T1046"],
        checks: &[Check::Workload(open_exporter)],
    },
];

fn shared_device(case: &Case<'_>, sink: &mut Sink<'_>) {
    let asked = evidence::accelerators(case.container);
    for entry in &asked {
        if entry.key.starts_with("nvidia.com/") && entry.key.ends_with(".shared") {
            let message = format!(
                "`{}` is a device shared in time: its other users can fill its memory, stop it, and time what runs here",
                entry.key
            );
            sink.find(entry.value.place, entry.key.as_str(), message);
        }
    }
    // A whole device where the nodes that were read offer slices.
    let slices = case.estate.of_kind("Node").find_map(|node| {
        let offered = node
            .node
            .at(&["status", "allocatable"])
            .map_or(&[][..], Node::entries);
        let positive = |entry: &&Entry| entry.value.integer().is_some_and(|count| count > 0);
        offered
            .iter()
            .filter(positive)
            .find(|entry| entry.key.starts_with("nvidia.com/mig-"))
    });
    let whole = asked
        .iter()
        .find(|entry| entry.key == "nvidia.com/gpu" && entry.value.text() == Some("1"));
    if let (Some(slice), Some(whole)) = (slices, whole)
        && case.container.server.is_some()
    {
        let message = format!(
            "a whole device is asked for though nodes offer slices (`{}`)",
            slice.key
        );
        sink.find(whole.value.place, "nvidia.com/gpu", message)
            .severity(Severity::Low);
    }
}

/// Settings of the device plugin, as they stand in the text of a config map.
fn shared_by_plugin(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for map in estate.of_kind("ConfigMap") {
        let data = map.node.get("data").map_or(&[][..], Node::entries);
        for entry in data {
            let text = entry.value.text().unwrap_or("");
            if !text.contains("sharing") || text.len() > MAX_SETTINGS {
                continue;
            }
            let settings = yaml::read(entry.place.file, text);
            for sharing in settings
                .documents
                .iter()
                .filter_map(|one| one.get("sharing"))
            {
                for (way, name) in [("timeSlicing", "time-slicing"), ("mps", "MPS")] {
                    let Some(shared) = sharing.get(way) else {
                        continue;
                    };
                    let most = shared
                        .list("resources")
                        .iter()
                        .filter_map(|one| one.get("replicas"))
                        .filter_map(|node| Some((node.integer()?, node.place)))
                        .max_by_key(|(count, _)| *count);
                    let Some((replicas, at)) = most.filter(|(count, _)| *count > 1) else {
                        continue;
                    };
                    if shared.boolean_at("renameByDefault") == Some(true) {
                        continue;
                    }
                    let place = evidence::inside(&entry.value, (at.line, at.column));
                    let message = format!(
                        "{name} hands each device to {replicas} pods under the name of a whole one: pods that ask for \
                         `nvidia.com/gpu` cannot tell that strangers share its memory"
                    );
                    sink.about_resource(map).find(
                        place,
                        format!("{way} in {}", entry.key),
                        message,
                    );
                }
            }
        }
    }
}

fn slices_by_workload(case: &Case<'_>, sink: &mut Sink<'_>) {
    if evidence::is_accelerator_software(case.container) {
        return;
    }
    for name in ["NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"] {
        if let Some((text, place)) = case.container.literal(name)
            && !matches!(text.trim(), "" | "none" | "void")
        {
            let message = format!(
                "`{name}={text}` lets this workload reach the partitioning of devices that others use"
            );
            sink.find(place, name, message);
        }
    }
}

fn slices_off(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for node in estate.of_kind("Node") {
        let Some(labels) = node.node.at(&["metadata", "labels"]) else {
            continue;
        };
        let capable = labels.text_at("nvidia.com/mig.capable") == Some("true");
        let strategy = labels.get("nvidia.com/mig.strategy");
        if let Some(strategy) = strategy.filter(|one| capable && one.text() == Some("none")) {
            let message = format!(
                "node `{}` has devices with MIG and hands them out whole: what shares one is not kept apart by hardware",
                node.name
            );
            sink.about_resource(node)
                .find(strategy.place, "mig.strategy", message)
                .severity(Severity::Medium);
        }
    }
    for policy in estate.of_kind("ClusterPolicy") {
        if let Some(strategy) = policy.node.at(&["spec", "mig", "strategy"])
            && policy.api_version.starts_with("nvidia.com/")
            && strategy.text() == Some("none")
        {
            let message =
                "`mig.strategy: none` hands devices out whole on every node of the cluster";
            sink.about_resource(policy)
                .find(strategy.place, "mig.strategy", message)
                .severity(Severity::Medium);
        }
    }
}

fn needless_privilege(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let image = container
        .image
        .as_ref()
        .map_or("", |image| image.repository);
    let name = image.rsplit('/').next().unwrap_or("");
    let plugin = name.contains("k8s-device-plugin");
    let exporter = name.contains("dcgm-exporter");
    if !plugin && !exporter {
        return;
    }
    let privileged = container.node.at(&["securityContext", "privileged"]);
    let Some(privileged) = privileged.filter(|node| node.boolean() == Some(true)) else {
        return;
    };
    // Feature discovery is in the plugin's image and reads more of the device than the plugin does.
    let discovery = container
        .words
        .iter()
        .any(|word| word.text.ends_with("gpu-feature-discovery"));
    // Upstream runs the plugin privileged when it hands out device files, slices or container device interfaces.
    if plugin && (discovery || needs_privilege(container)) {
        return;
    }
    let what = if plugin {
        "the device plugin"
    } else {
        "the metrics exporter"
    };
    let message = format!(
        "{what} runs privileged, which it does not need: it owns every accelerator node it runs on"
    );
    let finding = sink.find(privileged.place, "privileged", message);
    // The operator's own manifest has it too; the exporter's chart does with one capability.
    if exporter {
        finding
            .severity(Severity::Medium)
            .fix("Write `privileged: false` and add the capability `SYS_ADMIN`, as the exporter's own chart does.");
    }
}

fn needs_privilege(container: &Container<'_>) -> bool {
    let strategy = container.literal("MIG_STRATEGY").map(|(text, _)| text);
    let by_flag = container
        .flag(&["--mig-strategy"])
        .and_then(|flag| flag.value);
    let slices = strategy.or(by_flag).is_some_and(|text| text != "none");
    let interfaces = container
        .literal("DEVICE_LIST_STRATEGY")
        .map(|(text, _)| text)
        .or_else(|| {
            container
                .flag(&["--device-list-strategy"])
                .and_then(|flag| flag.value)
        })
        .is_some_and(|text| text.contains("cdi"));
    let files = container.switched_on("PASS_DEVICE_SPECS").is_some()
        || container.flag(&["--pass-device-specs"]).is_some();
    let mps = container.words.iter().any(|word| word.text.contains("mps"));
    slices || interfaces || files || mps
}

fn mixed_namespace(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if !workload
        .containers
        .iter()
        .any(evidence::is_accelerator_software)
    {
        return;
    }
    let Some(namespace) = workload.resource.namespace else {
        return;
    };
    let place = workload
        .resource
        .node
        .at(&["metadata", "namespace"])
        .map_or(workload.resource.place, |node| node.place);
    let neighbour = estate.workloads.iter().find(|other| {
        other.resource.namespace == Some(namespace)
            && other.containers.iter().any(|one| one.server.is_some())
    });
    let message = if let Some(other) = neighbour {
        format!(
            "it shares namespace `{namespace}` with `{}`: who may change workloads there changes what runs on every \
             accelerator node",
            other.resource.title()
        )
    } else if namespace == "default" {
        "it runs in `default`, where everybody's workloads are: who may change them changes what runs on every \
         accelerator node"
            .to_owned()
    } else {
        return;
    };
    sink.find(place, "namespace", message)
        .severity(Severity::Medium);
}

fn open_exporter(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let exporter = workload.containers.iter().any(|container| {
        let image = container
            .image
            .as_ref()
            .map_or("", |image| image.repository);
        image
            .rsplit('/')
            .next()
            .is_some_and(|name| name.contains("dcgm-exporter"))
    });
    if !exporter {
        return;
    }
    let narrowed = !cluster::policies(estate, workload).ingress.is_empty();
    let ways = cluster::exposures(estate, workload);
    let outside = ways.iter().find(|way| way.how.is_external());
    // A policy does not hold for the host's own network, nor for what a load balancer lets in from outside.
    let way = match outside {
        Some(way) => way,
        None if narrowed => return,
        None => match ways
            .iter()
            .find(|way| way.how == cluster::How::ClusterService)
        {
            Some(way) => way,
            None => return,
        },
    };
    let who = if way.how.is_external() {
        "other machines"
    } else {
        "every pod of the cluster"
    };
    let message = format!(
        "{} gives {who} the exporter's metrics: names of pods and models, and how busy each device is",
        way.how.as_str()
    );
    let place: Place = way.place;
    sink.find(place, "exporter", message);
}

/// The plugin's settings are a few lines; a longer text is something else.
const MAX_SETTINGS: usize = 64 * 1024;
