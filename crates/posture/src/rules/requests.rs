//! What a request or a model makes a server do: run code, fetch addresses, read files, write down prompts.

use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::{reach, versions};
use crate::workload::{Container, Role, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-004",
        title: "code that comes with the model is run",
        group: Group::Server,
        severity: Severity::High,
        why: "With remote code trusted, the server imports Python files from the model's repository. Whoever can push to \
              that repository, or stand in for the hub, runs code as the server at its next start, beside the weights, \
              the prompts and the keys.",
        fix: "Use an architecture that the server knows, or copy the code into the image, review and sign it, and pin \
              `--revision` and `--code-revision` to full commits.",
        maps: &["LLM03", "AML.T0011.000", "AML.M0011", "SLSA"],
        checks: &[Check::Container(remote_code)],
    },
    Rule {
        id: "AI-007",
        title: "a multimodal server fetches any address that a request names",
        group: Group::Server,
        severity: Severity::Medium,
        why: "A request may carry the address of an image or a video, and the server fetches it: from the cloud's metadata \
              service, from a database's port, from another tenant's service, with the pod's own place in the network.",
        fix: "Set `--allowed-media-domains` to the hosts that callers need and `VLLM_MEDIA_URL_ALLOW_REDIRECTS=0`.",
        maps: &["AML.T0049", "LLM06", "NIST 800-190 4.4.2"],
        checks: &[Check::Container(media_domains)],
    },
    Rule {
        id: "AI-008",
        title: "requests may read files of the server",
        group: Group::Server,
        severity: Severity::High,
        why: "A request with a `file://` address reads any file below the allowed folder as the server. A broad folder \
              has tokens, keys or the model itself in it, and an error text is enough to learn what is there.",
        fix: "Remove `--allowed-local-media-path`, or name a read-only folder that holds media and nothing else.",
        maps: &["LLM02", "AML.T0055", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(local_media)],
    },
    Rule {
        id: "AI-017",
        title: "prompts are written to the log",
        group: Group::Server,
        severity: Severity::Medium,
        why: "What people ask ends up in a log that more people and machines can read than may talk to the model, and \
              stays there long after the answer is forgotten.",
        fix: "Log at `INFO`, and leave request logging off.",
        maps: &["LLM02", "AML.M0024", "AML.T0057"],
        checks: &[Check::Container(prompts_in_logs)],
    },
];

fn remote_code(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if container.role != Role::Main {
        return;
    }
    if reach::serves(case, &["vllm", "sglang", "tgi", "kserve", "nim", "triton"])
        && let Some((_, place)) = reach::switched(container, &["--trust-remote-code"])
    {
        trusted(case, sink, place, "--trust-remote-code");
        return;
    }
    for name in [
        "TRUST_REMOTE_CODE",
        "HF_TRUST_REMOTE_CODE",
        "NIM_FORCE_TRUST_REMOTE_CODE",
        "NIM_TRUST_CUSTOM_CODE",
    ] {
        if container.server.is_some()
            && let Some(place) = container.switched_on(name)
        {
            trusted(case, sink, place, name);
            return;
        }
    }
    for name in ["NIM_PASSTHROUGH_ARGS", "VLLM_ARGS", "SGLANG_ARGS"] {
        if container.server.is_some()
            && let Some((text, place)) = container.literal(name)
            && text
                .split_whitespace()
                .any(|word| word.replace('_', "-") == "--trust-remote-code")
        {
            trusted(case, sink, place, name);
            return;
        }
    }
}

fn trusted(case: &Case<'_>, sink: &mut Sink<'_>, place: Place, name: &str) {
    let container = case.container;
    let model = model_of(container);
    let revision = container
        .flag(&["--code-revision"])
        .or_else(|| container.flag(&["--revision"]))
        .and_then(|flag| flag.value)
        .or_else(|| container.literal("REVISION").map(|(text, _)| text));
    let pinned = revision.filter(|text| is_commit(text));
    let (severity, message) = match (model.map(|(model, _)| model), pinned) {
        (_, Some(revision)) => (
            Severity::Low,
            format!(
                "`{name}` runs the model's code; it is pinned to commit `{revision}`, so it is as good as its last review"
            ),
        ),
        (Some(model), None) if model.starts_with('/') => (
            Severity::Medium,
            format!(
                "`{name}` runs the Python files in `{model}`: whoever can write that folder runs code as the server"
            ),
        ),
        (Some(model), None) => (
            Severity::High,
            format!(
                "`{name}` runs the Python files of `{model}` as they are on the day of the start: no commit is pinned"
            ),
        ),
        (None, None) => (
            Severity::High,
            format!(
                "`{name}` runs whatever Python the model's repository holds, and no commit is pinned"
            ),
        ),
    };
    sink.find(place, name, message).severity(severity);
}

/// Whether a revision is a full commit, which cannot be moved.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The model a command line names: by a flag, or as what `vllm serve` is given.
fn model_of<'look>(container: &'look Container<'_>) -> Option<(&'look str, Place)> {
    let flag = container
        .flag(&["--model", "--model-path", "--model-id"])
        .and_then(|flag| Some((flag.value?, flag.place)));
    let served = || {
        let at = container
            .words
            .iter()
            .position(|word| word.text == "serve")?;
        let word = container
            .words
            .get(at + 1)
            .filter(|word| !word.text.starts_with('-'))?;
        Some((word.text.as_ref(), word.place))
    };
    let named = || {
        ["MODEL_ID", "NIM_MODEL_PATH"]
            .iter()
            .find_map(|name| container.literal(name))
    };
    flag.or_else(served).or_else(named)
}

/// Parts of the names of models that take images, video or sound.
const MULTIMODAL: &[&str] = &[
    "-vl-",
    "-vl",
    "vl2",
    "-vision",
    "llava",
    "pixtral",
    "internvl",
    "-omni",
    "minicpm-v",
    "minicpm-o",
    "idefics",
    "paligemma",
    "molmo",
    "phi-3.5-v",
    "phi-4-multimodal",
    "ultravox",
    "gemma-3n",
    "glm-4v",
    "glm-4.5v",
    "kimi-vl",
    "smolvlm",
    "llama-4-",
    "mllama",
    "aria",
    "cosmos-reason",
];

fn media_domains(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["vllm"]) {
        return;
    }
    let container = case.container;
    let limit = container.flag(&["--limit-mm-per-prompt"]);
    let nothing = |text: &str| !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if limit
        .as_ref()
        .and_then(|flag| flag.value)
        .is_some_and(nothing)
        || reach::switched(container, &["--language-model-only"]).is_some()
    {
        return;
    }
    let by_name = || {
        model_of(container).filter(|(model, _)| {
            let model = model.to_ascii_lowercase();
            let name = model.rsplit('/').next().unwrap_or(&model).to_owned();
            MULTIMODAL.iter().any(|part| match part.strip_suffix('-') {
                Some(_) => name.contains(part),
                None if *part == "-vl" => name.ends_with(part),
                None if *part == "aria" => name == *part,
                None => name.contains(part),
            })
        })
    };
    let evidence = limit
        .map(|flag| flag.place)
        .or_else(|| {
            container
                .flag(&["--media-io-kwargs"])
                .map(|flag| flag.place)
        })
        .or_else(|| by_name().map(|(_, place)| place));
    let Some(evidence) = evidence else { return };
    let redirects = container.literal("VLLM_MEDIA_URL_ALLOW_REDIRECTS");
    match container.flag(&["--allowed-media-domains"]) {
        None => {
            let narrowed = reach::has_egress_policy(case);
            let message = if narrowed {
                "requests may name any address to fetch media from; only the pod's egress policy bounds it"
            } else {
                "requests may name any address to fetch media from, `http://169.254.169.254/` among them, and no policy stops the pod"
            };
            let finding = sink.find(evidence, "--allowed-media-domains", message);
            if narrowed {
                finding.severity(Severity::Low);
            }
        }
        Some(domains) => {
            let any = domains
                .value
                .is_some_and(|value| value.contains('*') && value.len() < 4);
            if any {
                let message = "`--allowed-media-domains` allows every host, which is no list";
                sink.find(domains.place, "--allowed-media-domains", message);
            } else if let Some((value, place)) = redirects {
                if crate::workload::is_on(value) {
                    let message =
                        "an allowed host that redirects leads the server to any other address";
                    let finding = sink
                        .find(place, "env VLLM_MEDIA_URL_ALLOW_REDIRECTS", message)
                        .fix("Set `VLLM_MEDIA_URL_ALLOW_REDIRECTS` to `0`.");
                    if let Some(change) = reach::set_variable(case, place, "0") {
                        finding.change(change);
                    }
                }
            } else if container
                .variable("VLLM_MEDIA_URL_ALLOW_REDIRECTS")
                .is_none()
                && reach::unseen_environment(container).is_none()
            {
                let message = "redirects are followed unless `VLLM_MEDIA_URL_ALLOW_REDIRECTS` is `0`: an allowed host can lead the server to any other";
                let finding = sink
                    .find(domains.place, "env VLLM_MEDIA_URL_ALLOW_REDIRECTS", message)
                    .severity(Severity::Low)
                    .fix("Set `VLLM_MEDIA_URL_ALLOW_REDIRECTS` to `0`.");
                if let Some(change) =
                    reach::add_variable(case, "VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")
                {
                    finding.change(change);
                }
            }
        }
    }
}

/// Folders of a system that hold more than media whatever is mounted.
const SYSTEM: &[&str] = &[
    "/etc",
    "/root",
    "/home",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/usr",
    "/opt",
    "/tmp",
    "/mnt",
    "/app",
    "/workspace",
    "/var",
    "/var/run",
    "/var/lib",
    "/var/tmp",
    "/var/log",
];

fn local_media(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !reach::serves(case, &["vllm"]) {
        return;
    }
    let Some(flag) = container.flag(&["--allowed-local-media-path"]) else {
        return;
    };
    let Some(value) = flag.value.filter(|value| !value.is_empty()) else {
        return;
    };
    if reach::is_later(value) {
        sink.cannot_tell(
            flag.place,
            format!("`{value}` is filled in later; render it first"),
        );
        return;
    }
    let path = value.trim_end_matches('/');
    let inside = container.mounts.iter().find(|mount| {
        reach::is_within(&mount.path, path) && matches!(mount.source, Source::Secret(_))
    });
    let model = model_of(container)
        .map(|(model, _)| model)
        .filter(|model| model.starts_with('/') && reach::is_within(model, path));
    let what = if path.is_empty() {
        Some("every file of the container".to_owned())
    } else if let Some(mount) = inside {
        Some(format!("the secret that is mounted at `{}`", mount.path))
    } else if let Some(model) = model {
        Some(format!("the weights in `{model}`"))
    } else if SYSTEM.contains(&path)
        || ["/etc/", "/root/", "/proc/", "/run/", "/var/run/"]
            .iter()
            .any(|start| path.starts_with(start))
    {
        Some(format!("what the system keeps in `{path}`"))
    } else {
        None
    };
    if let Some(what) = what {
        let message = format!("a request with a `file://` address below `{value}` reads {what}");
        sink.find(flag.place, "--allowed-local-media-path", message);
    }
}

fn prompts_in_logs(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    for (name, profiles, levels) in [
        ("VLLM_LOGGING_LEVEL", &["vllm", "nim"][..], &["DEBUG"][..]),
        ("NIM_LOG_LEVEL", &["nim"], &["DEBUG", "TRACE"]),
    ] {
        if reach::serves(case, profiles)
            && let Some((level, place)) = container.literal(name)
            && levels
                .iter()
                .any(|one| one.eq_ignore_ascii_case(level.trim()))
        {
            let message = format!("at `{name}={level}` prompts and answers are written to the log");
            let finding = sink.find(place, format!("env {name}"), message);
            if let Some(change) = reach::set_variable(case, place, "INFO") {
                finding.change(change);
            }
        }
    }
    if reach::serves(case, &["vllm"]) {
        if let Some(place) = container.switched_on("VLLM_DEBUG_LOG_API_SERVER_RESPONSE") {
            sink.find(
                place,
                "env VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
                "every answer is written to the log",
            );
        }
        for name in ["--enable-log-requests", "--enable-log-outputs"] {
            if let Some((_, place)) = reach::switched(container, &[name]) {
                let what = if name.ends_with("outputs") {
                    "answers"
                } else {
                    "requests"
                };
                sink.find(place, name, format!("`{name}` writes {what} to the log"));
            }
        }
        logged_by_default(case, sink);
    }
    if reach::serves(case, &["sglang"])
        && let Some((_, place)) = reach::switched(container, &["--log-requests"])
        && container
            .flag(&["--log-requests-level"])
            .and_then(|flag| flag.value)
            .is_none_or(|level| !matches!(level, "0" | "1"))
    {
        sink.find(place, "--log-requests", "`--log-requests` writes inputs and outputs to the log from level 2 on, which is its default");
    }
}

/// Until 0.10.1 vLLM logged every prompt unless it was told not to.
fn logged_by_default(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let Some(version) = versions::vllm(container) else {
        return;
    };
    if versions::before(&version, &[0, 10, 1])
        && container.flag(&["--disable-log-requests"]).is_none()
    {
        let message = "this version writes every prompt to the log unless it is told not to";
        sink.find(
            reach::identity(container),
            "--disable-log-requests",
            message,
        )
        .fix("Add `--disable-log-requests`, or upgrade: from 0.10.1 on request logging is off.");
    }
}
