//! What lies under the weights: memory that is swapped or dumped, claims that tenants share, disks without a key.

use std::collections::{BTreeMap, BTreeSet};

use super::weights::holds_weights;
use crate::estate::Estate;
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Change, Check, Group, Rule, Severity, Sink};
use crate::workload::{Origin, Resource, Source, is_on};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-061",
        title: "weights in memory that has no bound, or that is swapped to disk",
        group: Group::Weights,
        severity: Severity::High,
        why: "Weights are put in memory so that they are never on a disk. Memory that may be swapped writes them to \
              the node's disk in plain, and a memory volume without a size takes the node's memory until other pods \
              are killed.",
        fix: "Give the memory volume a `sizeLimit`, and keep swap off for pods (`swapBehavior: NoSwap`).",
        maps: &["AML.M0012", "NIST 800-190 4.5.5", "AML.T0035"],
        checks: &[Check::Container(memory_volume), Check::Estate(swap)],
    },
    Rule {
        id: "AI-062",
        title: "a crash writes the weights to disk",
        group: Group::Weights,
        severity: Severity::Medium,
        why: "A core dump of a model server is its memory: plain weights, prompts and keys. Whoever can make it crash \
              and read the folder, or the collector that cores are piped to, has all three.",
        fix: "Set the core limit to 0 and leave the driver's core dumps off.",
        maps: &["AML.T0090", "T1003", "AML.T0035"],
        checks: &[Check::Container(core_dumps)],
    },
    Rule {
        id: "AI-063",
        title: "model volume that several tenants can write to",
        group: Group::Weights,
        severity: Severity::High,
        why: "Each tenant that can write to the volume changes the model that all others serve, and reads weights that \
              were not meant for it.",
        fix: "One claim for each tenant, or one that is `ReadOnlyMany`, filled by a Job that no tenant can start.",
        maps: &["NIST 800-190 4.3.4", "AML.T0018", "LLM04"],
        checks: &[Check::Estate(shared_claims), Check::Estate(shared_volumes)],
    },
    Rule {
        id: "AI-064",
        title: "weights on a storage class without encryption",
        group: Group::Weights,
        severity: Severity::Medium,
        why: "A snapshot, a detached disk or a disk that is sent back holds the model in plain.",
        fix: "Use a storage class with encryption switched on, best under a key of your own.",
        maps: &["AML.M0012", "NIST 800-190 4.5.5", "T1530"],
        checks: &[Check::Estate(storage_classes)],
    },
];

fn memory_volume(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if container.server.is_none() {
        return;
    }
    for mount in &container.mounts {
        let directory = mount.volume.and_then(|volume| volume.get("emptyDir"));
        if let Some(directory) = directory
            && mount.source == Source::Memory
            && holds_weights(container, mount)
            && directory.get("sizeLimit").is_none()
        {
            let place = directory.get("medium").unwrap_or(directory).place;
            let message = format!(
                "the memory volume at `{}` has no `sizeLimit`: weights fill the node's memory, and the kernel ends \
                 other pods",
                mount.path
            );
            sink.find(place, format!("volume {}", mount.path), message)
                .fix("Add `sizeLimit` with the size of the model and a little more, and count it in `limits.memory`.");
        }
    }
    if case.workload.origin != Origin::Kubernetes {
        let Some(node) = container.node.get("tmpfs") else {
            return;
        };
        for item in std::iter::once(node).chain(node.items()) {
            let text = item.text().unwrap_or("");
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            let for_models = path
                .split('/')
                .any(|part| matches!(part, "models" | "model" | "weights"));
            if for_models && !options.contains("size=") {
                let message = format!(
                    "the memory volume at `{path}` has no size: weights fill the host's memory"
                );
                sink.find(item.place, format!("tmpfs {path}"), message)
                    .fix(format!(
                        "Write `{path}:size=20g,noswap` with the size of the model."
                    ));
            }
        }
    }
}

fn swap(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for kubelet in estate.of_kind("KubeletConfiguration") {
        sink.about_resource(kubelet);
        let Some(node) = kubelet.node.at(&["memorySwap", "swapBehavior"]) else {
            continue;
        };
        if let Some(behavior @ ("LimitedSwap" | "UnlimitedSwap")) = sink.known(node) {
            let message = format!(
                "`swapBehavior: {behavior}` lets the node write the memory of pods, weights and keys in it, to its disk"
            );
            sink.find(node.place, "swapBehavior", message)
                .change(Change::replace(node, "NoSwap"));
        }
    }
}

fn core_dumps(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    // The driver's dumps hold the memory of the graphics processor, which is where the weights are.
    for name in [
        "CUDA_ENABLE_COREDUMP_ON_EXCEPTION",
        "CUDA_ENABLE_USER_TRIGGERED_COREDUMP",
    ] {
        if let Some(place) = container.switched_on(name) {
            let message =
                format!("`{name}` writes the memory of the GPU, the weights in it, to a file");
            sink.find(place, format!("env {name}"), message)
                .fix(format!("Remove `{name}`."));
        }
    }
    for (word, next) in container.words.iter().zip(container.words.iter().skip(1)) {
        if word.text == "-c" && matches!(next.text.as_ref(), "unlimited") {
            let message = "`ulimit -c unlimited` lets a crash write the server's memory to a file";
            sink.find(next.place, "ulimit -c", message)
                .fix("Write `ulimit -c 0`.");
        }
    }
    for word in &container.words {
        if word.text.contains("kernel.core_pattern=")
            || word.text.contains("/proc/sys/kernel/core_pattern")
        {
            let message = format!(
                "`{}` changes where every crash of the node goes, other pods' memory too",
                word.text
            );
            sink.find(word.place, "core_pattern", message)
                .severity(Severity::High)
                .fix("Set `kernel.core_pattern` on the node, to a program that drops cores of model servers.");
        }
    }
    if container.server.is_none() || case.workload.origin == Origin::Kubernetes {
        return;
    }
    if let Some(core) = container.node.at(&["ulimits", "core"]) {
        let limit = core.get("soft").unwrap_or(core);
        if sink.known(limit).is_some() && limit.integer().is_some_and(|size| size != 0) {
            let message = format!(
                "`core: {}` lets a crash of `{}` write its memory, weights and prompts in it, to a file",
                limit.text().unwrap_or(""),
                container.name
            );
            sink.find(limit.place, "ulimit core", message)
                .change(Change::replace(core, "0"));
        }
    }
}

/// Whether a name or a path speaks of weights.
fn speaks_of_weights(name: &str) -> bool {
    name.split(|character: char| !character.is_ascii_alphanumeric())
        .any(|word| {
            matches!(
                word.to_ascii_lowercase().as_str(),
                "model"
                    | "models"
                    | "weights"
                    | "checkpoint"
                    | "checkpoints"
                    | "llm"
                    | "llms"
                    | "nim"
                    | "huggingface"
                    | "ollama"
                    | "vllm"
                    | "triton"
            )
        })
}

fn mode_many(spec: &Node) -> Option<&Node> {
    spec.list("accessModes")
        .iter()
        .find(|mode| mode.text() == Some("ReadWriteMany"))
}

/// Labels by which people tell tenants apart.
fn tenant<'tree>(labels: &[(&'tree str, &'tree str)]) -> Option<&'tree str> {
    labels
        .iter()
        .find(|(key, _)| {
            let last = key.rsplit('/').next().unwrap_or(key);
            matches!(
                last,
                "tenant" | "tenant-id" | "customer" | "team" | "org" | "organization"
            )
        })
        .map(|(_, value)| *value)
}

fn shared_claims(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for claim in estate.of_kind("PersistentVolumeClaim") {
        let Some(mode) = claim.node.get("spec").and_then(mode_many) else {
            continue;
        };
        let mut tenants = BTreeSet::new();
        let mut writers = 0_usize;
        for workload in &estate.workloads {
            if workload.resource.namespace_or_default() != claim.namespace_or_default() {
                continue;
            }
            for container in &workload.containers {
                for mount in &container.mounts {
                    let here = mount.source == Source::Claim(claim.name)
                        && (speaks_of_weights(claim.name) || holds_weights(container, mount));
                    if here {
                        tenants.extend(tenant(&workload.labels));
                        writers += usize::from(!mount.read_only);
                    }
                }
            }
        }
        if tenants.len() > 1 && writers > 0 {
            sink.about_resource(claim);
            let names: Vec<&str> = tenants.into_iter().collect();
            let message = format!(
                "tenants {} share claim `{}`, and {writers} of their containers can write to it",
                names.join(", "),
                claim.name
            );
            sink.find(mode.place, format!("claim {}", claim.name), message);
        }
    }
}

/// What a persistent volume is made of: two volumes with the same are one place.
fn backing(volume: &Resource<'_>) -> Option<String> {
    let spec = volume.node.get("spec")?;
    let network = || {
        let share = spec.get("nfs")?;
        Some(format!(
            "nfs {}:{}",
            share.text_at("server")?,
            share.text_at("path")?
        ))
    };
    let driver = || {
        let driver = spec.get("csi")?;
        Some(format!(
            "{} {}",
            driver.text_at("driver")?,
            driver.text_at("volumeHandle")?
        ))
    };
    network().or_else(driver)
}

fn shared_volumes(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let mut by_backing: BTreeMap<String, Vec<&Resource<'_>>> = BTreeMap::new();
    for volume in estate.of_kind("PersistentVolume") {
        if let Some(backing) = backing(volume) {
            by_backing.entry(backing).or_default().push(volume);
        }
    }
    for (backing, volumes) in by_backing {
        let namespaces: BTreeSet<&str> = volumes
            .iter()
            .flat_map(|volume| namespaces_of(volume, estate))
            .collect();
        let about_weights = speaks_of_weights(&backing)
            || volumes.iter().any(|volume| speaks_of_weights(volume.name));
        if namespaces.len() < 2 || !about_weights {
            continue;
        }
        for volume in volumes {
            if let Some(mode) = volume.node.get("spec").and_then(mode_many) {
                sink.about_resource(volume);
                let names: Vec<&str> = namespaces.iter().copied().collect();
                let message = format!(
                    "`{}` is `{backing}`, which namespaces {} all mount, and it can be written through this volume",
                    volume.name,
                    names.join(", ")
                );
                sink.find(mode.place, "accessModes", message)
                    .change(Change::replace(mode, "ReadOnlyMany"));
            }
        }
    }
}

/// The namespaces whose claims hold a volume.
fn namespaces_of<'estate>(
    volume: &'estate Resource<'_>,
    estate: &'estate Estate<'_>,
) -> Vec<&'estate str> {
    let reserved = volume
        .node
        .at(&["spec", "claimRef"])
        .and_then(|claim| claim.text_at("namespace"));
    let bound = estate
        .of_kind("PersistentVolumeClaim")
        .filter(|claim| {
            claim.node.at(&["spec", "volumeName"]).and_then(Node::text) == Some(volume.name)
        })
        .map(|claim| claim.namespace_or_default());
    reserved.into_iter().chain(bound).collect()
}

/// Where a provisioner is told to encrypt; those that always do, or that others configure, are not here.
const ENCRYPTED_BY: &[(&str, &str)] = &[
    ("ebs.csi.aws.com", "encrypted"),
    ("kubernetes.io/aws-ebs", "encrypted"),
    ("driver.longhorn.io", "encrypted"),
    ("rbd.csi.ceph.com", "encrypted"),
    ("pxd.portworx.com", "secure"),
];

/// Provisioners that write to the node's disk as it is.
const PLAIN: &[&str] = &[
    "rancher.io/local-path",
    "docker.io/hostpath",
    "openebs.io/local",
    "k8s.io/minikube-hostpath",
];

fn storage_classes(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let claims: Vec<&str> = estate
        .of_kind("PersistentVolumeClaim")
        .filter(|claim| speaks_of_weights(claim.name) || serves_weights(claim.name, estate))
        .filter_map(|claim| {
            claim
                .node
                .at(&["spec", "storageClassName"])
                .and_then(Node::text)
        })
        .collect();
    for class in estate.of_kind("StorageClass") {
        if !(claims.contains(&class.name) || speaks_of_weights(class.name)) {
            continue;
        }
        sink.about_resource(class);
        let Some(provisioner) = class.node.get("provisioner") else {
            continue;
        };
        let Some(name) = sink.known(provisioner) else {
            continue;
        };
        if let Some((place, message)) = unencrypted(class.node, name, provisioner.place, sink) {
            sink.find(place, "encryption", message);
        }
    }
}

fn unencrypted(
    class: &Node,
    provisioner: &str,
    place: Place,
    sink: &mut Sink<'_>,
) -> Option<(Place, String)> {
    if PLAIN.contains(&provisioner) {
        let message = format!("`{provisioner}` writes weights to the node's disk as they are");
        return Some((place, message));
    }
    let (_, parameter) = ENCRYPTED_BY
        .iter()
        .find(|(name, _)| provisioner == *name || provisioner.ends_with(&format!(".{name}")))?;
    match class
        .get("parameters")
        .and_then(|parameters| parameters.get(parameter))
    {
        None => Some((
            place,
            format!(
                "`{provisioner}` encrypts only where `parameters.{parameter}` is `\"true\"`, and it is not said here"
            ),
        )),
        Some(node) => {
            let text = sink.known(node)?;
            (!is_on(text)).then(|| {
                (
                    node.place,
                    format!("`{parameter}: {text}`: weights lie on this disk in plain"),
                )
            })
        }
    }
}

/// Whether a server serves its model from a claim.
fn serves_weights(claim: &str, estate: &Estate<'_>) -> bool {
    let mut containers = estate
        .workloads
        .iter()
        .flat_map(|workload| &workload.containers);
    containers.any(|container| {
        container
            .mounts
            .iter()
            .any(|mount| mount.source == Source::Claim(claim) && holds_weights(container, mount))
    })
}
