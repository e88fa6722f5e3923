//! Releases of the node's accelerator software that are known to be broken, and drivers older than images.

use crate::estate::{Estate, Kind};
use crate::kubernetes::pairs;
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Container, Image, Origin, Resource};

use super::evidence;

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
    Rule {
        id: "AI-090",
        title: "the image needs a newer driver than its nodes have",
        group: Group::Accelerator,
        severity: Severity::High,
        why: "The container does not start there, or somebody switches the check off and carries libraries of the image \
              over the driver's: and the node keeps a driver that bulletins have left behind.",
        fix: "Upgrade the driver of the nodes, or use an image of a CUDA that their driver supports.",
        maps: &["AML.M0016", "NIST 800-190 4.1.1", "NIST 800-190 4.5.3"],
        checks: &[
            Check::Container(newer_than_driver),
            Check::Estate(image_newer_than_driver),
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

/// What a driver supports, and of which node that is.
struct Driver<'look> {
    node: &'look str,
    /// The newest CUDA it was made for.
    cuda: Vec<u64>,
    /// Its own release; empty when no label says it.
    release: Vec<u64>,
}

fn drivers<'look>(estate: &'look Estate<'_>, selector: &[(&str, &str)]) -> Vec<Driver<'look>> {
    let mut found = Vec::new();
    for node in estate.of_kind("Node") {
        let labels = pairs(node.node.at(&["metadata", "labels"]));
        if !selector.iter().all(|wanted| labels.contains(wanted)) {
            continue;
        }
        let label = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| labels.iter().find(|label| label.0 == *name))
                .map(|label| label.1)
        };
        let number = |names: &[&str]| label(names).and_then(|text| text.parse::<u64>().ok());
        let major = number(&[
            "nvidia.com/cuda.runtime-version.major",
            "nvidia.com/cuda.runtime.major",
        ]);
        let minor = number(&[
            "nvidia.com/cuda.runtime-version.minor",
            "nvidia.com/cuda.runtime.minor",
        ]);
        let release = label(&["nvidia.com/cuda.driver-version.full"])
            .map(numbers)
            .unwrap_or_default();
        let release = if release.is_empty() {
            number(&[
                "nvidia.com/cuda.driver-version.major",
                "nvidia.com/cuda.driver.major",
            ])
            .into_iter()
            .collect()
        } else {
            release
        };
        let cuda: Vec<u64> = major.into_iter().chain(minor).collect();
        if !cuda.is_empty() || !release.is_empty() {
            found.push(Driver {
                node: node.name,
                cuda,
                release,
            });
        }
    }
    found
}

/// The release a driver must have for a major release of CUDA; within one, older drivers run newer images.
fn driver_for(cuda: &[u64]) -> Option<u64> {
    match cuda.first()? {
        11 => Some(450),
        12 => Some(525),
        13 => Some(580),
        _ => None,
    }
}

/// Why a driver does not run what was built for `cuda`.
fn lacks(driver: &Driver<'_>, cuda: &[u64]) -> Option<String> {
    if let (Some(needed), Some(own)) = (driver_for(cuda), driver.release.first()) {
        return (*own < needed).then(|| {
            format!(
                "needs driver {needed} or later, and node `{}` has {}",
                driver.node,
                dotted(&driver.release)
            )
        });
    }
    let (wanted, own) = (cuda.first()?, driver.cuda.first()?);
    (own < wanted).then(|| {
        format!(
            "needs a newer driver: that of node `{}` goes up to CUDA {}",
            driver.node,
            dotted(&driver.cuda)
        )
    })
}

fn newer_than_driver(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if case.workload.origin != Origin::Kubernetes
        || evidence::is_accelerator_software(container)
        || !evidence::asks_for_accelerator(container, case.workload.origin)
    {
        return;
    }
    let selector = pairs(case.workload.pod.get("nodeSelector"));
    let drivers = drivers(case.estate, &selector);
    if drivers.is_empty() {
        return;
    }
    let by_variable = || {
        let required = container.literal("NVIDIA_REQUIRE_CUDA");
        let named = required.and_then(|(text, place)| Some((required_cuda(text)?, place)));
        named.or_else(|| {
            let (text, place) = container.literal("CUDA_VERSION")?;
            Some((numbers(text), place))
        })
    };
    let by_image = || {
        let image = container.image.as_ref()?;
        Some((image_cuda(image)?, image.place))
    };
    let Some((cuda, place)) = by_variable().or_else(by_image) else {
        return;
    };
    let lacking: Vec<String> = drivers
        .iter()
        .filter_map(|driver| lacks(driver, &cuda))
        .collect();
    if let Some(first) = lacking.first() {
        let count = if lacking.len() == drivers.len() {
            String::new()
        } else {
            format!(
                " ({} of {} nodes that it may go to)",
                lacking.len(),
                drivers.len()
            )
        };
        let message = format!("CUDA {} {first}{count}", dotted(&cuda));
        sink.find(place, "CUDA", message);
    }
}

fn image_newer_than_driver(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let drivers = drivers(estate, &[]);
    if drivers.is_empty() {
        return;
    }
    for document in estate.documents_of(Kind::ImageConfiguration) {
        let variables = document
            .root
            .at(&["config", "Env"])
            .map_or(&[][..], Node::items);
        let value_of = |name: &str| {
            variables.iter().find_map(|variable| {
                let (key, value) = variable.text()?.split_once('=')?;
                (key == name).then_some((value, variable.place))
            })
        };
        let required = value_of("NVIDIA_REQUIRE_CUDA")
            .and_then(|(text, place)| Some((required_cuda(text)?, place)));
        let built = || value_of("CUDA_VERSION").map(|(text, place)| (numbers(text), place));
        let Some((cuda, place)) = required.or_else(built) else {
            continue;
        };
        // Which node runs it is not known here: only an image that no node runs is wrong.
        let lacking: Vec<String> = drivers
            .iter()
            .filter_map(|driver| lacks(driver, &cuda))
            .collect();
        if lacking.len() == drivers.len()
            && let Some(first) = lacking.first()
        {
            let message = format!("CUDA {} {first}", dotted(&cuda));
            sink.about(estate.files.name(document.file))
                .find(place, "CUDA", message);
        }
    }
}

/// The lowest CUDA that `NVIDIA_REQUIRE_CUDA` accepts by itself: its parts are alternatives.
fn required_cuda(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace()
        .flat_map(|part| part.split(','))
        .find_map(|condition| condition.strip_prefix("cuda>="))
        .map(numbers)
        .filter(|found| !found.is_empty())
}

/// The CUDA that an image's tag names: `nvidia/cuda:13.0.1-runtime`, or `…-cu128` and `…-cuda12.8` of others.
fn image_cuda(image: &Image<'_>) -> Option<Vec<u64>> {
    let tag = image.tag?;
    if image.repository == "nvidia/cuda" || image.repository.ends_with("/nvidia/cuda") {
        return Some(image.version()).filter(|found| !found.is_empty());
    }
    tag.split(['-', '_', '+']).find_map(|part| {
        let rest = part
            .strip_prefix("cuda")
            .or_else(|| part.strip_prefix("cu"))?;
        let rest = rest.trim_end_matches(|one: char| !one.is_ascii_digit());
        if rest.contains('.') {
            return Some(numbers(rest)).filter(|found| !found.is_empty());
        }
        // `cu128`: the last digit is the minor release.
        let (major, minor) = match rest.len() {
            2 => (rest, "0"),
            3 => rest.split_at_checked(2)?,
            _ => return None,
        };
        Some(vec![major.parse().ok()?, minor.parse().ok()?])
    })
}

fn dotted(version: &[u64]) -> String {
    let parts: Vec<String> = version.iter().map(u64::to_string).collect();
    parts.join(".")
}

/// The numbers that a version starts with.
fn numbers(text: &str) -> Vec<u64> {
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
