//! What the readers of Kubernetes and of compose make of a text, where that is not what YAML 1.2 says.
//!
//! `kubectl` and Helm read YAML 1.1: a tag changes what a scalar is, the last of two equal keys counts, `<<`
//! overrides what stands before it, and some characters end a line that end none here. Whoever wants to show
//! one thing to a scanner and another to a cluster uses exactly these, so each is read their way or told.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use saphyr_parser::Tag;

use crate::node::{Entry, Node, Style, Value};
use crate::place::Place;

/// A scalar as its tag says it is read; an error when the tag does not fit the text.
pub(super) fn tagged(
    tag: Option<&Tag>,
    text: String,
    style: Style,
) -> Result<(String, Style), &'static str> {
    // Written as `!!bool`, in full, or with a prefix that a `%TAG` line makes up.
    let whole = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
    let known = whole
        .as_deref()
        .and_then(|whole| whole.strip_prefix("tag:yaml.org,2002:"));
    let Some(known) = known else {
        return Ok((text, style));
    };
    match known {
        "bool" | "int" | "float" | "null" => Ok((text, Style::Plain)),
        "str" if style == Style::Plain => Ok((text, Style::Quoted)),
        "binary" => {
            let packed: String = text.split_whitespace().collect();
            STANDARD
                .decode(packed)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(|text| (text, Style::Quoted))
                .ok_or("`!!binary` that is no text: it cannot be told what this becomes")
        }
        _ => Ok((text, style)),
    }
}

/// Leaves the last of equal keys, in the place of the first. Gives the places of those that count no more.
pub(super) fn last_of_equal_keys(entries: &mut Vec<Entry>) -> Vec<(Place, String)> {
    let mut known: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut beaten = Vec::new();
    for entry in entries.drain(..) {
        match known.get(&entry.key).and_then(|at| kept.get_mut(*at)) {
            Some(earlier) => {
                beaten.push((entry.place, entry.key.clone()));
                *earlier = entry;
            }
            None => {
                known.insert(entry.key.clone(), kept.len());
                kept.push(entry);
            }
        }
    }
    *entries = kept;
    beaten
}

/// What `<<:` names, and how many members stood before it.
pub(super) struct Merge {
    pub(super) source: Node,
    pub(super) before: usize,
}

/// Puts in what `<<:` names: own members win, and earlier sources over later ones. Gives the places of the own
/// members that Kubernetes would overwrite with something else, since they stand before the `<<`.
pub(super) fn merge(entries: &mut Vec<Entry>, merges: Vec<Merge>) -> Vec<(Place, String)> {
    let mut contested = Vec::new();
    if merges.is_empty() {
        return contested;
    }
    let own = entries.len();
    let mut known: HashMap<String, usize> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.key.clone(), at))
        .collect();
    for merge in merges {
        let sources = match merge.source.value {
            Value::Sequence { items, .. } => items,
            Value::Mapping { .. } => vec![merge.source],
            Value::Scalar { .. } => Vec::new(),
        };
        for source in sources {
            let Value::Mapping { entries: more, .. } = source.value else {
                continue;
            };
            for entry in more {
                match known.get(&entry.key) {
                    None => {
                        known.insert(entry.key.clone(), entries.len());
                        entries.push(entry);
                    }
                    Some(at) if *at < own.min(merge.before) => {
                        let earlier = entries.get(*at);
                        if let Some(earlier) = earlier.filter(|own| !same(&own.value, &entry.value))
                        {
                            contested.push((earlier.place, entry.key));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }
    contested
}

/// Whether two values say the same, wherever they stand.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (
            Value::Scalar { text, style },
            Value::Scalar {
                text: its,
                style: s,
            },
        ) => text == its && (*style == Style::Plain) == (*s == Style::Plain),
        (Value::Sequence { items, .. }, Value::Sequence { items: its, .. }) => {
            items.len() == its.len() && items.iter().zip(its).all(|(one, other)| same(one, other))
        }
        (Value::Mapping { entries, .. }, Value::Mapping { entries: its, .. }) => {
            entries.len() == its.len()
                && entries
                    .iter()
                    .zip(its)
                    .all(|(one, other)| one.key == other.key && same(&one.value, &other.value))
        }
        _ => false,
    }
}

/// The first character that ends a line for YAML 1.1 and none for YAML 1.2: what follows it in a comment is a
/// comment here, and a line of the manifest there. JSON has no comments, and its readers no such line ends.
pub(super) fn foreign_line_end(text: &str) -> Option<usize> {
    let at = text.find(['\u{85}', '\u{2028}', '\u{2029}'])?;
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    (!is_json).then_some(at)
}
