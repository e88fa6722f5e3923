//! Settings of the NVIDIA Container Toolkit: what images may make it do, as root, on the node.
//!
//! A setting that is absent has NVIDIA's default, which is judged like any other; its finding stands at the section
//! that it belongs to.

use crate::estate::{Document, Estate, Kind};
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Change, Check, Group, Rule, Severity, Sink};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-080",
        title: "the toolkit gives accelerators to whatever image asks for them",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "Any pod with `NVIDIA_VISIBLE_DEVICES=all` in its image or environment sees every accelerator of the node, \
              without privilege and without asking the scheduler. It is the default.",
        fix: "Write `accept-nvidia-visible-devices-envvar-when-unprivileged = false` and hand devices out by the container \
              device interface.",
        maps: &["AML.T0105", "NIST 800-190 4.4.3", "T1610"],
        checks: &[
            Check::Toolkit(believes_variables),
            Check::Container(believes_by_container),
            Check::Estate(believes_by_operator),
        ],
    },
    Rule {
        id: "AI-081",
        title: "the toolkit gives accelerators to whatever pod mounts their names",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "A mount under `/var/run/nvidia-container-devices` is a request for a device that no scheduler sees: whoever \
              may create a pod with a host path takes any accelerator.",
        fix: "Use the container device interface, or have an admission policy refuse mounts under \
              `/var/run/nvidia-container-devices` in workloads.",
        maps: &["NIST 800-190 4.4.3", "T1610"],
        checks: &[Check::Estate(believes_mounts)],
    },
    Rule {
        id: "AI-082",
        title: "the toolkit runs or loads what comes from the image",
        group: Group::Accelerator,
        severity: Severity::Critical,
        why: "The toolkit acts as root on the node. With libraries or `ldconfig` from the image it runs what whoever built \
              the image put there.",
        fix: "Take `allow-cuda-compat-libs-from-container` and `allow-ldconfig-from-container` out, and start the path of \
              `ldconfig` with `@`, which means the host's.",
        maps: &["AML.T0105", "T1611", "T1574.006", "NIST 800-190 4.5"],
        checks: &[Check::Toolkit(runs_images)],
    },
    Rule {
        id: "AI-083",
        title: "the toolkit's own checks are off, or it logs where everybody reads",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "Without device rules a container reaches every accelerator of the node; without requirements an image runs \
              on a driver it was not made for; debug logs tell what runs, and a log in a folder that anybody writes can be \
              pointed at another file.",
        fix: "Leave `no-cgroups` and `disable-require` at `false`, and `debug` out.",
        maps: &["NIST 800-190 4.5", "T1611", "LLM02"],
        checks: &[Check::Toolkit(unchecked)],
    },
    Rule {
        id: "AI-084",
        title: "the toolkit works in its old way, or stands in front of every pod",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "In mode `legacy` a hook acts as root inside the image's file system, where most of the toolkit's holes were. \
              As the default runtime it does so for pods that need no accelerator at all.",
        fix: "Write `mode = \"cdi\"` (or `auto` with release 1.18 or later), and name a runtime class in the pods that need \
              it.",
        maps: &["NIST 800-190 4.4.3", "NIST 800-190 4.5.1", "T1611"],
        checks: &[
            Check::Toolkit(old_mode),
            Check::Container(default_by_container),
            Check::Estate(default_by_operator),
        ],
    },
    Rule {
        id: "AI-085",
        title: "the toolkit gives memory channels between nodes to whatever asks",
        group: Group::Accelerator,
        severity: Severity::Medium,
        why: "On nodes that share one NVLink, a channel is a way into the accelerator memory of other nodes: a variable in \
              an image is enough to take one. It is the default.",
        fix: "Write `ignore-imex-channel-requests = true` under `[features]`, and give channels out by compute domains.",
        maps: &["NIST 800-190 4.3.4", "T1611"],
        checks: &[Check::Estate(channels)],
    },
];

const VARIABLES: &str = "accept-nvidia-visible-devices-envvar-when-unprivileged";
const MOUNTS: &str = "accept-nvidia-visible-devices-as-volume-mounts";
/// The same two as the operator and its containers take them.
const VARIABLES_SWITCH: &str = "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED";
const MOUNTS_SWITCH: &str = "ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS";
const DEFAULT_SWITCHES: [&str; 2] = ["CONTAINERD_SET_AS_DEFAULT", "NVIDIA_RUNTIME_SET_AS_DEFAULT"];

fn believes_variables(document: &Document, sink: &mut Sink<'_>) {
    match document.root.get(VARIABLES) {
        Some(node) if node.boolean() == Some(false) => {}
        Some(node) => {
            let message = format!(
                "`{VARIABLES} = true`: any image with `NVIDIA_VISIBLE_DEVICES=all` sees every accelerator of the node"
            );
            sink.find(node.place, VARIABLES, message)
                .change(Change::replace(node, "false"));
        }
        None => {
            let message = format!(
                "`{VARIABLES}` is not set, and its default is `true`: any image with `NVIDIA_VISIBLE_DEVICES=all` sees every \
                 accelerator of the node"
            );
            sink.find(top(document), VARIABLES, message);
        }
    }
}

/// Where a finding about a key of the document itself stands: its first key, or line 1.
fn top(document: &Document) -> Place {
    let place = document.root.place;
    Place {
        end: place.start,
        ..place
    }
}

/// Whether a container is the one that lays the toolkit's configuration down.
fn is_toolkit_container(case: &Case<'_>) -> bool {
    case.container.image.as_ref().is_some_and(|image| {
        image.repository.contains("nvidia") && image.repository.ends_with("/container-toolkit")
    })
}

fn believes_by_container(case: &Case<'_>, sink: &mut Sink<'_>) {
    if is_toolkit_container(case)
        && let Some(place) = case.container.switched_on(VARIABLES_SWITCH)
    {
        let message = format!(
            "`{VARIABLES_SWITCH}=true` has every node believe images: one with `NVIDIA_VISIBLE_DEVICES=all` sees every \
             accelerator"
        );
        sink.find(place, VARIABLES, message);
    }
}

/// A variable of the toolkit in the operator's settings.
fn operator_variable<'tree>(policy: &'tree Node, name: &str) -> Option<&'tree Node> {
    let variables = policy.at(&["spec", "toolkit", "env"])?;
    variables
        .items()
        .iter()
        .find(|variable| variable.text_at("name") == Some(name))?
        .get("value")
}

fn believes_by_operator(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for policy in estate.of_kind("ClusterPolicy") {
        if !policy.api_version.starts_with("nvidia.com/") {
            continue;
        }
        let variable = operator_variable(policy.node, VARIABLES_SWITCH);
        let interfaces = policy.node.at(&["spec", "cdi", "enabled"]);
        let place = match (variable, interfaces) {
            (Some(value), _) if value.text().is_some_and(crate::workload::is_on) => value.place,
            // Without interfaces the variable is the only way that devices reach containers.
            (None, Some(enabled)) if enabled.boolean() == Some(false) => enabled.place,
            _ => continue,
        };
        let message = format!(
            "`{VARIABLES_SWITCH}` is not `false`: on every node an image with `NVIDIA_VISIBLE_DEVICES=all` sees every \
             accelerator"
        );
        sink.about_resource(policy).find(place, VARIABLES, message);
    }
}

fn believes_mounts(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if estate.resources.iter().any(|policy| {
        let admission = policy.kind.starts_with("ValidatingAdmission")
            || policy.api_version.starts_with("kyverno.io/")
            || policy.api_version.starts_with("policies.kyverno.io/")
            || policy.api_version.contains("gatekeeper.sh/");
        admission && mentions(policy.node, "nvidia-container-devices")
    }) {
        return;
    }
    let message = "devices are given to whatever pod mounts their names under `/var/run/nvidia-container-devices`, and no \
                   admission policy that was read refuses such mounts";
    for document in estate.documents_of(Kind::Toolkit) {
        if let Some(node) = document.root.get(MOUNTS)
            && node.boolean() == Some(true)
        {
            sink.about(estate.files.name(document.file))
                .find(node.place, MOUNTS, message);
        }
    }
    for policy in estate.of_kind("ClusterPolicy") {
        let value = operator_variable(policy.node, MOUNTS_SWITCH);
        if let Some(value) = value.filter(|value| value.text().is_some_and(crate::workload::is_on))
        {
            sink.about_resource(policy)
                .find(value.place, MOUNTS, message);
        }
    }
}

fn mentions(node: &Node, word: &str) -> bool {
    let mut found = false;
    node.walk(&mut |one| found |= one.text().is_some_and(|text| text.contains(word)));
    found
}

fn runs_images(document: &Document, sink: &mut Sink<'_>) {
    for (name, what) in [
        (
            "allow-cuda-compat-libs-from-container",
            "libraries of the image take the place of the driver's",
        ),
        (
            "allow-ldconfig-from-container",
            "a program of the image is run by the toolkit",
        ),
    ] {
        if let Some(node) = document.root.at(&["features", name])
            && node.boolean() == Some(true)
        {
            sink.find(node.place, name, format!("`{name} = true`: {what}"))
                .change(Change::replace(node, "false"));
        }
    }
    if let Some(node) = document.root.at(&["nvidia-container-cli", "ldconfig"])
        && let Some(path) = node.text()
        && !path.starts_with('@')
        && !path.is_empty()
    {
        let message = format!(
            "`ldconfig = \"{path}\"` is a path in the image: the toolkit runs what the image has there"
        );
        sink.find(node.place, "ldconfig", message)
            .fix(format!("Write `ldconfig = \"@{path}\"`."))
            .change(Change::replace(node, &format!("\"@{path}\"")));
    }
}

fn unchecked(document: &Document, sink: &mut Sink<'_>) {
    let cli = document.root.get("nvidia-container-cli");
    if let Some(node) = cli.and_then(|cli| cli.get("no-cgroups"))
        && node.boolean() == Some(true)
    {
        let message = "`no-cgroups = true`: device rules are not set, and a container that makes its own device files \
                       reaches every accelerator of the node";
        sink.find(node.place, "no-cgroups", message);
    }
    if let Some(node) = document.root.get("disable-require")
        && node.boolean() == Some(true)
    {
        let message = "`disable-require = true`: what images say they need of driver and device is not checked";
        sink.find(node.place, "disable-require", message)
            .change(Change::replace(node, "false"));
    }
    for section in ["nvidia-container-cli", "nvidia-container-runtime"] {
        let Some(node) = document.root.at(&[section, "debug"]) else {
            continue;
        };
        let path = node.text().unwrap_or("");
        let public = ["/tmp/", "/var/tmp/", "/dev/shm/"]
            .iter()
            .any(|folder| path.starts_with(folder));
        let (severity, why) = if public {
            (
                Severity::Medium,
                "anybody on the node reads it, and can put a link to another file in its place",
            )
        } else if path.is_empty() || path == "/dev/null" {
            continue;
        } else {
            (Severity::Low, "it tells which images and devices run here")
        };
        sink.find(node.place, format!("{section} debug"), format!("`debug = \"{path}\"` of `{section}`: {why}"))
            .severity(severity)
            .fix("Take `debug` out, or write it to a folder that only root reads, for as long as it is needed.");
    }
}

fn old_mode(document: &Document, sink: &mut Sink<'_>) {
    if let Some(node) = document.root.at(&["nvidia-container-runtime", "mode"])
        && node.text() == Some("legacy")
    {
        let message = "`mode = \"legacy\"`: a hook prepares every container as root, inside the image's file system";
        sink.find(node.place, "mode", message).fix(
            "Write `mode = \"cdi\"` and generate the interfaces with `nvidia-ctk cdi generate`.",
        );
    }
}

fn default_by_container(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !is_toolkit_container(case) {
        return;
    }
    for name in DEFAULT_SWITCHES {
        if let Some(place) = case.container.switched_on(name) {
            sink.find(place, "default runtime", default_message(name));
        }
    }
}

fn default_by_operator(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for policy in estate.of_kind("ClusterPolicy") {
        for name in DEFAULT_SWITCHES {
            let value = operator_variable(policy.node, name);
            if let Some(value) =
                value.filter(|value| value.text().is_some_and(crate::workload::is_on))
            {
                sink.about_resource(policy).find(
                    value.place,
                    "default runtime",
                    default_message(name),
                );
            }
        }
    }
}

fn default_message(name: &str) -> String {
    format!(
        "`{name}=true` puts the toolkit in front of every pod of the node, those without accelerators among them"
    )
}

fn channels(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let name = "ignore-imex-channel-requests";
    let several = spans_nodes(estate);
    for document in estate.documents_of(Kind::Toolkit) {
        let features = document.root.get("features");
        let node = features.and_then(|features| features.get(name));
        if node.and_then(Node::boolean) == Some(true) {
            continue;
        }
        let place = node
            .or(features)
            .map_or_else(|| top(document), |node| node.place);
        let said = node.map_or("is not set, and its default is `false`", |_| "is `false`");
        let message = format!(
            "`{name}` {said}: a variable in an image takes a channel to other nodes' accelerator memory"
        );
        // Without signs of such a fabric there is nothing to take, as far as the documents say.
        let severity = if several || node.is_some() {
            Severity::Medium
        } else {
            Severity::Low
        };
        let finding = sink
            .about(estate.files.name(document.file))
            .find(place, name, message);
        finding.severity(severity);
        if let Some(node) = node {
            finding.change(Change::replace(node, "true"));
        }
    }
}

/// Whether the documents show nodes that share one NVLink.
fn spans_nodes(estate: &Estate<'_>) -> bool {
    estate.of_kind("ComputeDomain").next().is_some()
        || estate.of_kind("Node").any(|node| {
            let labels = node
                .node
                .at(&["metadata", "labels"])
                .map_or(&[][..], Node::entries);
            labels
                .iter()
                .any(|label| label.key == "nvidia.com/gpu.clique")
        })
}

#[cfg(test)]
mod tests;
