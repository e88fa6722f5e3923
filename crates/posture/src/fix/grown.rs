//! What is added to a mapping or a list, put together from several findings and written in the file's own form.

use crate::node::{Node, Style, Value};
use crate::place::FileId;
use crate::yaml;

/// A value that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grown {
    /// A scalar, a list of scalars, or something empty: as it is, and as JSON.
    Leaf { yaml: String, json: String },
    /// A mapping, in the order in which its members came.
    Mapping(Vec<(String, Self)>),
    /// A list with mappings in it.
    List(Vec<Self>),
}

impl Grown {
    /// The value of a text: YAML of one line. None when it is not that.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.contains(['\n', '\r']) {
            return None;
        }
        let stream = yaml::read(FileId::default(), text);
        match (stream.error, stream.documents.as_slice()) {
            (None, [document]) => Some(Self::of(document, text)),
            // `null` says nothing, so the reader gives no document.
            (None, []) => Some(Self::Leaf {
                yaml: text.to_owned(),
                json: "null".to_owned(),
            }),
            _ => None,
        }
    }

    fn of(node: &Node, text: &str) -> Self {
        match &node.value {
            Value::Mapping { entries, .. } if !entries.is_empty() => Self::Mapping(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), Self::of(&entry.value, text)))
                    .collect(),
            ),
            Value::Sequence { items, .. }
                if items.iter().any(|item| !item.entries().is_empty()) =>
            {
                Self::List(items.iter().map(|item| Self::of(item, text)).collect())
            }
            Value::Mapping { .. } | Value::Sequence { .. } | Value::Scalar { .. } => {
                let range = usize::try_from(node.place.start)
                    .ok()
                    .zip(usize::try_from(node.place.end).ok());
                let written = range
                    .and_then(|(start, end)| text.get(start..end))
                    .unwrap_or("");
                Self::Leaf {
                    yaml: if written.is_empty() { "null" } else { written }.to_owned(),
                    json: json(node).to_string(),
                }
            }
        }
    }

    /// Puts `value` under `path`, beside what is there. False when something else is there already.
    pub(super) fn put(&mut self, path: &[String], value: &Self) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return self.join(value);
        };
        let Self::Mapping(members) = self else {
            return false;
        };
        match members.iter_mut().find(|(key, _)| key == first) {
            Some((_, member)) => member.put(rest, value),
            None => {
                members.push((first.clone(), value.clone().under(rest)));
                true
            }
        }
    }

    fn join(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mapping(own), Self::Mapping(more)) => more.iter().all(|(key, value)| match own
                .iter_mut()
                .find(|(name, _)| name == key)
            {
                Some((_, member)) => member.join(value),
                None => {
                    own.push((key.clone(), value.clone()));
                    true
                }
            }),
            (own, other) => own == other,
        }
    }

    fn under(self, path: &[String]) -> Self {
        path.iter()
            .rev()
            .fold(self, |value, key| Self::Mapping(vec![(key.clone(), value)]))
    }

    /// In one line, in brackets.
    pub(super) fn flow(&self, as_json: bool) -> String {
        match self {
            Self::Leaf { json, .. } if as_json => json.clone(),
            Self::Leaf { yaml, .. } => yaml.clone(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.flow(as_json)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Mapping(_) => format!("{{{}}}", self.members(as_json)),
        }
    }

    /// The members of a mapping in one line, without brackets.
    pub(super) fn members(&self, as_json: bool) -> String {
        let Self::Mapping(members) = self else {
            return self.flow(as_json);
        };
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{}: {}", key(name, as_json), value.flow(as_json)))
            .collect();
        members.join(", ")
    }

    /// The members of a mapping in lines of their own.
    pub(super) fn lines(&self, column: usize, step: usize, into: &mut Vec<String>) {
        let indent = " ".repeat(column);
        match self {
            Self::Mapping(members) => {
                for (name, value) in members {
                    let name = key(name, false);
                    match value {
                        Self::Leaf { yaml, .. } => into.push(format!("{indent}{name}: {yaml}")),
                        Self::Mapping(_) | Self::List(_) => {
                            into.push(format!("{indent}{name}:"));
                            value.lines(column + step, step, into);
                        }
                    }
                }
            }
            Self::List(items) => {
                for item in items {
                    item.member(column, step, into);
                }
            }
            Self::Leaf { yaml, .. } => into.push(format!("{indent}{yaml}")),
        }
    }

    /// The value as a member of a list, in lines of its own.
    pub(super) fn member(&self, column: usize, step: usize, into: &mut Vec<String>) {
        let mut lines = Vec::new();
        self.lines(column + 2, step, &mut lines);
        for (at, line) in lines.into_iter().enumerate() {
            let content = line.get(column + 2..).unwrap_or("");
            let lead = if at == 0 { "- " } else { "  " };
            into.push(format!("{}{lead}{content}", " ".repeat(column)));
        }
    }
}

fn key(name: &str, as_json: bool) -> String {
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !matches!(
            name.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if plain && !as_json {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Sequence { items, .. } => items.iter().map(json).collect(),
        Value::Mapping { entries, .. } => entries
            .iter()
            .map(|entry| (entry.key.clone(), json(&entry.value)))
            .collect(),
        Value::Scalar { .. } if node.is_null() => serde_json::Value::Null,
        Value::Scalar {
            text,
            style: Style::Plain,
        } => match node.boolean() {
            Some(boolean) => boolean.into(),
            None => text
                .parse::<serde_json::Number>()
                .map_or_else(|_| text.as_str().into(), Into::into),
        },
        Value::Scalar { text, .. } => text.as_str().into(),
    }
}
