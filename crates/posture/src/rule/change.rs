//! An edit that puts a finding right, said against the tree and applied to the text by [`crate::fix`].

use crate::node::{Entry, Node, Value};
use crate::place::{FileId, Place};

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes `text` in place of what stands there.
    Replace {
        /// What is replaced: one whole value.
        place: Place,
        /// The new value, as YAML of one line.
        text: String,
    },
    /// Adds a value under a path of keys that the mapping does not have.
    Add {
        /// The mapping: it starts at its first key, or at its bracket.
        mapping: Place,
        /// Whether the mapping is written in `{ }`.
        flow: bool,
        /// The keys, from the outside in; all but the last become mappings of their own.
        path: Vec<String>,
        /// The value, as YAML of one line.
        text: String,
    },
    /// Writes a mapping where nothing stands yet: after `key:`, or in place of `{}`.
    Open {
        /// The empty value.
        place: Place,
        /// The keys, from the outside in.
        path: Vec<String>,
        /// The value, as YAML of one line.
        text: String,
    },
    /// Adds one member to the end of a list.
    Append {
        /// The list.
        list: Place,
        /// Whether the list is written in `[ ]`.
        flow: bool,
        /// The member, as YAML of one line.
        text: String,
    },
    /// Removes a member of a mapping or of a list, and the list or mapping itself when it was the only one.
    Remove {
        /// From the start of the key (or of the list's member) to the end of the value.
        place: Place,
    },
}

impl Change {
    /// The edit that makes the value at `path` below the mapping `node` be `text`.
    ///
    /// None when something in between is there and no mapping.
    #[must_use]
    pub fn set(node: &Node, path: &[&str], text: &str) -> Option<Self> {
        let Value::Mapping { entries, flow } = &node.value else {
            return None;
        };
        let (first, rest) = path.split_first()?;
        let entry = entries.iter().find(|entry| entry.key == *first);
        match (entry, rest.is_empty()) {
            (Some(entry), true) => Some(Self::Replace {
                place: entry.value.place,
                text: text.to_owned(),
            }),
            (Some(entry), false) if entry.value.is_null() || is_empty(&entry.value) => {
                Some(Self::Open {
                    place: entry.value.place,
                    path: rest.iter().map(|key| (*key).to_owned()).collect(),
                    text: text.to_owned(),
                })
            }
            (Some(entry), false) => Self::set(&entry.value, rest, text),
            (None, _) => Some(Self::Add {
                mapping: node.place,
                flow: *flow,
                path: path.iter().map(|key| (*key).to_owned()).collect(),
                text: text.to_owned(),
            }),
        }
    }

    /// The edit that writes `text` in place of the value `node`.
    #[must_use]
    pub fn replace(node: &Node, text: &str) -> Self {
        Self::Replace {
            place: node.place,
            text: text.to_owned(),
        }
    }

    /// The edit that removes a member of a mapping.
    #[must_use]
    pub fn remove(entry: &Entry) -> Self {
        let end = entry.value.place.end.max(entry.place.end);
        Self::Remove {
            place: Place { end, ..entry.place },
        }
    }

    /// The edit that removes a member of a list.
    #[must_use]
    pub const fn remove_item(item: &Node) -> Self {
        Self::Remove { place: item.place }
    }

    /// The file that it edits.
    #[must_use]
    pub const fn file(&self) -> FileId {
        match self {
            Self::Replace { place, .. } | Self::Open { place, .. } | Self::Remove { place } => {
                place.file
            }
            Self::Add { mapping, .. } => mapping.file,
            Self::Append { list, .. } => list.file,
        }
    }

    /// The edit that adds `text` to the end of the list `node`; none when it is no list.
    #[must_use]
    pub fn append(node: &Node, text: &str) -> Option<Self> {
        match &node.value {
            Value::Sequence { flow, .. } => Some(Self::Append {
                list: node.place,
                flow: *flow,
                text: text.to_owned(),
            }),
            Value::Scalar { .. } | Value::Mapping { .. } => None,
        }
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Mapping { entries, .. } if entries.is_empty())
}
