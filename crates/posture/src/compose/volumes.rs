//! Mounts of a compose service: volumes in short and long form, scratch space, secrets, configurations.

use std::borrow::Cow;

use super::ports::split;
use crate::node::Node;
use crate::workload::{Mount, Source};

/// What is mounted into a service; `root` declares the named volumes.
pub(crate) fn mounts<'tree>(service: &'tree Node, root: &'tree Node) -> Vec<Mount<'tree>> {
    let mut found = Vec::new();
    for item in service.list("volumes") {
        found.extend(match item.text() {
            Some(text) => short(item, text, root),
            None => long(item, root),
        });
    }
    for item in one_or_many(service.get("tmpfs")) {
        let Some(text) = item.text() else { continue };
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        found.push(Mount {
            path: Cow::Borrowed(path),
            read_only: options.split(',').any(|option| option == "ro"),
            source: Source::Memory,
            place: item.place,
            node: item,
            volume: None,
        });
    }
    for item in service.list("secrets") {
        let Some(name) = item.text().or_else(|| item.text_at("source")) else {
            continue;
        };
        let path = match item.text_at("target") {
            Some(target) if target.starts_with('/') => Cow::Borrowed(target),
            target => Cow::Owned(format!("/run/secrets/{}", target.unwrap_or(name))),
        };
        found.push(read_only(
            item,
            path,
            Source::Secret(name),
            root,
            "secrets",
            name,
        ));
    }
    for item in service.list("configs") {
        let Some(name) = item.text().or_else(|| item.text_at("source")) else {
            continue;
        };
        let path = match item.text_at("target") {
            Some(target) => Cow::Borrowed(target),
            None => Cow::Owned(format!("/{name}")),
        };
        found.push(read_only(
            item,
            path,
            Source::ConfigMap(name),
            root,
            "configs",
            name,
        ));
    }
    found
}

fn one_or_many(node: Option<&Node>) -> &[Node] {
    match node {
        Some(node) if node.text().is_some() => std::slice::from_ref(node),
        Some(node) => node.items(),
        None => &[],
    }
}

fn read_only<'tree>(
    item: &'tree Node,
    path: Cow<'tree, str>,
    source: Source<'tree>,
    root: &'tree Node,
    section: &str,
    name: &str,
) -> Mount<'tree> {
    Mount {
        path,
        read_only: true,
        source,
        place: item.place,
        node: item,
        volume: root.at(&[section, name]),
    }
}

/// `[SOURCE:]TARGET[:MODE]`.
fn short<'tree>(item: &'tree Node, text: &'tree str, root: &'tree Node) -> Option<Mount<'tree>> {
    let parts = split(text.trim());
    let (source, path, mode) = match *parts.as_slice() {
        [path] => (None, path, ""),
        // `data:ro` is no volume of that name mounted at `ro`: a target is a path.
        [source, path] => (Some(source), path, ""),
        [source, path, mode] => (Some(source), path, mode),
        _ => return None,
    };
    let (source, volume) = match source {
        None => (Source::Scratch, None),
        Some(source) if is_path(source) => (Source::Host(Cow::Borrowed(source)), None),
        Some(name) => named(name, root),
    };
    Some(Mount {
        path: Cow::Borrowed(path),
        read_only: mode
            .split(',')
            .any(|option| matches!(option, "ro" | "readonly")),
        source,
        place: item.place,
        node: item,
        volume,
    })
}

fn long<'tree>(item: &'tree Node, root: &'tree Node) -> Option<Mount<'tree>> {
    let path = item.get("target")?;
    let name = item.text_at("source");
    let kind = item.text_at("type").unwrap_or("volume");
    let (source, volume) = match (kind, name) {
        ("bind", Some(source)) => (Source::Host(Cow::Borrowed(source)), None),
        ("volume", Some(name)) if is_path(name) => (Source::Host(Cow::Borrowed(name)), None),
        ("volume", Some(name)) => named(name, root),
        ("volume", None) => (Source::Scratch, None),
        ("tmpfs", _) => (Source::Memory, None),
        ("image", Some(reference)) => (Source::Image(reference), None),
        (kind, _) => (Source::Other(kind), None),
    };
    Some(Mount {
        path: Cow::Borrowed(path.text()?),
        read_only: kind == "image"
            || item.boolean_at("read_only") == Some(true)
            || item.boolean_at("readonly") == Some(true),
        source,
        place: name.and_then(|_| item.get("source")).unwrap_or(path).place,
        node: item,
        volume,
    })
}

/// A path of the host starts like one; everything else is a volume's name. A variable that is not filled in is
/// taken for a path, which is what vendors' files put there.
fn is_path(source: &str) -> bool {
    source.starts_with(['/', '.', '~', '$'])
}

/// A volume by its name. One that the engine is told to bind to a path of the host is that path.
fn named<'tree>(name: &'tree str, root: &'tree Node) -> (Source<'tree>, Option<&'tree Node>) {
    let volume = root.at(&["volumes", name]);
    let options = volume.and_then(|volume| volume.get("driver_opts"));
    let bound = options
        .filter(|options| {
            options.text_at("o").is_some_and(|o| {
                o.split(',')
                    .any(|option| matches!(option, "bind" | "rbind"))
            })
        })
        .and_then(|options| options.text_at("device"));
    let source = match bound {
        Some(path) => Source::Host(Cow::Borrowed(path)),
        None => Source::Named(Cow::Borrowed(name)),
    };
    (source, volume)
}
