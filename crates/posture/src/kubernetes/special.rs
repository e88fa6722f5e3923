//! Kinds that describe a container in words of their own.
//!
//! NVIDIA's NIM operator writes an image as repository and tag, KServe a predictor as a framework, Dynamo a
//! service with the container beside the pod. Whatever in them is an ordinary pod is found by its shape.

use std::borrow::Cow;

use super::variables::environment;
use super::{container, mounted, pairs};
use crate::node::Node;
use crate::place::Place;
use crate::workload::{
    Container, Given, Image, Mount, Origin, Port, Resource, Role, Server, Source, Variable,
    Workload,
};

/// The workloads of a kind that is known here; nothing for any other.
pub(crate) fn workloads<'tree>(resource: &Resource<'tree>, into: &mut Vec<Workload<'tree>>) {
    let Some(spec) = resource.node.get("spec") else {
        return;
    };
    let group = resource.api_version.split('/').next().unwrap_or("");
    match resource.kind {
        "InferenceService"
            if group.ends_with("kserve.io") || group.starts_with("serving.kubeflow") =>
        {
            inference_service(resource, spec, into);
        }
        "ServingRuntime" | "ClusterServingRuntime" => {
            let mut workload = super::pod(resource, spec, None);
            workload.labels = pairs(spec.get("labels"));
            workload.annotations = pairs(spec.get("annotations"));
            into.push(workload);
        }
        "NIMService" => into.push(nim(resource, resource.name, spec)),
        "NIMCache" => nim_cache(resource, spec, into),
        "NIMPipeline" => {
            for service in spec.list("services") {
                if let Some(of_service) = service.get("spec") {
                    let name = service.text_at("name").unwrap_or(resource.name);
                    into.push(nim(resource, name, of_service));
                }
            }
        }
        "DynamoGraphDeployment" | "DynamoComponentDeployment" => {
            dynamo(resource, spec, into);
        }
        _ => {}
    }
}

/// KServe: a predictor, and what may stand before and beside it.
fn inference_service<'tree>(
    resource: &Resource<'tree>,
    spec: &'tree Node,
    into: &mut Vec<Workload<'tree>>,
) {
    for part in ["predictor", "transformer", "explainer"] {
        let Some(pod) = spec.get(part) else { continue };
        let mut workload = super::pod(resource, pod, None);
        // KServe hands the metadata of the service on to its pods.
        let metadata = resource.node.get("metadata");
        workload.labels = pairs(metadata.and_then(|metadata| metadata.get("labels")));
        workload
            .labels
            .push(("serving.kserve.io/inferenceservice", resource.name));
        workload.annotations = pairs(metadata.and_then(|metadata| metadata.get("annotations")));
        workload.labels.extend(pairs(pod.get("labels")));
        workload.annotations.extend(pairs(pod.get("annotations")));
        for entry in pod.entries() {
            if is_model(&entry.key, &entry.value) {
                let mut model = container(&entry.value, Role::Main, pod);
                model.name = entry.value.text_at("name").unwrap_or("kserve-container");
                model.server = by_format(&entry.key, &entry.value);
                workload.containers.push(model);
            }
        }
        if let Some(worker) = pod.get("workerSpec") {
            into.push(super::pod(resource, worker, None));
        }
        if !workload.containers.is_empty() {
            into.push(workload);
        }
    }
}

/// Whether a member of a predictor is a model: `model`, or a framework of the first API.
fn is_model(key: &str, value: &Node) -> bool {
    const FRAMEWORKS: &[&str] = &[
        "sklearn",
        "xgboost",
        "lightgbm",
        "tensorflow",
        "pytorch",
        "onnx",
        "triton",
        "pmml",
        "paddle",
        "mlflow",
        "huggingface",
        "openvino",
        "art",
        "alibi",
    ];
    (key == "model" || FRAMEWORKS.contains(&key)) && !value.entries().is_empty()
}

/// The server that KServe chooses for a format when no image is named.
fn by_format(key: &str, model: &Node) -> Option<Server> {
    if model.get("image").is_some() {
        return None;
    }
    let runtime = model.text_at("runtime").unwrap_or("");
    let format = model
        .at(&["modelFormat", "name"])
        .and_then(Node::text)
        .unwrap_or(key);
    let (by, word) = if runtime.is_empty() {
        ("model format", format)
    } else {
        ("runtime", runtime)
    };
    let profile = match (runtime, format) {
        (runtime, _) if runtime.contains("triton") => "triton",
        (runtime, _) if runtime.contains("vllm") => "vllm",
        (runtime, _) if runtime.contains("sglang") => "sglang",
        (runtime, _) if runtime.contains("tgi") => "tgi",
        (runtime, _) if runtime.contains("nim") => "nim",
        (runtime, _) if runtime.starts_with("kserve-") => "kserve",
        ("", "triton" | "tensorrt") => "triton",
        ("", "huggingface" | "sklearn" | "xgboost" | "lightgbm" | "pmml" | "paddle" | "mlflow") => {
            "kserve"
        }
        _ => return None,
    };
    Some(Server {
        profile: profile.to_owned(),
        because: vec![format!("{by} `{word}`")],
    })
}

/// A NIM of the operator: an image in parts, the key's secret by name, storage by purpose.
fn nim<'tree>(resource: &Resource<'tree>, name: &'tree str, spec: &'tree Node) -> Workload<'tree> {
    let mut one = container(spec, Role::Main, spec);
    one.name = name;
    one.image = image(spec);
    one.environment.extend(key(spec));
    let port = spec
        .at(&["expose", "service", "port"])
        .and_then(|node| Some((u16::try_from(node.integer()?).ok()?, node.place)));
    let declared = port.filter(|(number, _)| !one.ports.iter().any(|own| own.number == *number));
    one.ports.extend(declared.map(|(number, place)| Port {
        number,
        name: None,
        published: None,
        place,
    }));
    one.mounts.extend(storage(spec));
    let mut labels = pairs(spec.get("labels"));
    // What the operator itself puts on the pods.
    labels.push(("app", name));
    Workload {
        resource: resource.clone(),
        origin: Origin::Kubernetes,
        labels,
        annotations: pairs(spec.get("annotations")),
        pod: spec,
        containers: std::iter::once(one).chain(beside(spec)).collect(),
    }
}

/// Containers that the operator is told to put beside the server.
fn beside(spec: &Node) -> Vec<Container<'_>> {
    let lists = [
        ("initContainers", Role::Init),
        ("sidecarContainers", Role::Main),
    ];
    let mut found = Vec::new();
    for (key, role) in lists {
        for node in spec.list(key) {
            let mut one = container(node, role, spec);
            one.image = image(node);
            found.push(one);
        }
    }
    found
}

fn image(spec: &Node) -> Option<Image<'_>> {
    let node = spec.get("image")?;
    match node.get("repository") {
        Some(repository) => Image::of_parts(repository, node.get("tag")),
        None => Image::of(node),
    }
}

/// The key that the operator puts into the environment from a secret.
fn key(spec: &Node) -> Option<Variable<'_>> {
    let secret = spec.get("authSecret")?;
    Some(Variable {
        name: Cow::Borrowed("NGC_API_KEY"),
        place: secret.place,
        value: Given::Secret(secret.text()?),
    })
}

/// Where the operator keeps a model's files.
fn storage(spec: &Node) -> Option<Mount<'_>> {
    let storage = spec.get("storage")?;
    let read_only = storage.boolean_at("readOnly") == Some(true);
    let (node, place, source): (&Node, Place, Source<'_>) = if let Some(claim) = storage.get("pvc")
    {
        let name = claim.get("name");
        let source = Source::Claim(name.and_then(Node::text).unwrap_or("?"));
        (claim, name.unwrap_or(claim).place, source)
    } else if let Some(cache) = storage.get("nimCache") {
        let name = cache.get("name");
        let source = Source::Claim(name.and_then(Node::text).unwrap_or("?"));
        (cache, name.unwrap_or(cache).place, source)
    } else if let Some(path) = storage.get("hostPath") {
        let text = path.text().or_else(|| path.text_at("path"))?;
        (path, path.place, Source::Host(Cow::Borrowed(text)))
    } else if let Some(scratch) = storage.get("emptyDir") {
        (scratch, scratch.place, Source::Scratch)
    } else {
        return None;
    };
    Some(Mount {
        path: Cow::Borrowed("/model-store"),
        read_only,
        source,
        place,
        node: storage,
        volume: Some(node),
    })
}

/// The job of the operator that fetches a model.
fn nim_cache<'tree>(
    resource: &Resource<'tree>,
    spec: &'tree Node,
    into: &mut Vec<Workload<'tree>>,
) {
    let Some(source) = spec.get("source") else {
        return;
    };
    let puller = source
        .entries()
        .iter()
        .find_map(|entry| Some((entry.value.get("modelPuller")?, &entry.value)));
    let Some((puller, from)) = puller else {
        return;
    };
    let mut one = container(spec, Role::Main, spec);
    one.name = resource.name;
    one.image = Image::of(puller);
    one.environment.extend(key(from));
    one.mounts.extend(storage(spec));
    into.push(Workload {
        resource: resource.clone(),
        origin: Origin::Kubernetes,
        labels: vec![("app", resource.name)],
        annotations: Vec::new(),
        pod: spec,
        containers: vec![one],
    });
}

/// Dynamo: a pod for each service, whose main container stands beside the pod's own.
fn dynamo<'tree>(resource: &Resource<'tree>, spec: &'tree Node, into: &mut Vec<Workload<'tree>>) {
    let services = spec.get("services").map_or(&[][..], Node::entries);
    let all = services
        .iter()
        .map(|entry| (entry.key.as_str(), &entry.value));
    // A component by itself is one service.
    let own = services.is_empty().then_some((resource.name, spec));
    for (name, service) in all.chain(own) {
        let pod = service.get("extraPodSpec").unwrap_or(service);
        let mut workload = super::pod(resource, pod, None);
        if let Some(metadata) = service.get("extraPodMetadata") {
            workload.labels = pairs(metadata.get("labels"));
            workload.annotations = pairs(metadata.get("annotations"));
        }
        if let Some(main) = pod.get("mainContainer") {
            let mut one = container(main, Role::Main, pod);
            one.name = name;
            // What the service gives all its containers.
            one.environment.extend(environment(service, "envs"));
            one.environment
                .extend(service.get("envFromSecret").and_then(|secret| {
                    Some(Variable {
                        name: Cow::Borrowed("*"),
                        place: secret.place,
                        value: Given::Secret(secret.text()?),
                    })
                }));
            let declared = service.list("volumeMounts").iter();
            one.mounts
                .extend(declared.filter_map(|mount| mounted(mount, pod)));
            workload.containers.push(one);
        }
        if !workload.containers.is_empty() {
            into.push(workload);
        }
    }
}

#[cfg(test)]
mod tests;
