//! Takes members of mappings and lists out of a text, with their lines and commas and without their comments.

use std::collections::BTreeSet;

use super::edit::Edit;
use super::{comments, text};
use crate::node::{Node, Value};
use crate::place::Place;

/// Who a removal is for: the reason when it cannot be made.
type Refused = (usize, String);

/// Where a node is: the document, then the number of the member at each level.
type Path = Vec<usize>;

/// The edits that remove `places`. A mapping or list whose members all go is removed itself, unless something
/// is added to it (`busy`).
pub(super) fn edits(
    text: &str,
    roots: &[&Node],
    places: &[(Place, Vec<usize>)],
    busy: &dyn Fn(&Node) -> bool,
) -> Result<Vec<Edit>, Refused> {
    let mut removed: BTreeSet<Path> = BTreeSet::new();
    let mut by: Vec<usize> = Vec::new();
    for (place, asked) in places {
        let found = roots.iter().enumerate().find_map(|(document, root)| {
            let mut path = vec![document];
            find(root, *place, &mut path).then_some(path)
        });
        let refuse = || {
            (
                asked.iter().copied().max().unwrap_or(0),
                "it cannot be taken out".to_owned(),
            )
        };
        removed.insert(found.ok_or_else(refuse)?);
        by.extend(asked);
    }
    collapse(roots, &mut removed, busy);
    let parents: BTreeSet<Path> = removed
        .iter()
        .filter_map(|path| path.split_last().map(|(_, parent)| parent.to_vec()))
        .collect();
    let mut edits = Vec::new();
    for parent in parents {
        let gone = |member: usize| {
            let mut path = parent.clone();
            path.push(member);
            removed.contains(&path)
        };
        let refuse = || {
            (
                by.iter().copied().max().unwrap_or(0),
                "it shares its line with something else".to_owned(),
            )
        };
        let node = at(roots, &parent).ok_or_else(refuse)?;
        let cut = Cut {
            text,
            roots,
            by: &by,
        };
        cut.members(node, &gone, &mut edits).ok_or_else(refuse)?;
    }
    Ok(edits)
}

fn find(node: &Node, place: Place, path: &mut Path) -> bool {
    for (number, member) in members(node).into_iter().enumerate() {
        path.push(number);
        if (member.start, member.end) == (place.start, place.end) {
            return true;
        }
        let child = child(node, number);
        if child.is_some_and(|child| find(child, place, path)) {
            return true;
        }
        path.pop();
    }
    false
}

/// The stretch of each member; that of a mapping begins with the key.
fn members(node: &Node) -> Vec<Place> {
    match &node.value {
        Value::Sequence { items, .. } => items.iter().map(|item| item.place).collect(),
        Value::Mapping { entries, .. } => entries
            .iter()
            .map(|entry| Place {
                end: entry.value.place.end.max(entry.place.end),
                ..entry.place
            })
            .collect(),
        Value::Scalar { .. } => Vec::new(),
    }
}

fn child(node: &Node, number: usize) -> Option<&Node> {
    node.items()
        .get(number)
        .or_else(|| node.entries().get(number).map(|entry| &entry.value))
}

fn at<'node>(roots: &[&'node Node], path: &[usize]) -> Option<&'node Node> {
    let (document, rest) = path.split_first()?;
    rest.iter()
        .try_fold(*roots.get(*document)?, |node, number| child(node, *number))
}

fn collapse(roots: &[&Node], removed: &mut BTreeSet<Path>, busy: &dyn Fn(&Node) -> bool) {
    loop {
        let full = removed.iter().find_map(|path| {
            let (_, parent) = path.split_last()?;
            let node = at(roots, parent)?;
            // A document is never removed, however little is left of it.
            (parent.len() > 1 && !busy(node)).then_some(())?;
            let all = (0..members(node).len()).all(|number| {
                let mut path = parent.to_vec();
                path.push(number);
                removed.contains(&path)
            });
            all.then(|| parent.to_vec())
        });
        let Some(parent) = full else { return };
        removed.retain(|path| !path.starts_with(&parent));
        removed.insert(parent);
    }
}

struct Cut<'text> {
    text: &'text str,
    roots: &'text [&'text Node],
    by: &'text [usize],
}

impl Cut<'_> {
    fn members(
        &self,
        node: &Node,
        gone: &dyn Fn(usize) -> bool,
        edits: &mut Vec<Edit>,
    ) -> Option<()> {
        let places = members(node);
        let flow = match &node.value {
            Value::Sequence { flow, .. } | Value::Mapping { flow, .. } => *flow,
            Value::Scalar { .. } => return None,
        };
        let mut at = 0;
        while at < places.len() {
            if !gone(at) {
                at += 1;
                continue;
            }
            let first = at;
            while at < places.len() && gone(at) {
                at += 1;
            }
            let run = places.get(first..at)?;
            let before = first.checked_sub(1).and_then(|before| places.get(before));
            let after = places.get(at);
            edits.push(if flow {
                self.flow(run, before, after)?
            } else {
                self.block(run, after, matches!(node.value, Value::Sequence { .. }))?
            });
        }
        Some(())
    }

    fn flow(&self, run: &[Place], before: Option<&Place>, after: Option<&Place>) -> Option<Edit> {
        let (first, last) = (run.first()?, run.last()?);
        let (start, end) = match (before, after) {
            (_, Some(after)) => (first.start, after.start),
            (Some(before), None) => (before.end, last.end),
            (None, None) => (first.start, last.end),
        };
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        let inside = comments::between(self.text, self.roots, start, end);
        inside
            .is_empty()
            .then(|| self.edit(first, start, end, String::new()))
    }

    fn block(&self, run: &[Place], after: Option<&Place>, list: bool) -> Option<Edit> {
        let text = self.text;
        let (first, last) = (run.first()?, run.last()?);
        let mut start = usize::try_from(first.start).ok()?;
        if list && !text.get(start..)?.starts_with("- ") {
            start = text
                .get(..start)?
                .trim_end()
                .strip_suffix('-')
                .map(str::len)?;
        }
        let line = text::line_start(text, start);
        let prefix = text.get(line..start)?;
        let last_end = usize::try_from(last.end).ok()?;
        if prefix
            .chars()
            .all(|character| character == ' ' || character == '\u{feff}')
        {
            let end = text::line_end(text, last_end);
            let kept = comments::between(text, self.roots, start, end);
            let tail = text.get(last_end..end)?.trim();
            let alone =
                tail.is_empty() || tail.starts_with('#') || tail == ":" || tail.starts_with(": #");
            alone.then_some(())?;
            let newline = text::newline(text);
            let lines: String = kept
                .iter()
                .map(|comment| format!("{prefix}{comment}{newline}"))
                .collect();
            return Some(self.edit(first, line, end, lines));
        }
        // The first member of a list's mapping, behind the dash: what follows moves up to it.
        let next = usize::try_from(after?.start).ok()?;
        let column = text::column(text, start)?;
        let kept = comments::between(text, self.roots, start, next);
        let newline = text::newline(text);
        let lines: String = kept
            .iter()
            .map(|comment| format!("{comment}{newline}{}", " ".repeat(column)))
            .collect();
        Some(self.edit(first, start, next, lines))
    }

    fn edit(&self, first: &Place, start: usize, end: usize, text: String) -> Edit {
        Edit {
            file: first.file,
            start,
            end,
            text,
            by: self.by.to_vec(),
        }
    }
}
