//! A document as a tree in which every value knows its place.
//!
//! YAML, JSON and TOML all become this. Scalars keep their text and how it was written: the rule that reads
//! one decides what it is, with YAML 1.1's idea of a boolean, which is what Kubernetes and compose have.

use crate::place::Place;

/// One value.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands. A block collection starts at its first entry.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A single value.
    Scalar {
        /// The text, unescaped.
        text: String,
        /// How it was written.
        style: Style,
    },
    /// A list.
    Sequence {
        /// The members.
        items: Vec<Node>,
        /// Whether it is written in `[ ]`.
        flow: bool,
    },
    /// A mapping.
    Mapping {
        /// The members, in the order of the file.
        entries: Vec<Entry>,
        /// Whether it is written in `{ }`.
        flow: bool,
    },
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As a block, `|` or `>`.
    Block,
}

/// One member of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where the key stands.
    pub place: Place,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The member `key` of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The member `key` of a mapping with the place of its key. Members that say nothing (`key:` or `null`)
    /// count as absent, as they do for Kubernetes.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key && !entry.value.is_null())
    }

    /// The value at a path of keys, such as `["spec", "template", "spec"]`.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The members of a mapping; nothing for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping { entries, .. } => entries,
            Value::Scalar { .. } | Value::Sequence { .. } => &[],
        }
    }

    /// The members of a list; nothing for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence { items, .. } => items,
            Value::Scalar { .. } | Value::Mapping { .. } => &[],
        }
    }

    /// The members of the list `key`; nothing when there is none.
    #[must_use]
    pub fn list(&self, key: &str) -> &[Self] {
        self.get(key).map_or(&[], Self::items)
    }

    /// The text of a scalar that says something.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            Value::Scalar { .. } | Value::Sequence { .. } | Value::Mapping { .. } => None,
        }
    }

    /// The text of the scalar `key`.
    #[must_use]
    pub fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::text)
    }

    /// A boolean as YAML 1.1 has it: `true`, `yes`, `on`, `y` and their opposites, without quotes.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        let Value::Scalar {
            text,
            style: Style::Plain,
        } = &self.value
        else {
            return None;
        };
        match text.as_str() {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Some(true)
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => Some(false),
            _ => None,
        }
    }

    /// The boolean `key`.
    #[must_use]
    pub fn boolean_at(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Self::boolean)
    }

    /// A whole number, in quotes or not.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        self.text()?.parse().ok()
    }

    /// Whether the node says "nothing": an empty value, `~` or `null` without quotes.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, style: Style::Plain }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether the value is not known yet: a template, or a variable that somebody else fills in. A rule must
    /// not judge it, and must not be silent about it either.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        self.text().is_some_and(is_unresolved)
    }

    /// Calls `visit` for this node and everything below it, outside first.
    pub fn walk<'node>(&'node self, visit: &mut dyn FnMut(&'node Self)) {
        visit(self);
        for item in self.items() {
            item.walk(visit);
        }
        for entry in self.entries() {
            entry.value.walk(visit);
        }
    }
}

/// Whether a text has a part that somebody else fills in: `{{ .Values.x }}`, `${NAME}`, `%(name)s` or `<your-key>`.
#[must_use]
pub fn is_unresolved(text: &str) -> bool {
    // Every form has one of these, and nearly no text does.
    if !text.bytes().any(|byte| matches!(byte, b'{' | b'<')) {
        return false;
    }
    let placeholder = text.len() > 2
        && text.starts_with('<')
        && text.ends_with('>')
        && !text.contains([' ', '/', '\n']);
    (text.contains("{{") && text.contains("}}")) || text.contains("${") || placeholder
}

#[cfg(test)]
mod tests;
