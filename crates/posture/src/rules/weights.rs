//! Weights where they are mounted: who can read them, who can change them, and when they were verified.

use crate::estate::Estate;
use crate::node::{Node, Value, is_unresolved};
use crate::rule::{Case, Change, Check, Group, Rule, Severity, Sink};
use crate::workload::{Container, Given, Mount, Origin, Role, Source, Workload};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-051",
        title: "weights writable by the server that serves them",
        group: Group::Weights,
        severity: Severity::High,
        why: "A bug in the server's parser becomes a lasting one: what was taken over for one request writes a \
              pickle or a changed tensor into the model folder, and every restart and every replica loads it.",
        fix: "Mount the model volume read only, and download in a Job or an init container.",
        maps: &["AML.T0018", "NIST 800-190 4.4.3", "LLM04", "AML.M0005"],
        checks: &[Check::Container(writable)],
    },
    Rule {
        id: "AI-052",
        title: "plain weights in a folder of the host",
        group: Group::Weights,
        severity: Severity::High,
        why: "Whoever reads the node's disk (another pod with a hostPath, a backup, a disk that is sent back) copies \
              the model, and no key stands in between.",
        fix: "Keep the weights sealed and open them in memory for one server, or use an encrypted volume of its own.",
        maps: &["AML.M0012", "AML.T0035", "NIST 800-190 4.5.5", "CIS 5.7.3"],
        checks: &[Check::Container(on_host)],
    },
    Rule {
        id: "AI-057",
        title: "signature verified once, on a volume that can change afterwards",
        group: Group::Weights,
        severity: Severity::High,
        why: "The init container verified the bytes that lay there then. Whoever can write to the volume swaps them \
              before the server reads, and the signature has vouched for a model that nobody signed.",
        fix: "Mount the volume read only in every container but the one that fills it, or verify at each read.",
        maps: &["AML.T0018", "AML.M0014", "LLM03"],
        checks: &[Check::Workload(verified_once)],
    },
];

/// Whether a mount holds the model that a container serves.
pub(super) fn holds_weights(container: &Container<'_>, mount: &Mount<'_>) -> bool {
    let path = mount.path.trim_end_matches('/');
    if path
        .split('/')
        .any(|part| part.contains("cache") || part == "tmp")
    {
        return false;
    }
    is_folder_of_models(path) || served_paths(container).any(|served| is_within(served, path))
}

fn is_folder_of_models(path: &str) -> bool {
    path.split('/').any(|part| {
        matches!(
            part.to_ascii_lowercase().as_str(),
            "model"
                | "models"
                | "weights"
                | "checkpoints"
                | "model-repository"
                | "model_repository"
                | "model-store"
                | "model_store"
                | "modelrepository"
                | "model-repo"
        )
    })
}

/// The paths that a server is told to serve from.
fn served_paths<'look>(container: &'look Container<'_>) -> impl Iterator<Item = &'look str> {
    let flags = container.flag(&[
        "--model",
        "-m",
        "--model-path",
        "--model-id",
        "--model-repository",
        "--model-store",
        "--model-dir",
    ]);
    let positional = container
        .words
        .iter()
        .skip_while(|word| word.text != "serve")
        .nth(1)
        .map(|word| word.text.as_ref());
    let variables = SERVED_BY
        .iter()
        .filter_map(|name| container.literal(name))
        .map(|(text, _)| text);
    flags
        .and_then(|flag| flag.value)
        .into_iter()
        .chain(positional)
        .chain(variables)
        .filter(|path| path.starts_with('/'))
}

/// Variables that name what is served.
const SERVED_BY: &[&str] = &[
    "NIM_MODEL_NAME",
    "NIM_MODEL_PATH",
    "MODEL_ID",
    "MODEL_PATH",
    "MODEL_REPOSITORY",
    "LLAMA_ARG_MODEL",
    "OLLAMA_MODELS",
];

/// Variables and flags that name where a server writes what it downloads.
fn downloads_into(container: &Container<'_>, path: &str) -> bool {
    let flag = container
        .flag(&["--download-dir"])
        .and_then(|flag| flag.value);
    let variables = [
        "HF_HOME",
        "HF_HUB_CACHE",
        "NIM_CACHE_PATH",
        "TRANSFORMERS_CACHE",
        "HUGGINGFACE_HUB_CACHE",
    ];
    let variables = variables
        .iter()
        .filter_map(|name| container.literal(name))
        .map(|(text, _)| text);
    flag.into_iter()
        .chain(variables)
        .any(|target| is_within(target, path))
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a mount shows weights opened from a sealed model, which are never on the host's disk.
fn is_sealed(mount: &Mount<'_>) -> bool {
    let of_ours = |path: &str| path.contains("/casemate/") || path.contains("/sealed");
    matches!(&mount.source, Source::Host(path) if of_ours(path))
}

fn writable(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    // The operator's own cache is filled by the operator, which has no other way to mount it.
    let by_operator = matches!(
        case.workload.resource.kind,
        "NIMCache" | "NIMService" | "NIMPipeline"
    );
    if container.server.is_none() || container.role != Role::Main || by_operator {
        return;
    }
    for mount in &container.mounts {
        let filled_before = || shared_with_init(case.workload, mount);
        let lasting = match &mount.source {
            Source::Claim(_) | Source::Host(_) | Source::Named(_) => true,
            Source::Scratch | Source::Memory => filled_before(),
            Source::ConfigMap(_) | Source::Secret(_) | Source::Image(_) | Source::Other(_) => false,
        };
        if mount.read_only || !lasting || !holds_weights(container, mount) || is_sealed(mount) {
            continue;
        }
        // A repository of Triton is worse than weights, and has a rule of its own.
        if super::triton::repositories(container)
            .iter()
            .any(|(folder, _)| is_within(folder, &mount.path))
        {
            continue;
        }
        let loads = downloads_into(container, mount.path.trim_end_matches('/'));
        let place = mount
            .node
            .get("readOnly")
            .or_else(|| mount.node.get("read_only"));
        let place = place.map_or(mount.place, |node| node.place);
        let message = format!(
            "`{}` is mounted writable in `{}`: code that runs in the server replaces the model for every later start",
            mount.path, container.name
        );
        let finding = sink.find(place, format!("mount {}", mount.path), message);
        if loads {
            finding.fix(format!(
                "Download in an init container or a Job, mount `{}` with `readOnly: true` here and set `HF_HUB_OFFLINE=1`.",
                mount.path
            ));
        } else if case.workload.origin == Origin::Kubernetes {
            finding.fix("Write `readOnly: true` in this volume mount.");
            finding
                .changes
                .extend(Change::set(mount.node, &["readOnly"], "true"));
        } else {
            finding.fix("Append `:ro` to the volume (`read_only: true` in the long form).");
            finding.changes.extend(read_only(mount.node));
        }
    }
}

/// The edit that makes a compose volume read only.
fn read_only(node: &Node) -> Option<Change> {
    match &node.value {
        Value::Scalar { text, .. } if text.matches(':').count() == 1 && !is_unresolved(text) => {
            Some(Change::replace(node, &format!("\"{text}:ro\"")))
        }
        Value::Mapping { .. } => Change::set(node, &["read_only"], "true"),
        Value::Scalar { .. } | Value::Sequence { .. } => None,
    }
}

/// Whether an init container writes to the same volume.
fn shared_with_init(workload: &Workload<'_>, mount: &Mount<'_>) -> bool {
    let name = mount.node.text_at("name");
    name.is_some()
        && workload
            .containers
            .iter()
            .filter(|container| container.role == Role::Init)
            .flat_map(|container| &container.mounts)
            .any(|other| other.node.text_at("name") == name && !other.read_only)
}

fn on_host(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if container.server.is_none() {
        return;
    }
    for mount in &container.mounts {
        let Source::Host(folder) = &mount.source else {
            continue;
        };
        let weights = holds_weights(container, mount) || is_folder_of_models(folder);
        if !weights || is_sealed(mount) || is_unresolved(folder) {
            continue;
        }
        let path = mount
            .volume
            .and_then(|volume| volume.at(&["hostPath", "path"]));
        let place = path.map_or(mount.place, |node| node.place);
        let message = format!(
            "the weights of `{}` lie in plain in `{folder}` on the host: whoever reads its disk has the model",
            container.name
        );
        let finding = sink.find(place, format!("host folder {folder}"), message);
        finding.fix(
            "Seal the model (`casemate model seal`) and serve the sealed folder, or use a PersistentVolumeClaim of an \
             encrypted class.",
        );
        // One's own machine and a folder that the server cannot change: worth saying, no more.
        if case.workload.origin != Origin::Kubernetes && mount.read_only {
            finding.severity(Severity::Low);
        }
    }
}

fn verified_once(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if workload.origin != Origin::Kubernetes {
        return;
    }
    let by_operator = workload
        .labels
        .iter()
        .find(|(key, _)| key.starts_with("validation.ml.sigstore.dev/"));
    let verifiers = || {
        workload
            .containers
            .iter()
            .filter(|container| container.role == Role::Init && verifies(container))
    };
    for container in &workload.containers {
        if container.role != Role::Main || verifies(container) {
            continue;
        }
        for mount in &container.mounts {
            let name = mount.node.text_at("name");
            let verifier = verifiers().find(|verifier| {
                name.is_some()
                    && verifier
                        .mounts
                        .iter()
                        .any(|one| one.node.text_at("name") == name)
            });
            let verified_by = match (verifier, by_operator) {
                (Some(verifier), _) => format!("init container `{}`", verifier.name),
                (None, Some((key, _))) if holds_weights(container, mount) => {
                    format!("the init container that label `{key}` adds")
                }
                (None, _) => continue,
            };
            if !mount.read_only {
                let message = format!(
                    "`{}` was verified by {verified_by}, and `{}` can write to it afterwards",
                    mount.path, container.name
                );
                sink.find(mount.place, format!("mount {}", mount.path), message)
                    .changes
                    .extend(Change::set(mount.node, &["readOnly"], "true"));
            } else if let Source::Claim(claim) = mount.source
                && let Some(other) = writer(claim, workload, estate)
            {
                let message = format!(
                    "`{}` was verified by {verified_by}, and {other} writes to the same claim `{claim}` while it is served",
                    mount.path
                );
                sink.find(mount.place, format!("claim {claim}"), message);
            }
        }
    }
}

/// Another workload that can write to a claim and stays.
fn writer(claim: &str, workload: &Workload<'_>, estate: &Estate<'_>) -> Option<String> {
    estate
        .workloads
        .iter()
        .filter(|other| {
            other.resource.title() != workload.resource.title()
                && other.resource.namespace_or_default() == workload.resource.namespace_or_default()
        })
        .find(|other| {
            let mut mounts = other
                .containers
                .iter()
                .flat_map(|container| &container.mounts);
            mounts.any(|mount| mount.source == Source::Claim(claim) && !mount.read_only)
        })
        .map(|other| other.resource.title())
}

/// Whether a container verifies a model's signature.
fn verifies(container: &Container<'_>) -> bool {
    let image = container
        .image
        .as_ref()
        .map_or("", |image| image.repository);
    if image.contains("model-validation") || image.contains("model-transparency") {
        return true;
    }
    let has = |wanted: &[&str]| {
        container
            .words
            .iter()
            .any(|word| wanted.iter().any(|one| word.text.contains(one)))
    };
    let verify = has(&["verify"]);
    let tool = has(&["model_signing", "model-signing", "cosign", "casemate"]);
    let told = || {
        container.environment.iter().any(|variable| {
            matches!(&variable.value, Given::Literal { text, .. } if text.contains("model_signing verify"))
        })
    };
    (verify && tool) || told()
}
