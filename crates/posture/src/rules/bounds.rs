//! Bounds: memory, processors, scratch space, limits that vendor examples raise, and probes that fit a model.

use crate::node::Node;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::subject::{asks_for_gpu, bytes, is_inference, is_spelled_out, place_of};
use crate::workload::{Origin, Role, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-094",
        title: "shared memory without a bound",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "Files in a memory-backed volume are memory of the node. Without `sizeLimit` a client that makes the \
              server spill into /dev/shm takes half of the node's memory, and the kernel kills a neighbor.",
        fix: "Write `sizeLimit` beside `medium: Memory`, below the memory limit of the container.",
        maps: &["LLM10", "CIS-Docker 5.11", "NIST 800-190 4.4.3", "T1499"],
        checks: &[Check::Container(shared_memory)],
    },
    Rule {
        id: "AI-099",
        title: "container without limits",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "A prompt decides how much memory a server takes. Without a limit one long context pushes every other \
              pod off the node; a GPU that is asked for without a memory limit does not change that.",
        fix: "Write `resources.limits` with `memory`, `cpu` and `ephemeral-storage`.",
        maps: &[
            "LLM10",
            "CIS-Docker 5.11",
            "CIS-Docker 5.12",
            "NIST 800-190 4.4.3",
            "K01",
            "T1499",
            "AML.T0029",
        ],
        checks: &[Check::Container(limits)],
    },
    Rule {
        id: "AI-100",
        title: "limits raised and capabilities added as in the vendor's example",
        group: Group::Hardening,
        severity: Severity::Low,
        why: "`memlock=-1`, a large stack, SYS_PTRACE and SYS_NICE are copied from examples and seldom needed: locked \
              memory cannot be reclaimed, and SYS_PTRACE reads the memory of the other processes of the pod.",
        fix: "Remove it, and measure whether anything changes; what is needed is worth a comment.",
        maps: &[
            "CIS-Docker 5.18",
            "CIS 5.2.8",
            "CIS 5.2.9",
            "NIST 800-190 4.4.3",
            "T1055",
        ],
        checks: &[Check::Container(raised)],
    },
    Rule {
        id: "AI-106",
        title: "probes that do not fit a model server",
        group: Group::Hardening,
        severity: Severity::Low,
        why: "Loading tens of gigabytes takes minutes. A liveness probe without a startup probe kills the server in \
              the middle, again and again; without a readiness probe clients are sent to a server that has no model.",
        fix: "Add a `startupProbe` whose `periodSeconds` x `failureThreshold` covers the load, and a `readinessProbe`.",
        maps: &["NIST 800-190 4.4", "LLM10", "T1499"],
        checks: &[Check::Container(probes)],
    },
];

fn shared_memory(case: &Case<'_>, sink: &mut Sink<'_>) {
    if case.workload.origin != Origin::Kubernetes {
        compose_shared_memory(case, sink);
        return;
    }
    let limit = case
        .container
        .node
        .at(&["resources", "limits", "memory"])
        .and_then(Node::text)
        .and_then(bytes);
    for mount in &case.container.mounts {
        if mount.source != Source::Memory {
            continue;
        }
        let Some(volume) = mount.volume.and_then(|volume| volume.get("emptyDir")) else {
            continue;
        };
        let Some(size) = volume.get("sizeLimit") else {
            let place = volume
                .get("medium")
                .map_or(volume.place, |medium| medium.place);
            let message = format!(
                "the memory volume at `{}` has no `sizeLimit`: it may grow to half of the node's memory",
                mount.path
            );
            sink.find(place, format!("sizeLimit {}", mount.path), message)
                .fix("Write `sizeLimit: 8Gi`, or as much as the server's documentation asks for.");
            continue;
        };
        let Some(text) = sink.known(size) else {
            continue;
        };
        if let (Some(wanted), Some(limit)) = (bytes(text), limit)
            && wanted > limit
        {
            let message = format!(
                "`sizeLimit: {text}` of the memory volume at `{}` is more than the container's memory limit: filling \
                 it kills the server",
                mount.path
            );
            sink.find(size.place, format!("sizeLimit {}", mount.path), message)
                .fix("Lower `sizeLimit`, or raise the memory limit above it.");
        }
    }
}

fn compose_shared_memory(case: &Case<'_>, sink: &mut Sink<'_>) {
    let service = case.container.node;
    let Some(size) = service.get("shm_size") else {
        return;
    };
    let Some(text) = sink.known(size) else { return };
    let limit = compose_memory(service).and_then(Node::text).and_then(bytes);
    if let (Some(wanted), Some(limit)) = (bytes(text), limit)
        && wanted > limit
    {
        let message = format!(
            "`shm_size: {text}` is more than the container's memory limit: filling it kills the server"
        );
        sink.find(size.place, "shm_size", message)
            .fix("Lower `shm_size`, or raise the memory limit above it.");
    }
}

fn compose_memory(service: &Node) -> Option<&Node> {
    service
        .get("mem_limit")
        .or_else(|| service.at(&["deploy", "resources", "limits", "memory"]))
}

fn limits(case: &Case<'_>, sink: &mut Sink<'_>) {
    let node = case.container.node;
    let name = case.container.name;
    let gpu = asks_for_gpu(case.container);
    let limited = |what: &str| match case.workload.origin {
        Origin::Kubernetes => {
            node.at(&["resources", "limits", what]).is_some()
                || case
                    .workload
                    .pod
                    .at(&["resources", "limits", what])
                    .is_some()
                || has_default_limit(case, what)
        }
        Origin::Compose | Origin::DockerRun => match what {
            "memory" => compose_memory(node).is_some(),
            "cpu" => {
                node.get("cpus").or_else(|| node.get("cpu_quota")).is_some()
                    || node
                        .at(&["deploy", "resources", "limits", "cpus"])
                        .is_some()
            }
            // Engines bound the writable layer with some storage drivers only.
            _ => true,
        },
    };
    if !is_spelled_out(case) {
        // The controller has defaults; what is written here and forgets the memory has none.
        if let Some(place) = gpu.filter(|_| !limited("memory")) {
            let message = "a GPU is asked for and memory is not bounded: one long context takes the node's memory";
            sink.find(place, "limits", message)
                .fix("Write `memory` beside `nvidia.com/gpu` in `resources.limits`.");
        }
        return;
    }
    let missing: Vec<&str> = ["memory", "cpu", "ephemeral-storage"]
        .into_iter()
        .filter(|what| !limited(what))
        .collect();
    if missing.is_empty() {
        return;
    }
    let listed = missing.join(", ");
    if missing.contains(&"memory") {
        let message = if gpu.is_some() {
            format!("container `{name}` asks for a GPU and has no memory limit (missing: {listed})")
        } else {
            format!("container `{name}` may take all memory of its node (missing limits: {listed})")
        };
        sink.find(gpu.unwrap_or_else(|| place_of(case)), "limits", message);
    } else {
        let message = format!("container `{name}` has no limit for {listed}");
        sink.find(place_of(case), "limits", message)
            .severity(Severity::Low);
    }
}

/// Whether a `LimitRange` of the namespace gives containers a limit that they do not write themselves.
fn has_default_limit(case: &Case<'_>, what: &str) -> bool {
    let namespace = case.workload.resource.namespace_or_default();
    case.estate.of_kind("LimitRange").any(|range| {
        range.namespace_or_default() == namespace
            && range
                .node
                .at(&["spec", "limits"])
                .map_or(&[][..], Node::items)
                .iter()
                .any(|limit| {
                    limit.text_at("type") == Some("Container")
                        && limit.at(&["default", what]).is_some()
                })
    })
}

fn raised(case: &Case<'_>, sink: &mut Sink<'_>) {
    let node = case.container.node;
    let added = match case.workload.origin {
        Origin::Kubernetes => node.at(&["securityContext", "capabilities", "add"]),
        Origin::Compose | Origin::DockerRun => node.get("cap_add"),
    };
    for capability in added.map_or(&[][..], Node::items) {
        let Some(text) = sink.known(capability) else {
            continue;
        };
        let plain = text.trim_start_matches("CAP_");
        if matches!(plain, "SYS_PTRACE" | "SYS_NICE" | "SYS_RESOURCE") {
            let allows = match plain {
                "SYS_PTRACE" => {
                    "reads and writes the memory of the other processes of the container, keys among it"
                }
                "SYS_NICE" => "takes processor time from its neighbors",
                _ => "lifts its own limits",
            };
            sink.find(
                capability.place,
                plain,
                format!("with `{text}` the server {allows}"),
            );
        }
    }
    if case.workload.origin == Origin::Kubernetes {
        raised_in_script(case, sink);
        return;
    }
    for (limit, highest) in [("memlock", 0_i64), ("stack", 8 << 20)] {
        let Some(value) = node.at(&["ulimits", limit]) else {
            continue;
        };
        let value = value.get("soft").unwrap_or(value);
        let raised = value
            .integer()
            .is_some_and(|number| number < 0 || (limit == "stack" && number > highest));
        if raised {
            let text = value.text().unwrap_or("");
            let message = format!(
                "`{limit}={text}` is copied from the vendor's example and lifts the bound of the engine"
            );
            sink.find(value.place, limit, message);
        }
    }
}

fn raised_in_script(case: &Case<'_>, sink: &mut Sink<'_>) {
    for words in case.container.words.windows(3) {
        let [command, flag, value] = words else {
            continue;
        };
        if command.text == "ulimit"
            && matches!(flag.text.as_ref(), "-l" | "-s")
            && value.text == "unlimited"
        {
            let message = format!(
                "`ulimit {} unlimited` lifts a bound of the container",
                flag.text
            );
            sink.find(value.place, "ulimit", message);
        }
    }
}

/// Kinds whose controllers add the probes.
const PROBED: &[&str] = &[
    "InferenceService",
    "ServingRuntime",
    "ClusterServingRuntime",
    "RayService",
    "RayCluster",
];

/// Seconds that loading a model may take before anybody gives up on it.
const LOAD: i64 = 300;

fn probes(case: &Case<'_>, sink: &mut Sink<'_>) {
    let (container, kind) = (case.container, case.workload.resource.kind);
    let serves = container.server.is_some() || asks_for_gpu(container).is_some();
    if case.workload.origin != Origin::Kubernetes
        || container.role != Role::Main
        || !serves
        || !is_inference(case.workload)
        || !is_spelled_out(case)
        || matches!(kind, "Job" | "CronJob")
    {
        return;
    }
    let node = container.node;
    if node.get("readinessProbe").is_none() && !PROBED.contains(&kind) {
        let message = format!(
            "container `{}` has no `readinessProbe`: requests arrive while the model is still loading",
            container.name
        );
        sink.find(place_of(case), "readinessProbe", message);
    }
    if let Some(startup) = node.get("startupProbe") {
        let given = patience(startup);
        if given < LOAD / 3 {
            let message = format!(
                "the `startupProbe` gives up after {given} seconds, before a model of some size is loaded"
            );
            sink.find(startup.place, "startupProbe", message);
        }
    } else if let Some(liveness) = node.get("livenessProbe") {
        let given = patience(liveness);
        if given < LOAD {
            let message = format!(
                "without a `startupProbe` the `livenessProbe` kills the server {given} seconds after its start, \
                 whether the model is loaded or not"
            );
            sink.find(liveness.place, "livenessProbe", message);
        }
    }
}

/// Seconds until a probe that never succeeds ends the container.
fn patience(probe: &Node) -> i64 {
    let number =
        |key: &str, default: i64| probe.get(key).and_then(Node::integer).unwrap_or(default);
    number("initialDelaySeconds", 0)
        .saturating_add(number("periodSeconds", 10).saturating_mul(number("failureThreshold", 3)))
}
