//! Puts into a compose file what can be known without its caller: defaults of variables, `extends`, and the
//! files that stand beside it.
//!
//! `${NAME:-default}` becomes its default, `$$` a dollar, and `$NAME` becomes `${NAME}`, so that every value
//! that somebody else fills in looks the same to the rules. Places stay where the text stands.

use std::collections::HashMap;

use crate::node::{Entry, Node, Style, Value};
use crate::place::{FileId, Place};

/// The member that holds the variables of a service's `env_file`s.
pub(crate) const FROM_FILES: &str = "x-casemate-variables-of-files";

/// What could not be put in, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Gives the text of a file beside the compose file, or says why not.
pub(crate) type Beside<'beside> = dyn FnMut(&str) -> Result<(FileId, String), String> + 'beside;

/// Puts in everything that can be known.
pub(crate) fn resolve(root: &mut Node, beside: &mut Beside<'_>) -> Vec<Missing> {
    substitute(root);
    let mut missing = Vec::new();
    let Some(Value::Mapping { entries, .. }) = member(root, "services") else {
        return missing;
    };
    let names: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let mut extender = Extender {
        services: entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect(),
        budget: MAX_COPIED,
        missing: &mut missing,
        beside,
    };
    for name in names {
        let open = &mut vec![name.clone()];
        if let Some(resolved) = extender.service(&name, open) {
            let of_name = entries.iter_mut().find(|entry| entry.key == name);
            if let Some(entry) = of_name {
                entry.value = resolved;
            }
        }
    }
    for entry in entries.iter_mut() {
        files_of(&mut entry.value, beside, &mut missing);
    }
    missing
}

/// Puts in the variables of the files that one service names.
pub(crate) fn resolve_one(service: &mut Node, beside: &mut Beside<'_>) -> Vec<Missing> {
    let mut missing = Vec::new();
    files_of(service, beside, &mut missing);
    missing
}

/// The value of a member, to be changed.
fn member<'node>(node: &'node mut Node, key: &str) -> Option<&'node mut Value> {
    match &mut node.value {
        Value::Mapping { entries, .. } => entries
            .iter_mut()
            .find(|entry| entry.key == key)
            .map(|entry| &mut entry.value.value),
        Value::Scalar { .. } | Value::Sequence { .. } => None,
    }
}

fn substitute(node: &mut Node) {
    match &mut node.value {
        Value::Scalar { text, .. } => {
            if text.contains('$') {
                *text = substituted(text, 0);
            }
        }
        Value::Sequence { items, .. } => items.iter_mut().for_each(substitute),
        Value::Mapping { entries, .. } => entries
            .iter_mut()
            .for_each(|entry| substitute(&mut entry.value)),
    }
}

/// The text with what compose itself can fill in.
fn substituted(text: &str, depth: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let after = from.get(1..).unwrap_or("");
        if let Some(more) = after.strip_prefix('$') {
            out.push('$');
            rest = more;
        } else if let Some((inner, more)) = after.strip_prefix('{').and_then(braced) {
            match default(inner) {
                Some(value) if depth < 8 => out.push_str(&substituted(value, depth + 1)),
                _ => {
                    out.push_str("${");
                    out.push_str(inner);
                    out.push('}');
                }
            }
            rest = more;
        } else {
            let length = after
                .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
                .unwrap_or(after.len());
            let (name, more) = after.split_at(length);
            if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                out.push_str("${");
                out.push_str(name);
                out.push('}');
                rest = more;
            } else {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Splits behind the brace that closes what is open.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}

/// The default in `NAME:-default` or `NAME-default`.
fn default(inner: &str) -> Option<&str> {
    let end =
        inner.find(|character: char| !character.is_ascii_alphanumeric() && character != '_')?;
    let rest = inner.get(end..)?;
    rest.strip_prefix(":-").or_else(|| rest.strip_prefix('-'))
}

/// Follows `extends`.
struct Extender<'out, 'beside> {
    services: HashMap<String, Node>,
    /// How many values may still be copied: a chain that extends itself step by step grows as a square.
    budget: usize,
    missing: &'out mut Vec<Missing>,
    beside: &'out mut Beside<'beside>,
}

impl Extender<'_, '_> {
    /// The service with everything it extends; none when it extends nothing.
    fn service(&mut self, name: &str, open: &mut Vec<String>) -> Option<Node> {
        let own = self.services.get(name)?.clone();
        let extends = own.get("extends")?;
        let place = extends.place;
        let base_name = extends
            .text()
            .or_else(|| extends.text_at("service"))?
            .to_owned();
        let file = extends.text_at("file").map(str::to_owned);
        let base = match file {
            Some(file) => match self.in_file(&file, &base_name) {
                Ok(base) => Some(base),
                Err(reason) => {
                    let message =
                        format!("`{base_name}` of `{file}`, which this service extends: {reason}");
                    self.missing.push(Missing { place, message });
                    return None;
                }
            },
            None if open.contains(&base_name) || open.len() > MAX_EXTENDS => None,
            None => {
                open.push(base_name.clone());
                let resolved = self.service(&base_name, open);
                open.pop();
                resolved.or_else(|| self.services.get(&base_name).cloned())
            }
        };
        let cost = base.as_ref().map(count);
        match (base, cost) {
            (Some(base), Some(cost)) if cost <= self.budget => {
                self.budget -= cost;
                let whole = merged(&base, own);
                self.services
                    .insert(name.to_owned(), without_extends(whole.clone()));
                Some(whole)
            }
            (Some(_), _) => {
                let message = "what the services extend is too much to be read".to_owned();
                self.missing.push(Missing { place, message });
                None
            }
            (None, _) => {
                let message =
                    format!("this extends the service `{base_name}`, which is not in the file");
                self.missing.push(Missing { place, message });
                None
            }
        }
    }

    fn in_file(&mut self, path: &str, service: &str) -> Result<Node, String> {
        let (file, text) = (self.beside)(path)?;
        let mut stream = crate::yaml::read(file, &text);
        if let Some(error) = stream.error {
            return Err(error.message);
        }
        if let Some(doubt) = stream.doubts.pop() {
            return Err(doubt.message);
        }
        let root = stream.documents.first_mut();
        let found = root.and_then(|root| {
            substitute(root);
            root.at(&["services", service]).cloned()
        });
        found.ok_or_else(|| "there is no such service".to_owned())
    }
}

/// A service whose base is already in it.
fn without_extends(mut node: Node) -> Node {
    if let Value::Mapping { entries, .. } = &mut node.value {
        entries.retain(|entry| entry.key != "extends");
    }
    node
}

fn count(node: &Node) -> usize {
    let mut count = 0;
    node.walk(&mut |_| count += 1);
    count
}

/// `own` with what `base` has beyond it: mappings member by member, lists one after the other, commands whole.
fn merged(base: &Node, mut own: Node) -> Node {
    let Value::Mapping { entries, .. } = &mut own.value else {
        return own;
    };
    for entry in base.entries() {
        let Some(mine) = entries.iter_mut().find(|mine| mine.key == entry.key) else {
            // What is not shared between services: their order and their links.
            if !matches!(
                entry.key.as_str(),
                "depends_on" | "extends" | "links" | "volumes_from"
            ) {
                entries.push(entry.clone());
            }
            continue;
        };
        if matches!(
            entry.key.as_str(),
            "command" | "entrypoint" | "test" | "extends"
        ) {
            continue;
        }
        let is_mapping = matches!(mine.value.value, Value::Mapping { .. });
        match (&mut mine.value.value, &entry.value.value) {
            (Value::Sequence { items, .. }, Value::Sequence { items: base, .. }) => {
                items.splice(0..0, base.iter().cloned());
            }
            (Value::Sequence { items, .. }, Value::Mapping { entries: base, .. }) => {
                items.splice(0..0, base.iter().map(as_item));
            }
            (Value::Mapping { entries: mine, .. }, Value::Sequence { items: base, .. }) => {
                let listed: Vec<Entry> = base.iter().filter_map(as_entry).collect();
                for entry in listed {
                    if !mine.iter().any(|own| own.key == entry.key) {
                        mine.push(entry);
                    }
                }
            }
            _ if is_mapping => {
                let taken = mine.value.clone();
                mine.value = merged(&entry.value, taken);
            }
            _ => {}
        }
    }
    own
}

/// `NAME: value` as `NAME=value`.
fn as_item(entry: &Entry) -> Node {
    let text = match entry.value.text() {
        Some(value) => format!("{}={value}", entry.key),
        None => entry.key.clone(),
    };
    Node {
        place: Place {
            end: entry.value.place.end.max(entry.place.end),
            ..entry.place
        },
        value: Value::Scalar {
            text,
            style: Style::Quoted,
        },
    }
}

/// `NAME=value` as `NAME: value`.
fn as_entry(item: &Node) -> Option<Entry> {
    let text = item.text()?;
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let style = if text.contains('=') {
        Style::Quoted
    } else {
        Style::Plain
    };
    Some(Entry {
        place: item.place,
        key: key.to_owned(),
        value: Node {
            place: item.place,
            value: Value::Scalar {
                text: value.to_owned(),
                style,
            },
        },
    })
}

/// Reads the `env_file`s of a service into a member of its own.
fn files_of(service: &mut Node, beside: &mut Beside<'_>, missing: &mut Vec<Missing>) {
    let Some(files) = service.get("env_file") else {
        return;
    };
    let listed = if files.items().is_empty() {
        std::slice::from_ref(files)
    } else {
        files.items()
    };
    let mut variables = Vec::new();
    for item in listed {
        let optional = item.boolean_at("required") == Some(false);
        let Some(path) = item.get("path").unwrap_or(item).text() else {
            continue;
        };
        match beside(path) {
            Ok((file, text)) => crate::environment_file::read(file, &text, &mut variables),
            Err(_) if optional => {}
            Err(reason) => missing.push(Missing {
                place: item.place,
                message: format!("the variables of `{path}`: {reason}"),
            }),
        }
    }
    let place = files.place;
    if let Value::Mapping { entries, .. } = &mut service.value {
        entries.retain(|entry| entry.key != FROM_FILES);
        if !variables.is_empty() {
            entries.push(Entry {
                place,
                key: FROM_FILES.to_owned(),
                value: Node {
                    place,
                    value: Value::Mapping {
                        entries: variables,
                        flow: false,
                    },
                },
            });
        }
    }
}

const MAX_COPIED: usize = 500_000;
const MAX_EXTENDS: usize = 32;
