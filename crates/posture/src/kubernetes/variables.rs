//! Variables of Kubernetes containers: literals, secrets, and config maps that were read too.
//!
//! What comes from a config map of the estate is a literal with its place there. `$(NAME)` in words and values
//! is filled in as the kubelet does.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::node::{Node, is_unresolved};
use crate::workload::{Container, Given, Origin, Resource, Variable, Workload};

/// The variables in the list `key` of a container. Those that come in a bundle from elsewhere
/// (`envFrom`) are not here: see [`resolve`].
pub(crate) fn environment<'tree>(node: &'tree Node, key: &str) -> Vec<Variable<'tree>> {
    let items = node.list(key).iter();
    items
        .filter_map(|item| variable(item, item.get("name")?))
        .collect()
}

fn variable<'tree>(item: &'tree Node, name: &'tree Node) -> Option<Variable<'tree>> {
    let from = item.get("valueFrom");
    let reference = |key: &str| {
        from.and_then(|from| from.get(key))
            .and_then(|reference| reference.text_at("name"))
    };
    let value = if let Some(value) = item.get("value") {
        Given::Literal {
            text: Cow::Borrowed(value.text().unwrap_or("")),
            place: value.place,
        }
    } else if let Some(secret) = reference("secretKeyRef") {
        Given::Secret(secret)
    } else if let Some(map) = reference("configMapKeyRef") {
        Given::ConfigMap(map)
    } else {
        Given::Elsewhere
    };
    Some(Variable {
        name: Cow::Borrowed(name.text()?),
        place: name.place,
        value,
    })
}

/// Config maps by namespace and name.
type Maps<'tree> = HashMap<(&'tree str, &'tree str), &'tree Node>;

/// Puts in what the config maps of the estate say, and then what variables say of each other.
pub(crate) fn resolve<'tree>(resources: &[Resource<'tree>], workloads: &mut [Workload<'tree>]) {
    let maps: Maps<'tree> = resources
        .iter()
        .filter(|resource| resource.kind == "ConfigMap")
        .filter_map(|resource| {
            let namespace = resource.namespace.unwrap_or("default");
            Some(((namespace, resource.name), resource.node.get("data")?))
        })
        .collect();
    // A map may be small and be named by thousands of containers: what is put in is bounded together.
    let mut budget = MAX_FILLED;
    for workload in workloads {
        if workload.origin != Origin::Kubernetes {
            continue;
        }
        let namespace = workload.resource.namespace.unwrap_or("default");
        for container in &mut workload.containers {
            from_keys(container, namespace, &maps);
            from_bundles(container, namespace, &maps, &mut budget);
            fill_in(container, &mut budget);
        }
    }
}

/// `valueFrom.configMapKeyRef`.
fn from_keys<'tree>(container: &mut Container<'tree>, namespace: &'tree str, maps: &Maps<'tree>) {
    let items = container.node.list("env").iter();
    let named = items.filter(|item| item.get("name").is_some_and(|name| name.text().is_some()));
    for (variable, item) in container.environment.iter_mut().zip(named) {
        let Given::ConfigMap(map) = variable.value else {
            continue;
        };
        let key = item
            .at(&["valueFrom", "configMapKeyRef"])
            .and_then(|from| from.text_at("key"));
        let data = maps.get(&(namespace, map)).copied();
        if let Some((node, text)) = data
            .zip(key)
            .and_then(|(data, key)| data.get(key))
            .and_then(|node| Some((node, node.text()?)))
        {
            variable.value = Given::Literal {
                text: Cow::Borrowed(text),
                place: node.place,
            };
        }
    }
}

/// `envFrom`: all of a config map, before the container's own variables, which win. A secret, or a map that was
/// not read, is one variable named `*`.
fn from_bundles<'tree>(
    container: &mut Container<'tree>,
    namespace: &'tree str,
    maps: &Maps<'tree>,
    budget: &mut usize,
) {
    let mut bundled = Vec::new();
    for item in container.node.list("envFrom") {
        let prefix = item.text_at("prefix").unwrap_or("");
        let map = item.get("configMapRef").and_then(|from| from.get("name"));
        let secret = item.get("secretRef").and_then(|from| from.get("name"));
        let data = map
            .and_then(Node::text)
            .and_then(|name| maps.get(&(namespace, name)));
        let unseen = match (map.or(secret), data) {
            (Some(node), None) => node.text().map(|name| (node, name)),
            _ => None,
        };
        if let Some((node, name)) = unseen {
            bundled.push(Variable {
                name: Cow::Borrowed("*"),
                place: node.place,
                value: if map.is_some() {
                    Given::ConfigMap(name)
                } else {
                    Given::Secret(name)
                },
            });
        }
        for entry in data.map_or(&[][..], |data| data.entries()) {
            if *budget == 0 {
                break;
            }
            *budget = budget.saturating_sub(64 + prefix.len());
            bundled.push(Variable {
                name: match prefix {
                    "" => Cow::Borrowed(entry.key.as_str()),
                    prefix => Cow::Owned(format!("{prefix}{}", entry.key)),
                },
                place: entry.place,
                value: Given::Literal {
                    text: Cow::Borrowed(entry.value.text().unwrap_or("")),
                    place: entry.value.place,
                },
            });
        }
    }
    if !bundled.is_empty() {
        bundled.append(&mut container.environment);
        container.environment = bundled;
    }
}

/// `$(NAME)` in values, by the variables before them, and in words, by all.
fn fill_in(container: &mut Container<'_>, budget: &mut usize) {
    let values = container.environment.iter().any(
        |variable| matches!(&variable.value, Given::Literal { text, .. } if text.contains("$(")),
    );
    let words = container.words.iter().any(|word| word.text.contains("$("));
    if !values && !words {
        return;
    }
    let mut known: HashMap<String, String> = HashMap::new();
    for variable in &mut container.environment {
        if let Given::Literal { text, .. } = &mut variable.value {
            if text.contains("$(") {
                *text = Cow::Owned(filled(text, &known, budget));
            }
            known.insert(variable.name.to_string(), text.to_string());
        } else {
            known.remove(variable.name.as_ref());
        }
    }
    for word in &mut container.words {
        if word.text.contains("$(") {
            word.text = Cow::Owned(filled(&word.text, &known, budget));
        }
    }
}

/// `$(NAME)` by its value where it is known; `$$(NAME)` is the text `$(NAME)`.
fn filled(text: &str, known: &HashMap<String, String>, budget: &mut usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("$(") {
        let (before, from) = rest.split_at(at);
        let escaped = before.ends_with('$');
        out.push_str(if escaped {
            before.get(..at - 1).unwrap_or("")
        } else {
            before
        });
        let inside = from.get(2..).unwrap_or("");
        let Some(end) = inside.find(')') else {
            out.push_str(from);
            return out;
        };
        let (name, more) = (
            inside.get(..end).unwrap_or(""),
            inside.get(end + 1..).unwrap_or(""),
        );
        let value = known
            .get(name)
            .filter(|value| !escaped && !is_unresolved(value) && value.len() <= *budget);
        match value {
            Some(value) => {
                *budget -= value.len();
                out.push_str(value);
            }
            None => {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
        }
        rest = more;
    }
    out.push_str(rest);
    out
}

/// How many bytes may be put in altogether.
const MAX_FILLED: usize = 32 * 1024 * 1024;
