//! Kubernetes documents as resources and workloads.
//!
//! Pods are found by their shape, a mapping with a list of `containers`, so that kinds nobody has heard of are
//! read too; kinds that describe a container in other words are listed in `special`.

use std::borrow::Cow;

use crate::node::{Node, is_unresolved};
use crate::workload::{
    Container, Image, Mount, Origin, Port, Published, Resource, Role, Source, Word, Workload,
    shell_words,
};

mod special;
pub(crate) mod variables;

use self::variables::environment;

/// The resources of one document: itself, or the members of a list.
pub(crate) fn resources<'tree>(document: &'tree Node, into: &mut Vec<Resource<'tree>>) {
    resources_of(document, None, into);
}

/// The same for a member of a list: one that names no kind is of the kind that the list is of.
fn resources_of<'tree>(
    document: &'tree Node,
    list: Option<(&'tree str, &'tree str)>,
    into: &mut Vec<Resource<'tree>>,
) {
    let version = document.text_at("apiVersion");
    let (kind, version) = match (document.text_at("kind"), list) {
        (Some(kind), _) => (kind, version.unwrap_or("")),
        (None, Some((kind, of_list))) => (kind, version.unwrap_or(of_list)),
        (None, None) => return,
    };
    if kind == "List" || (kind.ends_with("List") && !document.list("items").is_empty()) {
        let one = kind.strip_suffix("List").filter(|one| !one.is_empty());
        for item in document.list("items") {
            resources_of(item, one.map(|kind| (kind, version)), into);
        }
        return;
    }
    let metadata = document.get("metadata");
    let text = |key: &str| metadata.and_then(|metadata| metadata.text_at(key));
    into.push(Resource {
        kind,
        api_version: version,
        namespace: text("namespace"),
        name: text("name").or_else(|| text("generateName")).unwrap_or("?"),
        place: document.place,
        node: document,
    });
}

/// The workloads of one resource: usually one, none for what runs nothing.
pub(crate) fn workloads<'tree>(resource: &Resource<'tree>, into: &mut Vec<Workload<'tree>>) {
    let before = into.len();
    special::workloads(resource, into);
    if into.len() == before && !NOT_WORKLOADS.contains(&resource.kind) {
        find_pods(resource, resource.node, None, 0, into);
    }
}

/// Kinds that may hold a text or schema that looks like a pod and runs nothing.
const NOT_WORKLOADS: &[&str] = &["CustomResourceDefinition", "ConfigMap", "Secret"];

/// Looks for pod specifications below `node`. `template` is what holds the `metadata` of the pod.
fn find_pods<'tree>(
    resource: &Resource<'tree>,
    node: &'tree Node,
    template: Option<&'tree Node>,
    depth: usize,
    into: &mut Vec<Workload<'tree>>,
) {
    let containers = node.list("containers");
    if !containers.is_empty() && containers.iter().all(|one| !one.entries().is_empty()) {
        into.push(pod(resource, node, template));
        return;
    }
    if depth >= MAX_DEPTH {
        return;
    }
    for entry in node.entries() {
        let template = if entry.key == "spec" {
            Some(node)
        } else {
            template
        };
        find_pods(resource, &entry.value, template, depth + 1, into);
    }
    for item in node.items() {
        find_pods(resource, item, None, depth + 1, into);
    }
}

/// A workload of the pod specification `spec`; `template` holds the metadata of its pods.
pub(crate) fn pod<'tree>(
    resource: &Resource<'tree>,
    spec: &'tree Node,
    template: Option<&'tree Node>,
) -> Workload<'tree> {
    let metadata = template.and_then(|template| template.get("metadata"));
    let mut containers = Vec::new();
    for (key, role) in [
        ("initContainers", Role::Init),
        ("containers", Role::Main),
        ("ephemeralContainers", Role::Main),
    ] {
        for node in spec.list(key) {
            // An init container that is always restarted runs beside the others.
            let sidecar = node.text_at("restartPolicy") == Some("Always");
            let role = if sidecar { Role::Main } else { role };
            containers.push(container(node, role, spec));
        }
    }
    Workload {
        resource: resource.clone(),
        origin: Origin::Kubernetes,
        labels: pairs(metadata.and_then(|metadata| metadata.get("labels"))),
        annotations: pairs(metadata.and_then(|metadata| metadata.get("annotations"))),
        pod: spec,
        containers,
    }
}

/// The members of a mapping of texts.
pub(crate) fn pairs(node: Option<&Node>) -> Vec<(&str, &str)> {
    node.map_or(&[][..], Node::entries)
        .iter()
        .filter_map(|entry| Some((entry.key.as_str(), entry.value.text()?)))
        .collect()
}

/// A container of a pod whose volumes are in `spec`.
pub(crate) fn container<'tree>(
    node: &'tree Node,
    role: Role,
    spec: &'tree Node,
) -> Container<'tree> {
    Container {
        name: node.text_at("name").unwrap_or("?"),
        role,
        node,
        image: node.get("image").and_then(Image::of),
        words: words(node),
        environment: environment(node, "env"),
        ports: node.list("ports").iter().filter_map(port).collect(),
        mounts: node
            .list("volumeMounts")
            .iter()
            .filter_map(|mount| mounted(mount, spec))
            .collect(),
        server: None,
    }
}

fn words(node: &Node) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    command_words(node.list("command"), &mut words);
    command_words(node.list("args"), &mut words);
    words
}

/// Adds the words of a list; a text for a shell is split into its own.
pub(crate) fn command_words<'tree>(items: &'tree [Node], words: &mut Vec<Word<'tree>>) {
    for item in items {
        let Some(text) = item.text() else { continue };
        let place = item.place;
        let script = words
            .last()
            .is_some_and(|last| matches!(last.text.as_ref(), "-c" | "-lc" | "-ec" | "-euc"));
        if script || text.contains('\n') {
            words.extend(shell_words(text).into_iter().map(|word| Word {
                text: Cow::Owned(word),
                place,
            }));
        } else {
            words.push(Word {
                text: Cow::Borrowed(text),
                place,
            });
        }
    }
}

fn port(node: &Node) -> Option<Port<'_>> {
    let number = node.get("containerPort")?;
    let host = node.get("hostPort").and_then(Node::integer);
    Some(Port {
        number: u16::try_from(number.integer()?).ok()?,
        name: node.text_at("name"),
        published: host.map(|port| Published {
            address: node.text_at("hostIP").unwrap_or("").to_owned(),
            port: u16::try_from(port).ok(),
        }),
        place: number.place,
    })
}

fn mounted<'tree>(mount: &'tree Node, spec: &'tree Node) -> Option<Mount<'tree>> {
    let path = mount.get("mountPath")?;
    let name = mount.text_at("name");
    let volume = spec
        .list("volumes")
        .iter()
        .find(|volume| name.is_some() && volume.text_at("name") == name);
    let source = volume.map_or(Source::Other("undeclared"), source);
    // These cannot be written whatever the mount says.
    let never_writable = matches!(
        source,
        Source::ConfigMap(_) | Source::Secret(_) | Source::Image(_)
    );
    let claim_read_only = volume
        .and_then(|volume| volume.get("persistentVolumeClaim"))
        .and_then(|claim| claim.boolean_at("readOnly"));
    Some(Mount {
        path: Cow::Borrowed(path.text()?),
        read_only: never_writable
            || mount.boolean_at("readOnly") == Some(true)
            || claim_read_only == Some(true),
        source,
        place: path.place,
        node: mount,
        volume,
    })
}

fn source(volume: &Node) -> Source<'_> {
    let member = |key: &str| volume.get(key);
    let named = |key: &str, name: &'static str| {
        volume
            .get(key)
            .map(|node| node.text_at(name).unwrap_or("?"))
    };
    if let Some(path) = named("hostPath", "path") {
        Source::Host(Cow::Borrowed(path))
    } else if let Some(claim) = named("persistentVolumeClaim", "claimName") {
        Source::Claim(claim)
    } else if let Some(node) = volume
        .entries()
        .iter()
        .find(|entry| entry.key == "emptyDir")
    {
        // `emptyDir: {}` and `emptyDir:` both are scratch space.
        match node.value.text_at("medium") {
            Some("Memory") => Source::Memory,
            _ => Source::Scratch,
        }
    } else if let Some(name) = named("configMap", "name") {
        Source::ConfigMap(name)
    } else if let Some(name) = named("secret", "secretName") {
        Source::Secret(name)
    } else if let Some(reference) = named("image", "reference") {
        Source::Image(reference)
    } else if member("ephemeral").is_some() {
        Source::Scratch
    } else {
        let kind = volume
            .entries()
            .iter()
            .find(|entry| entry.key != "name")
            .map_or("undeclared", |entry| entry.key.as_str());
        Source::Other(kind)
    }
}

/// Whether the namespace of `one` and `other` is the same as far as the documents say.
pub(crate) fn same_namespace(one: &Resource<'_>, other: &Resource<'_>) -> bool {
    one.namespace_or_default() == other.namespace_or_default()
        || one.namespace.is_some_and(is_unresolved)
        || other.namespace.is_some_and(is_unresolved)
}

const MAX_DEPTH: usize = 24;
