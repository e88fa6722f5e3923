//! Small trees built here, in the form in which documents are read: facts for the rules to look at.

use crate::node::{Entry, Node, Style, Value};
use crate::place::Place;

/// A single value.
pub(super) fn text(place: Place, text: impl Into<String>) -> Node {
    let value = Value::Scalar {
        text: text.into(),
        style: Style::Quoted,
    };
    Node { place, value }
}

/// A list of texts.
pub(super) fn texts(place: Place, items: Vec<String>) -> Node {
    list(
        place,
        items.into_iter().map(|item| text(place, item)).collect(),
    )
}

/// A list.
pub(super) const fn list(place: Place, items: Vec<Node>) -> Node {
    let value = Value::Sequence { items, flow: false };
    Node { place, value }
}

/// A mapping; members without a value are left out.
pub(super) fn mapping(place: Place, members: Vec<(&str, Option<Node>)>) -> Node {
    let entries = members
        .into_iter()
        .filter_map(|(key, value)| {
            Some(Entry {
                place,
                key: key.to_owned(),
                value: value?,
            })
        })
        .collect();
    let value = Value::Mapping {
        entries,
        flow: false,
    };
    Node { place, value }
}
