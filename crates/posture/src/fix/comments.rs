//! Which comments a text has, to see that none is lost.

use std::collections::BTreeMap;

use crate::node::Node;
use crate::place::FileId;
use crate::yaml;

/// Whether every comment of `before` is still in `after`.
pub(super) fn kept(before: &str, after: &str) -> bool {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for comment in all(after) {
        *counts.entry(comment).or_insert(0) += 1;
    }
    all(before)
        .into_iter()
        .all(|comment| match counts.get_mut(&comment) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            Some(_) | None => false,
        })
}

/// Every comment of a YAML text, without the blanks around it.
pub(crate) fn all(text: &str) -> Vec<String> {
    let mut values: Vec<(usize, usize)> = Vec::new();
    for document in yaml::read(FileId::default(), text).documents {
        scalars(&document, &mut values);
    }
    values.sort_unstable();
    within(text, 0, text.len(), &values)
}

/// The comments between two bytes, given where values stand.
fn within(text: &str, start: usize, end: usize, values: &[(usize, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = values.iter().peekable();
    let mut at = start;
    let bytes = text.as_bytes();
    while at < end {
        while next.next_if(|(_, value_end)| *value_end <= at).is_some() {}
        if let Some((value_start, value_end)) = next.peek()
            && *value_start <= at
        {
            at = *value_end;
            continue;
        }
        let blank = at == 0 || bytes.get(at - 1).is_some_and(u8::is_ascii_whitespace);
        if bytes.get(at) == Some(&b'#') && blank {
            let line = text.get(at..).unwrap_or("").lines().next().unwrap_or("");
            found.push(line.trim_end().to_owned());
            at += line.len();
        } else {
            at += 1;
        }
    }
    found
}

/// The comments that stand between two bytes of a text.
pub(super) fn between(text: &str, documents: &[&Node], start: usize, end: usize) -> Vec<String> {
    let mut values = Vec::new();
    for document in documents {
        scalars(document, &mut values);
    }
    values.sort_unstable();
    within(text, start, end, &values)
}

fn scalars(node: &Node, into: &mut Vec<(usize, usize)>) {
    let mut add = |start: u32, end: u32| {
        if let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end))
            && start < end
        {
            into.push((start, end));
        }
    };
    if node.items().is_empty() && node.entries().is_empty() && node.text().is_some() {
        add(node.place.start, node.place.end);
    }
    for entry in node.entries() {
        add(entry.place.start, entry.place.end);
    }
    for item in node.items() {
        scalars(item, into);
    }
    for entry in node.entries() {
        scalars(&entry.value, into);
    }
}
