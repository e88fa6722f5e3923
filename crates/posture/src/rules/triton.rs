//! What Triton lets callers change and see: loading of models, shared memory, traces, endpoints of clouds.

use crate::cluster::How;
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::{front, reach, versions};
use crate::workload::{Container, Mount, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-018",
        title: "Triton loads models while it serves",
        group: Group::Server,
        severity: Severity::High,
        why: "A model repository may hold programs: Python back ends and shared libraries. Where Triton looks again and \
              again (`poll`), or loads on request from a folder that can be written, whoever writes there runs code as \
              the server.",
        fix: "Use `--model-control-mode=none`. Where loading is needed: `explicit`, with the repository mounted read-only \
              and its API restricted.",
        maps: &["AML.T0018", "AML.M0019", "AML.T0011.000"],
        checks: &[Check::Container(loads_while_serving)],
    },
    Rule {
        id: "AI-019",
        title: "anybody may tell Triton to load and unload models",
        group: Group::Server,
        severity: Severity::Critical,
        why: "In explicit mode every caller of the inference port may also call `/v2/repository/models/*/load`, with a \
              configuration and files in the request. Loading a model runs its code; unloading one stops the service.",
        fix: "Restrict both protocols: `--http-restricted-api=model-repository,…:KEY=VALUE` and \
              `--grpc-restricted-protocol=model-repository,…:KEY=VALUE`, or use `--model-control-mode=none`.",
        maps: &["K06", "AML.T0018", "AML.T0049"],
        checks: &[Check::Container(unrestricted_loading)],
    },
    Rule {
        id: "AI-024",
        title: "Triton traces requests",
        group: Group::Server,
        severity: Severity::Medium,
        why: "A trace of level TENSORS holds what goes into the model and what comes out, outside every rule that guards \
              the service; one that is written to a shared volume is read by whoever mounts it.",
        fix: "Set `--trace-config=level=OFF`; trace a copy of the service when something has to be found.",
        maps: &["LLM02", "AML.T0057"],
        checks: &[Check::Container(traces)],
    },
    Rule {
        id: "AI-025",
        title: "callers may register shared memory with Triton",
        group: Group::Server,
        severity: Severity::High,
        why: "The shared memory API is made for callers in the same pod. To anybody else it offers the server's memory by \
              name: in 2025 that was the last step of a chain from one request to running code (CVE-2025-23319, 23320, \
              23334).",
        fix: "Set `--allow-client-shm=false` (the default from 26.04 on), or put `shared-memory` on the list of \
              `--http-restricted-api` and `--grpc-restricted-protocol`.",
        maps: &["AML.T0049", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(shared_memory)],
    },
    Rule {
        id: "AI-026",
        title: "slow readers may fill Triton's memory",
        group: Group::Server,
        severity: Severity::Low,
        why: "A language model answers one request with many responses. Triton keeps those that a caller has not read, \
              without bound, so that a few callers who read slowly take all of the server's memory.",
        fix: "Set `--grpc-max-response-pool-size`, such as 128.",
        maps: &["LLM10", "AML.T0029"],
        checks: &[Check::Container(response_pool)],
    },
    Rule {
        id: "AI-027",
        title: "Triton serves although something is wrong",
        group: Group::Server,
        severity: Severity::Low,
        why: "Told not to stop at an error and to call itself ready all the same, Triton answers with the models that \
              happened to load: a model that was tampered with and refused goes unseen.",
        fix: "Leave `--exit-on-error` and `--strict-readiness` at `true`, and write each model's configuration in full.",
        maps: &["NIST 800-190 4.4.3"],
        checks: &[Check::Container(not_strict)],
    },
    Rule {
        id: "AI-028",
        title: "an endpoint for another cloud is open",
        group: Group::Server,
        severity: Severity::Medium,
        why: "The SageMaker and Vertex endpoints are made for those clouds, which guard them. Elsewhere they are a second \
              door on port 8080, beside every restriction of the first: SageMaker's loads models, Vertex's forwards to \
              any other API.",
        fix: "Remove `--allow-sagemaker`, `--allow-vertex-ai` and `AIP_MODE`.",
        maps: &["NIST 800-190 4.4.3", "K06"],
        checks: &[Check::Container(cloud_endpoints)],
    },
];

/// How models come and go, with the place of that word.
fn control_mode<'look>(case: &Case<'look>) -> Option<(&'look str, Place)> {
    if !reach::serves(case, &["triton"]) {
        return None;
    }
    let mut uses = reach::uses(case.container, "--model-control-mode");
    uses.pop()
}

/// Whether an API is behind a header on every protocol that Triton speaks here.
fn restricted(container: &Container<'_>, api: &str) -> bool {
    let names = |flag: &str| {
        reach::uses(container, flag).into_iter().any(|(value, _)| {
            // `model-repository,shared-memory:name=value`
            let apis = value.split(':').next().unwrap_or("");
            apis.split(',').any(|one| one.trim() == api)
        })
    };
    let spoken = |flag: &str| {
        container
            .flag(&[flag])
            .is_none_or(|flag| reach::is_true(flag.value))
    };
    (names("--http-restricted-api") || !spoken("--allow-http"))
        && (names("--grpc-restricted-protocol") || !spoken("--allow-grpc"))
}

/// The model repositories of a container, as paths.
pub(crate) fn repositories<'look>(container: &'look Container<'_>) -> Vec<(&'look str, Place)> {
    ["--model-repository", "--model-store"]
        .iter()
        .flat_map(|flag| reach::uses(container, flag))
        .filter(|(path, _)| path.starts_with('/'))
        .collect()
}

fn writable_repository<'look, 'tree>(
    container: &'look Container<'tree>,
) -> Option<&'look Mount<'tree>> {
    repositories(container)
        .iter()
        .filter_map(|(path, _)| reach::mount_of(container, path))
        .find(|mount| !mount.read_only)
}

fn loads_while_serving(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some((mode, place)) = control_mode(case) else {
        return;
    };
    let container = case.container;
    match mode {
        "poll" => {
            let what = writable_repository(container).map_or_else(
                || "in the repository".to_owned(),
                |mount| format!("in `{}`, which is mounted writable", mount.path),
            );
            let message = format!("`poll` loads, and runs, whatever appears {what}");
            sink.find(place, "--model-control-mode", message);
        }
        // Without a restriction the other rule says it, and worse.
        "explicit" if restricted(container, "model-repository") => {
            if let Some(mount) = writable_repository(container) {
                let message = format!(
                    "models are loaded on request from `{}`, which is mounted writable: what is written there runs at the \
                     next load",
                    mount.path
                );
                sink.find(place, "--model-control-mode", message);
            }
        }
        _ if reach::is_later(mode) => {
            sink.cannot_tell(
                place,
                format!("`{mode}` is filled in later; render it first"),
            );
        }
        _ => {}
    }
}

fn unrestricted_loading(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(("explicit", place)) = control_mode(case) else {
        return;
    };
    let ports = front::triton_serving(case.container);
    if ports.is_empty() || restricted(case.container, "model-repository") {
        return;
    }
    let ways = reach::ways(case, &ports);
    let through = ways
        .iter()
        .find(|way| way.how.is_external())
        .or_else(|| ways.first());
    let who = through.map_or_else(
        || "whoever reaches the pod".to_owned(),
        |way| format!("whoever comes through {}", way.how.as_str()),
    );
    let message = format!(
        "{who} may load and unload models: `model-repository` is not restricted on both protocols"
    );
    let finding = sink.find(place, "model-repository", message);
    if through.is_none() {
        finding.severity(Severity::High);
    }
}

fn traces(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["triton"]) {
        return;
    }
    let container = case.container;
    let mut level: Option<(&str, Place)> = None;
    let mut file: Option<&str> = None;
    for (text, place) in reach::uses(container, "--trace-config") {
        for setting in text.split(',') {
            if let Some(value) = setting.trim().strip_prefix("level=") {
                level = Some((value, place));
            }
            if let Some(value) = setting.trim().strip_prefix("file=") {
                file = Some(value);
            }
        }
    }
    level = level.or_else(|| reach::uses(container, "--trace-level").pop());
    file = file.or_else(|| {
        reach::uses(container, "--trace-file")
            .pop()
            .map(|(path, _)| path)
    });
    let Some((level, place)) = level.filter(|(level, _)| !level.eq_ignore_ascii_case("off")) else {
        return;
    };
    let shared = file
        .and_then(|path| reach::mount_of(container, path))
        .filter(|mount| {
            matches!(
                mount.source,
                Source::Claim(_) | Source::Host(_) | Source::Named(_)
            )
        });
    let tensors = level.eq_ignore_ascii_case("TENSORS");
    let what = if tensors {
        "the inputs and outputs of requests"
    } else {
        "the times and models of requests"
    };
    let message = match (file, shared) {
        (Some(file), Some(mount)) => {
            format!(
                "level {level} writes {what} to `{file}`, which all who mount `{}` can read",
                mount.path
            )
        }
        (Some(file), None) => format!("level {level} writes {what} to `{file}`"),
        (None, _) => format!("level {level} hands on {what}"),
    };
    let finding = sink.find(place, "--trace-config", message);
    if !tensors && shared.is_none() {
        finding.severity(Severity::Low);
    }
}

fn shared_memory(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["triton"]) {
        return;
    }
    let container = case.container;
    if restricted(container, "shared-memory") {
        return;
    }
    let ways = reach::ways(case, &front::triton_serving(container));
    let Some(way) = ways
        .iter()
        .find(|way| way.how.is_external())
        .or_else(|| ways.first())
    else {
        return;
    };
    let flag = container.flag(&["--allow-client-shm"]);
    let place = match &flag {
        Some(flag) if reach::is_true(flag.value) => flag.place,
        Some(_) => return,
        // From 26.04 on it is off unless asked for; of an unknown version the rule about versions says so.
        None => match versions::triton(container) {
            Some(version) if versions::before(&version, &[26, 4]) => reach::identity(container),
            _ => return,
        },
    };
    let outside = way.how.is_external();
    // Asked for, or the default: inside the cluster only the former is worth a word.
    if !outside && flag.is_none() {
        return;
    }
    let host_ipc = case.workload.pod.boolean_at("hostIPC") == Some(true)
        || case.workload.pod.text_at("ipc") == Some("host");
    let whose = if host_ipc { "the host's" } else { "the pod's" };
    let message = format!(
        "callers who come through {} may register regions of {whose} shared memory and read and write them",
        way.how.as_str()
    );
    let finding = sink.find(place, "--allow-client-shm", message);
    if !outside && !host_ipc {
        finding.severity(Severity::Medium);
    }
}

fn response_pool(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !reach::serves(case, &["triton"])
        || container.flag(&["--grpc-max-response-pool-size"]).is_some()
        || container
            .flag(&["--allow-grpc"])
            .is_some_and(|flag| !reach::is_true(flag.value))
    {
        return;
    }
    let Some(image) = container.image.as_ref() else {
        return;
    };
    // Only these images are made for models that answer with many responses.
    let streams = image
        .tag
        .is_some_and(|tag| tag.contains("trtllm") || tag.contains("vllm"));
    let Some(port) = reach::port_of(container, &["--grpc-port"], 8001) else {
        return;
    };
    let ways = reach::ways(case, &[port]);
    let way = ways.iter().find(|way| way.how != How::Loopback);
    if streams && let Some(way) = way {
        let message = format!(
            "responses that callers of {} do not read are kept without bound on port {port}",
            way.how.as_str()
        );
        sink.find(image.place, "--grpc-max-response-pool-size", message);
    }
}

fn not_strict(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["triton"]) {
        return;
    }
    for (name, what) in [
        (
            "--exit-on-error",
            "Triton serves what is left when a model fails to load",
        ),
        (
            "--strict-readiness",
            "Triton calls itself ready although models failed to load",
        ),
        (
            "--strict-model-config",
            "Triton makes up the configuration that a model lacks",
        ),
    ] {
        if let Some((value, place)) = reach::uses(case.container, name).pop()
            && matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
        {
            sink.find(place, name, format!("`{name}={value}`: {what}"));
        }
    }
}

fn cloud_endpoints(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["triton"]) {
        return;
    }
    let container = case.container;
    for (name, what) in [
        (
            "--allow-sagemaker",
            "SageMaker's endpoint answers on port 8080, with routes that load models",
        ),
        (
            "--allow-vertex-ai",
            "Vertex's endpoint answers on port 8080 and forwards to any other API",
        ),
    ] {
        if let Some((_, place)) = reach::switched(container, &[name]) {
            sink.find(place, name, what);
        }
    }
    let vertex_off = container
        .flag(&["--allow-vertex-ai"])
        .is_some_and(|flag| !reach::is_true(flag.value));
    if !vertex_off
        && let Some((mode, place)) = container.literal("AIP_MODE")
        && mode.eq_ignore_ascii_case("PREDICTION")
    {
        let message = "`AIP_MODE=PREDICTION` opens Vertex's endpoint on port 8080, which forwards to any other API";
        sink.find(place, "env AIP_MODE", message);
    }
}
