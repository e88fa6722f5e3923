//! KServe: who may call a service, where its model comes from, and what the model's sidecar sees.

use crate::estate::Estate;
use crate::kubernetes::{pairs, same_namespace};
use crate::node::Node;
use crate::rule::{Change, Check, Group, Rule, Severity, Sink};
use crate::workload::{Resource, Workload};

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-043",
        title: "an InferenceService is published and asks nobody who they are",
        group: Group::Server,
        severity: Severity::High,
        why: "KServe puts every InferenceService behind the cluster's gateway under a name that can be guessed, and \
              checks no caller by itself: whoever reaches the gateway uses the model.",
        fix: "Add an AuthorizationPolicy (or `security.opendatahub.io/enable-auth: \"true\"`) for it, or keep it inside \
              with the label `networking.kserve.io/visibility: cluster-local`.",
        maps: &["K06", "AML.T0040", "AML.T0049"],
        checks: &[Check::Estate(unguarded)],
    },
    Rule {
        id: "AI-044",
        title: "the model's address names content that can change",
        group: Group::Server,
        severity: Severity::High,
        why: "The storage initializer takes whatever lies at the address when the pod starts. Plain HTTP can be changed \
              on the way; a hub name, an image tag or an object can be replaced by whoever may write there.",
        fix: "Name the content: `oci://registry/model@sha256:…`, `hf://owner/model:<commit>`, or a volume that was filled \
              and verified before (`pvc://`).",
        maps: &["LLM03", "AML.T0010", "AML.T0109", "SLSA"],
        checks: &[Check::Estate(mutable_storage)],
    },
    Rule {
        id: "AI-045",
        title: "containers of a model's pod see each other's processes and files",
        group: Group::Server,
        severity: Severity::Medium,
        why: "With one process namespace every container reads the root file system, the environment and, with the same \
              user, the memory of the others through `/proc`: the sidecar reads the server's keys, the server the \
              sidecar's registry password.",
        fix: "Mount the model as an image volume (`oci+native`), and set `shareProcessNamespace: false`.",
        maps: &["NIST 800-190 4.4.3", "T1057", "T1552.001"],
        checks: &[Check::Workload(shared_processes), Check::Estate(model_car)],
    },
];

fn unguarded(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for kind in ["InferenceService", "LLMInferenceService", "InferenceGraph"] {
        for service in estate.of_kind(kind) {
            if is_inside(service) || !is_routed(service) || asks(estate, service) {
                continue;
            }
            let place = service
                .node
                .at(&["metadata", "name"])
                .map_or(service.place, |name| name.place);
            let message = format!(
                "the gateway publishes `{}`, and no AuthorizationPolicy or annotation here makes it ask callers who they \
                 are",
                service.name
            );
            sink.about_resource(service).find(place, "callers", message);
        }
    }
}

/// Whether a gateway gets a way to a service: always, but for the kind that names its router.
fn is_routed(service: &Resource<'_>) -> bool {
    let router = service.node.at(&["spec", "router"]);
    let named = |router: &Node| {
        router
            .entries()
            .iter()
            .any(|entry| matches!(entry.key.as_str(), "route" | "gateway" | "ingress"))
    };
    service.kind != "LLMInferenceService" || router.is_some_and(named)
}

/// Whether a service is kept inside the cluster.
fn is_inside(service: &Resource<'_>) -> bool {
    ["labels", "annotations"].iter().any(|group| {
        pairs(service.node.at(&["metadata", group]))
            .iter()
            .any(|(key, value)| {
                key.ends_with("/visibility")
                    && key.starts_with("networking.")
                    && *value == "cluster-local"
            })
    })
}

/// Whether an annotation or a policy of its namespace has callers checked.
fn asks(estate: &Estate<'_>, service: &Resource<'_>) -> bool {
    let annotations = pairs(service.node.at(&["metadata", "annotations"]));
    let by_annotation = annotations.iter().any(|(key, value)| {
        (key.ends_with("/enable-auth") || key.ends_with("/enable-api-auth")) && *value == "true"
    });
    let selected = |policy: &Resource<'_>| {
        let selector = policy.node.at(&["spec", "selector"]);
        selector.is_none_or(|selector| {
            let wanted = pairs(selector.get("matchLabels"));
            let own = pairs(service.node.at(&["metadata", "labels"]));
            wanted.iter().all(|one| {
                own.contains(one)
                    || (one.0 == "serving.kserve.io/inferenceservice" && one.1 == service.name)
            })
        })
    };
    by_annotation
        || estate.resources.iter().any(|policy| {
            matches!(
                policy.kind,
                "AuthorizationPolicy" | "AuthPolicy" | "SecurityPolicy"
            ) && same_namespace(policy, service)
                && selected(policy)
                && !evidence::allows_everybody(policy)
        })
}

fn mutable_storage(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for resource in &estate.resources {
        let by_kserve = resource.api_version.starts_with("serving.kserve.io/");
        let known = matches!(
            resource.kind,
            "InferenceService"
                | "ServingRuntime"
                | "ClusterServingRuntime"
                | "TrainedModel"
                | "LLMInferenceService"
        );
        if !(by_kserve && known) {
            continue;
        }
        let mut addresses = Vec::new();
        resource.node.walk(&mut |node| {
            for key in ["storageUri", "storage_uri", "uri"] {
                addresses.extend(node.get(key).filter(|value| value.text().is_some()));
            }
        });
        sink.about_resource(resource);
        for address in addresses {
            let Some(text) = sink.known(address) else {
                continue;
            };
            if let Some((severity, why)) = replaceable(text) {
                let message = format!("`{text}`: {why}");
                sink.find(address.place, "storageUri", message)
                    .severity(severity);
            }
        }
    }
}

/// What is wrong with a storage address; none for one whose content is named.
fn replaceable(address: &str) -> Option<(Severity, &'static str)> {
    let (scheme, rest) = address.split_once("://")?;
    let last = rest.rsplit(['/', '@', ':', '=']).next().unwrap_or("");
    let digest = rest.contains("@sha256:") || rest.contains("sha256=");
    let commit = last.len() == 40 && last.chars().all(|one| one.is_ascii_hexdigit());
    let version = rest.contains("versionId=");
    if digest {
        return None;
    }
    match scheme {
        "http" => Some((
            Severity::High,
            "anybody on the way can change the model, and nothing names its content",
        )),
        "https" => Some((
            Severity::High,
            "the model is whatever the host answers, and nothing names its content",
        )),
        "hf" if !commit => Some((
            Severity::High,
            "the model is whatever its owner last pushed; no commit is named",
        )),
        "oci" | "oci+native" => Some((
            Severity::High,
            "a tag can be moved to another model; no digest is named",
        )),
        "s3" | "gs" | "abfs" | "wasbs" if !version => Some((
            Severity::Medium,
            "whoever may write the bucket replaces the model, and nothing names its content",
        )),
        _ => None,
    }
}

fn shared_processes(workload: &Workload<'_>, _estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let Some(entry) = workload.pod.entry("shareProcessNamespace") else {
        return;
    };
    if sink.known(&entry.value).is_none() || entry.value.boolean() != Some(true) {
        return;
    }
    let car = workload
        .containers
        .iter()
        .find(|container| container.name.starts_with("modelcar"));
    let server = workload
        .containers
        .iter()
        .find(|container| container.server.is_some());
    let modelled = workload
        .resource
        .api_version
        .starts_with("serving.kserve.io/");
    if workload.containers.len() < 2 && !modelled {
        return;
    }
    let Some(container) = car
        .or(server)
        .or_else(|| workload.containers.first().filter(|_| modelled))
    else {
        return;
    };
    let message = format!(
        "`shareProcessNamespace: true` lets every container of the pod read the root file system and the environment \
         of `{}` through `/proc`",
        container.name
    );
    sink.find(entry.value.place, "shareProcessNamespace", message)
        .change(Change::replace(&entry.value, "false"));
}

/// KServe's own settings that have it put a sidecar with the model into every pod.
fn model_car(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let maps = estate
        .of_kind("ConfigMap")
        .filter(|map| map.name == "inferenceservice-config");
    for map in maps {
        let Some(settings) = map.node.at(&["data", "storageInitializer"]) else {
            continue;
        };
        let text = settings.text().unwrap_or("");
        let compact: String = text.chars().filter(|one| !one.is_whitespace()).collect();
        if compact.contains("\"enableModelcar\":true") {
            let message = "`enableModelcar: true` gives every pod with an `oci://` model one process namespace: server and \
                           sidecar read each other's files and environment";
            sink.about_resource(map).find(
                evidence::inside(settings, position(text, "enableModelcar")),
                "enableModelcar",
                message,
            );
        }
    }
}

/// The line and column, counted from 1, at which `word` first stands in `text`.
fn position(text: &str, word: &str) -> (u32, u32) {
    let before = text.split(word).next().unwrap_or("");
    let lines = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    (number(lines), number(column))
}
