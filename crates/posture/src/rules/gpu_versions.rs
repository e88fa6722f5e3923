//! Releases of the node's accelerator software that are known to be broken.

use crate::estate::{Estate, Kind};
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Container, Resource};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-078",
        title: "the node's accelerator software is a release with a known way out of containers",
        group: Group::Accelerator,
        severity: Severity::Critical,
        why: "An image that anybody may run makes the toolkit, which acts as root on the node, do its bidding: from any \
              accelerator pod to the node and every model on it.",
        fix: "Upgrade to Container Toolkit 1.19.1 or GPU Operator 26.3.2, device plugin 0.17.3 and MIG manager 0.12.2, or \
              later.",
        maps: &["AML.T0105", "AML.M0016", "NIST 800-190 4.5.3", "T1611"],
        checks: &[
            Check::Container(broken_release),
            Check::Estate(broken_operator),
        ],
    },
    Rule {
        id: "AI-079",
        title: "the toolkit's compatibility hook runs code of images on the node",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "Before 1.17.8 the hook that prepares compatibility libraries is started with the image's environment: \
              `LD_PRELOAD` in an image runs as root on the node (CVE-2025-23266).",
        fix: "Upgrade the toolkit, or set `features.disable-cuda-compat-lib-hook = true` \
              (`NVIDIA_CONTAINER_TOOLKIT_OPT_IN_FEATURES=disable-cuda-compat-lib-hook` for the operator).",
        maps: &["AML.T0105", "T1611", "T1574.006", "NIST 800-190 4.5.3"],
        checks: &[
            Check::Container(hook_by_container),
            Check::Estate(hook_by_operator),
        ],
    },
];

/// A piece of software with the last release that has the hole.
struct Floor {
    /// The last part of its repository.
    image: &'static str,
    /// Where a cluster policy writes its version.
    section: &'static str,
    name: &'static str,
    last_broken: &'static [u64],
    fixed: &'static str,
    advisory: &'static str,
}

const FLOORS: &[Floor] = &[
    Floor {
        image: "container-toolkit",
        section: "toolkit",
        name: "Container Toolkit",
        last_broken: &[1, 19, 0],
        fixed: "1.19.1",
        advisory: "CVE-2026-24260",
    },
    Floor {
        image: "gpu-operator",
        section: "operator",
        name: "GPU Operator",
        last_broken: &[26, 3, 1],
        fixed: "26.3.2",
        advisory: "CVE-2026-24260",
    },
    Floor {
        image: "k8s-device-plugin",
        section: "devicePlugin",
        name: "device plugin",
        last_broken: &[0, 17, 2],
        fixed: "0.17.3",
        advisory: "a hole in how it writes container device interfaces",
    },
    Floor {
        image: "k8s-mig-manager",
        section: "migManager",
        name: "MIG manager",
        last_broken: &[0, 12, 1],
        fixed: "0.12.2",
        advisory: "a hole that NVIDIA's bulletin names",
    },
];

/// Releases of the toolkit and the operator up to these have CVE-2025-23266 besides.
const HOOK_TOOLKIT: &[u64] = &[1, 17, 7];

const HOOK_OPERATOR: &[u64] = &[25, 3, 1];

const HOOK_SWITCH: &str = "NVIDIA_CONTAINER_TOOLKIT_OPT_IN_FEATURES";

fn broken_release(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(image) = &case.container.image else {
        return;
    };
    let name = image.repository.rsplit('/').next().unwrap_or("");
    let nvidia = image.repository.contains("nvidia");
    let Some(floor) = FLOORS.iter().find(|floor| nvidia && floor.image == name) else {
        return;
    };
    // Only with container device interfaces does the plugin write what the runtime acts upon.
    if floor.image == "k8s-device-plugin" && !hands_out_interfaces(case.container) {
        return;
    }
    if image.is_unresolved() {
        sink.cannot_tell(
            image.place,
            format!(
                "which release of {} this is, is filled in later",
                floor.name
            ),
        );
        return;
    }
    report(
        floor,
        &image.version(),
        image.tag.unwrap_or(""),
        image.place,
        sink,
    );
}

fn hands_out_interfaces(container: &Container<'_>) -> bool {
    container
        .literal("DEVICE_LIST_STRATEGY")
        .map(|(text, _)| text)
        .or_else(|| {
            container
                .flag(&["--device-list-strategy"])
                .and_then(|flag| flag.value)
        })
        .is_some_and(|text| text.contains("cdi"))
}

fn broken_operator(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for policy in operators(estate) {
        sink.about_resource(policy);
        for floor in FLOORS {
            let Some(version) = policy.node.at(&["spec", floor.section, "version"]) else {
                continue;
            };
            let interfaces = policy
                .node
                .at(&["spec", "cdi", "enabled"])
                .and_then(Node::boolean);
            if floor.image == "k8s-device-plugin" && interfaces != Some(true) {
                continue;
            }
            if let Some(text) = sink.known(version) {
                report(floor, &numbers(text), text, version.place, sink);
            }
        }
    }
}

/// The operator's own settings: kyverno has a kind of the same name.
fn operators<'look>(estate: &'look Estate<'_>) -> impl Iterator<Item = &'look Resource<'look>> {
    estate
        .of_kind("ClusterPolicy")
        .filter(|policy| policy.api_version.starts_with("nvidia.com/"))
}

fn report(floor: &Floor, version: &[u64], written: &str, place: Place, sink: &mut Sink<'_>) {
    if version.is_empty() || !at_most(version, floor.last_broken) {
        return;
    }
    let hook = match floor.section {
        "toolkit" => at_most(version, HOOK_TOOLKIT),
        "operator" => at_most(version, HOOK_OPERATOR),
        _ => false,
    };
    let also = if hook { " and CVE-2025-23266" } else { "" };
    let message = format!(
        "{} `{written}` has {}{also}: an image that anybody may run becomes root on the node",
        floor.name, floor.advisory
    );
    sink.find(place, floor.name, message).fix(format!(
        "Upgrade to {} {} or later.",
        floor.name, floor.fixed
    ));
}

fn hook_by_container(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let Some(image) = &container.image else {
        return;
    };
    if !image.repository.contains("nvidia") || !image.repository.ends_with("/container-toolkit") {
        return;
    }
    let version = image.version();
    if version.is_empty() || !at_most(&version, HOOK_TOOLKIT) {
        return;
    }
    let switched = container.variable(HOOK_SWITCH).is_some_and(|_| {
        container
            .literal(HOOK_SWITCH)
            .is_none_or(|(text, _)| text.contains("disable-cuda-compat-lib-hook"))
    }) || container
        .flag(&["--opt-in-features", "--opt-in-feature"])
        .and_then(|flag| flag.value)
        .is_some_and(|text| text.contains("disable-cuda-compat-lib-hook"));
    if switched || configured(case.estate) {
        return;
    }
    let message = format!(
        "toolkit `{}` runs its compatibility hook with the image's environment: `LD_PRELOAD` in an image runs as root on \
         the node",
        image.tag.unwrap_or("")
    );
    sink.find(image.place, "compatibility hook", message);
}

fn hook_by_operator(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for policy in operators(estate) {
        let Some(toolkit) = policy.node.at(&["spec", "toolkit"]) else {
            continue;
        };
        let Some(version) = toolkit.get("version") else {
            continue;
        };
        let found = numbers(version.text().unwrap_or(""));
        let switched = toolkit.list("env").iter().any(|variable| {
            variable.text_at("name") == Some(HOOK_SWITCH)
                && variable
                    .text_at("value")
                    .is_none_or(|text| text.contains("disable-cuda-compat-lib-hook"))
        });
        if found.is_empty() || !at_most(&found, HOOK_TOOLKIT) || switched || configured(estate) {
            continue;
        }
        let message = format!(
            "toolkit `{}` runs its compatibility hook with the image's environment: `LD_PRELOAD` in an image runs as root \
             on the node",
            version.text().unwrap_or("")
        );
        sink.about_resource(policy)
            .find(version.place, "compatibility hook", message);
    }
    // A configuration does not say which release reads it.
    let known = estate
        .workloads
        .iter()
        .flat_map(|one| &one.containers)
        .any(|container| {
            let image = container.image.as_ref();
            image.is_some_and(|image| image.repository.ends_with("/container-toolkit"))
        });
    if known || operators(estate).next().is_some() {
        return;
    }
    for document in estate.documents_of(Kind::Toolkit) {
        let mode = document.root.at(&["nvidia-container-runtime", "mode"]);
        if mode.and_then(Node::text) == Some("legacy") && !switched_off(&document.root) {
            sink.about(estate.files.name(document.file)).cannot_tell(
                mode.map_or(document.root.place, |mode| mode.place),
                "mode `legacy` without `features.disable-cuda-compat-lib-hook` is a hole before release 1.17.8, and which \
                 release reads this is not known",
            );
        }
    }
}

/// Whether a toolkit configuration that was read switches the hook off.
fn configured(estate: &Estate<'_>) -> bool {
    estate
        .documents_of(Kind::Toolkit)
        .any(|document| switched_off(&document.root))
}

fn switched_off(root: &Node) -> bool {
    root.at(&["features", "disable-cuda-compat-lib-hook"])
        .and_then(Node::boolean)
        == Some(true)
}

/// The numbers that a version starts with.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    let text = text.trim().trim_start_matches('v');
    let end = text
        .find(|one: char| !one.is_ascii_digit() && one != '.')
        .unwrap_or(text.len());
    text.get(..end)
        .unwrap_or("")
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

/// Whether `version` is `last` or older; parts that are not written count as 0.
fn at_most(version: &[u64], last: &[u64]) -> bool {
    let length = version.len().max(last.len());
    let part = |numbers: &[u64], at: usize| numbers.get(at).copied().unwrap_or(0);
    (0..length)
        .map(|at| part(version, at).cmp(&part(last, at)))
        .find(|order| order.is_ne())
        .is_none_or(std::cmp::Ordering::is_lt)
}

#[cfg(test)]
mod tests;
