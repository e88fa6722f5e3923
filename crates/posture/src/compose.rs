//! Compose services, and `docker run` lines in their form, as workloads.
//!
//! Short and long forms of ports, volumes and variables become the same thing. What a caller's environment
//! would fill in stays unresolved; defaults and `extends` were put in when the file was read, see [`resolve`].

use std::borrow::Cow;

use crate::estate::{Document, Kind};
use crate::kubernetes::command_words;
use crate::node::{Node, Style, Value};
use crate::place::Place;
use crate::workload::{
    Container, Given, Image, Origin, Resource, Role, Variable, Word, Workload, shell_words,
};

mod ports;
pub(crate) mod resolve;
mod volumes;

/// The workloads of a compose file, or the one of a command line.
pub(crate) fn workloads<'tree>(document: &'tree Document, into: &mut Vec<Workload<'tree>>) {
    let root = &document.root;
    // Ranges are written in a few bytes and hold thousands of ports: their sum is bounded for the file.
    let mut budget = ports::MAX_PORTS;
    if document.kind == Kind::DockerRun {
        let name = root.text_at("container_name").or_else(|| image_name(root));
        let named = Named {
            kind: "docker run",
            name: name.unwrap_or("?"),
            place: root.place,
        };
        into.push(workload(Origin::DockerRun, &named, root, root, &mut budget));
        return;
    }
    for entry in root.get("services").map_or(&[][..], Node::entries) {
        let named = Named {
            kind: "service",
            name: &entry.key,
            place: entry.place,
        };
        if entry.value.entries().is_empty() {
            continue;
        }
        into.push(workload(
            Origin::Compose,
            &named,
            &entry.value,
            root,
            &mut budget,
        ));
    }
}

struct Named<'tree> {
    kind: &'static str,
    name: &'tree str,
    place: Place,
}

/// The last part of an image's name: what people call the thing that has no name.
fn image_name(service: &Node) -> Option<&str> {
    let repository = Image::parse(service.text_at("image")?, Place::default()).repository;
    repository
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
}

fn workload<'tree>(
    origin: Origin,
    named: &Named<'tree>,
    service: &'tree Node,
    root: &'tree Node,
    budget: &mut usize,
) -> Workload<'tree> {
    let container = Container {
        name: named.name,
        role: Role::Main,
        node: service,
        image: service.get("image").and_then(Image::of),
        words: words(service),
        environment: environment(service),
        ports: ports::ports(service, budget),
        mounts: volumes::mounts(service, root),
        server: None,
    };
    Workload {
        resource: Resource {
            kind: named.kind,
            api_version: "",
            namespace: None,
            name: named.name,
            place: named.place,
            node: service,
        },
        origin,
        labels: labels(service.get("labels")),
        annotations: labels(service.get("annotations")),
        pod: service,
        containers: vec![container],
    }
}

/// The pairs of a mapping, or of a list of `name=value`.
fn labels(node: Option<&Node>) -> Vec<(&str, &str)> {
    let listed = node.map_or(&[][..], Node::items);
    let mut found = crate::kubernetes::pairs(node);
    found.extend(
        listed
            .iter()
            .filter_map(|item| Some(item.text()?.split_once('=').unwrap_or((item.text()?, "")))),
    );
    found
}

fn words(service: &Node) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for key in ["entrypoint", "command"] {
        let Some(node) = service.get(key) else {
            continue;
        };
        match node.text() {
            Some(text) => words.extend(shell_words(text).into_iter().map(|word| Word {
                text: Cow::Owned(word),
                place: node.place,
            })),
            None => command_words(node.items(), &mut words),
        }
    }
    words
}

/// The variables of a service: those of its files first, since its own win.
fn environment(service: &Node) -> Vec<Variable<'_>> {
    let mut variables = Vec::new();
    for key in [resolve::FROM_FILES, "environment"] {
        let Some(node) = service.get(key) else {
            continue;
        };
        for entry in node.entries() {
            // `NAME:` with nothing behind it comes from the caller; `NAME: ""` is empty.
            let value = match entry.value.text() {
                Some(text) => Given::Literal {
                    text: Cow::Borrowed(text),
                    place: entry.value.place,
                },
                None => Given::Elsewhere,
            };
            variables.push(Variable {
                name: Cow::Borrowed(&entry.key),
                place: entry.place,
                value,
            });
        }
        for item in node.items() {
            let Some(text) = item.text() else { continue };
            variables.push(variable(item, text));
        }
    }
    variables
}

fn variable<'tree>(item: &Node, text: &'tree str) -> Variable<'tree> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (
            name,
            Given::Literal {
                text: Cow::Borrowed(value),
                place: part(item, name.len() + 1, value.len()),
            },
        ),
        None => (text, Given::Elsewhere),
    };
    Variable {
        name: Cow::Borrowed(name.trim()),
        place: part(item, 0, name.len()),
        value,
    }
}

/// The place of a part of a scalar's text, when it stands in the file as it is; else that of the whole.
pub(crate) fn part(node: &Node, start: usize, length: usize) -> Place {
    let Value::Scalar { text, style } = &node.value else {
        return node.place;
    };
    let quote = match style {
        Style::Plain => 0,
        Style::Quoted => 1,
        Style::Block => return node.place,
    };
    let written = node.place.end.saturating_sub(node.place.start);
    let verbatim = u32::try_from(text.len() + 2 * quote) == Ok(written) && !text.contains('\n');
    let before = text.get(..start);
    let numbers = before.and_then(|before| {
        let column = u32::try_from(before.chars().count() + quote).ok()?;
        Some((
            column,
            u32::try_from(start + quote).ok()?,
            u32::try_from(length).ok()?,
        ))
    });
    match numbers {
        Some((column, start, length)) if verbatim => Place {
            column: node.place.column + column,
            start: node.place.start + start,
            end: node.place.start + start + length,
            ..node.place
        },
        _ => node.place,
    }
}

#[cfg(test)]
mod tests;
