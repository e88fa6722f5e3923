//! Where a server's model comes from while it serves, and what of its requests stays on disk.

use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Container, Source};

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-038",
        title: "a server with its model in place may still download one",
        group: Group::Server,
        severity: Severity::Medium,
        why: "When a file of the cache is missing or another profile is chosen, the server fetches it from the \
              network instead of stopping: what then serves is not what was checked.",
        fix: "Write `NIM_DISABLE_MODEL_DOWNLOAD: \"1\"` (NIM) or `HF_HUB_OFFLINE: \"1\"` (others), and no key.",
        maps: &["AML.T0010", "AML.M0013", "LLM03", "SLSA"],
        checks: &[Check::Container(downloads)],
    },
    Rule {
        id: "AI-040",
        title: "the model is named by a reference that can change",
        group: Group::Server,
        severity: Severity::High,
        why: "A name at a model hub is whatever its owner last pushed: a taken-over account replaces the model, its \
              tokenizer and its code at the next start, and nothing here would notice.",
        fix: "Name the commit (`hf://owner/model@<40 hexadecimal digits>`, `--revision <commit>`), or serve a local \
              copy whose signature is verified.",
        maps: &["AML.T0010", "AML.T0109", "LLM03", "SLSA"],
        checks: &[Check::Container(mutable_model)],
    },
    Rule {
        id: "AI-041",
        title: "requests or their caches are recorded on disk",
        group: Group::Server,
        severity: Severity::High,
        why: "Prompts and answers in files outlive the request and its permissions: whoever reads the volume or its \
              backups reads what every caller asked.",
        fix: "Switch it off, or write to a memory volume of the pod that nothing else mounts.",
        maps: &["LLM02", "AML.T0025", "AML.M0024"],
        checks: &[Check::Container(recorded)],
    },
];

fn downloads(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let nim = container.runs("nim") && case.workload.resource.kind != "NIMCache";
    let hub = ["vllm", "sglang", "tgi"]
        .iter()
        .any(|id| container.runs(id));
    if !nim && !hub {
        return;
    }
    let own_cache = container.literal("NIM_CACHE_PATH").map(|(path, _)| path);
    let seeded = container.mounts.iter().find(|mount| {
        let path = mount.path.as_ref();
        let for_models = CACHES.iter().any(|part| path.contains(part)) || Some(path) == own_cache;
        mount.read_only && for_models
    });
    let operated = nim
        && case.workload.resource.kind == "NIMService"
        && case
            .workload
            .resource
            .node
            .at(&["spec", "storage", "nimCache"])
            .is_some();
    let (switches, severity): (&[&str], Severity) = if nim {
        (&["NIM_DISABLE_MODEL_DOWNLOAD"], Severity::Medium)
    } else {
        (&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"], Severity::Low)
    };
    let model = seeded.map(|mount| mount.path.as_ref());
    let Some(path) = model.or(operated.then_some("spec.storage.nimCache")) else {
        return;
    };
    if switches
        .iter()
        .any(|name| container.switched_on(name).is_some())
    {
        return;
    }
    let unknown = switches
        .iter()
        .filter_map(|name| container.variable(name))
        .find(|variable| container.literal(&variable.name).is_none());
    if let Some(variable) = unknown {
        let message = format!(
            "`{}` is filled in later: whether downloads are off is not known",
            variable.name
        );
        sink.cannot_tell(variable.place, message);
        return;
    }
    let name = switches.first().copied().unwrap_or("");
    if container.variable(name).is_none() && !evidence::surely_absent(container, name, sink) {
        return;
    }
    let explicit = container.literal(name).map(|(_, place)| place);
    let message = format!(
        "the model is in place (`{path}`), and without `{name}=1` the server fetches what it misses from the network \
         instead of stopping"
    );
    sink.find(
        explicit.unwrap_or_else(|| evidence::place_of(container)),
        name,
        message,
    )
    .severity(severity)
    .fix(format!(
        "Add `{name}` with the value `\"1\"` to the environment."
    ));
}

fn mutable_model(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let nim = container.runs("nim");
    let served = nim
        || ["vllm", "sglang", "tgi"]
            .iter()
            .any(|id| container.runs(id));
    if !served {
        return;
    }
    if let Some((text, place)) = container.literal("NIM_MODEL_PATH")
        && let Some(reference) = text
            .strip_prefix("hf://")
            .or_else(|| text.strip_prefix("modelscope://"))
    {
        if !ends_in_commit(reference) {
            let message = format!("`NIM_MODEL_PATH={text}` is whatever its owner last pushed");
            sink.find(place, "NIM_MODEL_PATH", message)
                .fix(format!("Write `{text}@<commit>` with the 40 hexadecimal digits of the commit that was checked."));
        }
        return;
    }
    if nim {
        return;
    }
    let flags: &[&str] = if container.runs("tgi") {
        &["--model-id"]
    } else {
        &["--model", "--model-path"]
    };
    let by_flag = container
        .flag(flags)
        .and_then(|flag| Some((flag.value?.to_owned(), flag.place)));
    let by_variable = || {
        let name = container.runs("tgi").then_some("MODEL_ID")?;
        container
            .literal(name)
            .map(|(text, place)| (text.to_owned(), place))
    };
    let Some((model, place)) = by_flag
        .or_else(|| positional(container))
        .or_else(by_variable)
    else {
        return;
    };
    if !is_hub_name(&model) {
        return;
    }
    let revision = container
        .flag(&["--revision"])
        .and_then(|flag| flag.value.map(str::to_owned))
        .or_else(|| {
            container
                .literal("REVISION")
                .map(|(text, _)| text.to_owned())
        });
    if let Some(revision) = &revision
        && (is_commit(revision) || crate::node::is_unresolved(revision) || revision.contains("$("))
    {
        return;
    }
    let found = revision.map_or_else(
        || "no revision is named".to_owned(),
        |revision| format!("`{revision}` is a branch or tag, which moves"),
    );
    let message = format!(
        "`{model}` is fetched from the model hub and {found}: it is whatever its owner last pushed"
    );
    sink.find(place, "model", message).fix(
        "Add `--revision <commit>` with the 40 hexadecimal digits of the commit that was checked.",
    );
}

/// The model of `vllm serve MODEL`.
fn positional(container: &Container<'_>) -> Option<(String, Place)> {
    let words = &container.words;
    let at = words.iter().position(|word| word.text == "serve")?;
    let word = words.get(at + 1)?;
    (!word.text.starts_with('-')).then(|| (word.text.clone().into_owned(), word.place))
}

/// Whether a name is one of a hub, `owner/model`, and no path.
fn is_hub_name(model: &str) -> bool {
    let mut parts = model.split('/');
    let named = |part: Option<&str>| {
        part.is_some_and(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .chars()
                    .all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one))
        })
    };
    named(parts.next()) && named(parts.next()) && parts.next().is_none()
}

fn ends_in_commit(reference: &str) -> bool {
    reference
        .rsplit(['@', ':', '=', '/'])
        .next()
        .is_some_and(|last| is_commit(last) && last.len() < reference.len())
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|one| one.is_ascii_hexdigit())
}

/// What writes requests, or what was worked out from them, to files: flag or variable, and what is written.
const RECORDERS: &[(&str, &str, &str)] = &[
    (
        "sglang",
        "--crash-dump-folder",
        "the requests before a crash, with their prompts",
    ),
    (
        "sglang",
        "--log-requests-target",
        "requests, with their prompts",
    ),
    ("llama.cpp", "--log-prompts-dir", "every prompt"),
    (
        "llama.cpp",
        "--log-file",
        "a log that has prompts in it when it is verbose",
    ),
    (
        "llama.cpp",
        "--prompt-cache",
        "the state of a prompt, from which it can be read",
    ),
    (
        "vllm",
        "LMCACHE_LOCAL_DISK",
        "the caches of everybody's prompts",
    ),
    ("vllm", "VLLM_DEBUG_DUMP_PATH", "what the server works on"),
    (
        "ollama",
        "OLLAMA_DEBUG_LOG_REQUESTS",
        "every request, with its prompt",
    ),
];

fn recorded(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    for (server, name, what) in RECORDERS {
        if !container.runs(server) {
            continue;
        }
        let found = if name.starts_with('-') {
            container
                .flag(&[name])
                .map(|flag| (flag.value.unwrap_or("").to_owned(), flag.place))
        } else {
            container
                .literal(name)
                .map(|(text, place)| (text.to_owned(), place))
        };
        let Some((target, place)) = found else {
            continue;
        };
        let off = matches!(
            target.as_str(),
            "0" | "false" | "False" | "None" | "stdout" | "/dev/null"
        );
        if off || (!name.starts_with('-') && target.is_empty()) {
            continue;
        }
        let in_memory = evidence::mount_of(container, target.trim_start_matches("file://"))
            .is_some_and(|mount| mount.source == Source::Memory);
        if !in_memory {
            let target = if target.is_empty() {
                String::new()
            } else {
                format!(" {target}")
            };
            let message = format!("`{name}{target}` writes {what}, to disk");
            sink.find(place, *name, message);
        }
    }
    if let Some(flag) = container.flag(&["--hicache-storage-backend"])
        && container.runs("sglang")
        && flag.value == Some("file")
    {
        let message =
            "`--hicache-storage-backend file` writes the caches of everybody's prompts to disk";
        sink.find(flag.place, "--hicache-storage-backend", message);
    }
    if container.runs("nim")
        && let Some(place) = container.switched_on("NIM_CAPTURE_ENABLE")
    {
        sink.cannot_tell(
            place,
            "`NIM_CAPTURE_ENABLE` is on, and what it records is not documented in public: ask, or switch it off",
        );
    }
}

/// Parts of the paths at which servers look for models.
const CACHES: [&str; 6] = [
    "/opt/nim/.cache",
    "/model-store",
    "huggingface",
    "/models",
    "/data",
    "/weights",
];

#[cfg(test)]
mod tests;
