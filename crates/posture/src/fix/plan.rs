//! From changes to edits: what several findings add in one place is put together, and what would collide waits.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::Edit;
use super::grown::Grown;
use super::{remove, text};
use crate::node::{Entry, Node, Value};
use crate::place::{FileId, Place};
use crate::rule::{Change, Finding};
use crate::scan::Corpus;

/// The edits of some findings.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In order, file by file; none collides with another.
    pub(super) edits: Vec<Edit>,
    /// The findings whose edits are all among them.
    pub(super) accepted: Vec<usize>,
    /// The others, each with the reason.
    pub(super) refused: Vec<(usize, String)>,
}

/// The order in which findings get their way: the worst first.
pub(super) fn by_worst(findings: &[Finding], mut of: Vec<usize>) -> Vec<usize> {
    of.sort_by_key(|at| {
        findings
            .get(*at)
            .map(|finding| (std::cmp::Reverse(finding.severity), *at))
    });
    of
}

/// The edits of `findings`: their numbers with their changes, the most important first.
pub(super) fn plan(corpus: &Corpus, findings: &[(usize, &[Change])]) -> Plan {
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let mut draft = Draft::new(corpus);
        let mut accepted = Vec::new();
        for (rank, (_, changes)) in findings.iter().enumerate() {
            if refused.contains_key(&rank) {
                continue;
            }
            let taken = if let [change] = changes {
                draft.take(rank, change)
            } else {
                // Several changes of a finding belong together, so they are tried on a copy.
                let mut tried = draft.clone();
                let taken = changes
                    .iter()
                    .try_for_each(|change| tried.take(rank, change));
                if taken.is_ok() {
                    draft = tried;
                }
                taken
            };
            match taken {
                Ok(()) => accepted.push(rank),
                Err(reason) => {
                    refused.insert(rank, reason);
                }
            }
        }
        match draft.edits() {
            Ok(edits) => return named(findings, edits, &accepted, refused),
            Err((rank, reason)) => {
                refused.insert(rank, reason);
            }
        }
    }
}

/// The plan in the callers' numbers; inside, a finding goes by its rank.
fn named(
    findings: &[(usize, &[Change])],
    mut edits: Vec<Edit>,
    accepted: &[usize],
    refused: BTreeMap<usize, String>,
) -> Plan {
    let number = |rank: usize| findings.get(rank).map(|(at, _)| *at);
    for edit in &mut edits {
        edit.by = edit.by.iter().filter_map(|rank| number(*rank)).collect();
    }
    Plan {
        edits,
        accepted: accepted.iter().filter_map(|rank| number(*rank)).collect(),
        refused: refused
            .into_iter()
            .filter_map(|(rank, reason)| Some((number(rank)?, reason)))
            .collect(),
    }
}

/// Where something is added: a file and the first byte of the mapping or list.
type Spot = (FileId, u32);

#[derive(Clone, Debug)]
struct Group {
    flow: bool,
    place: Place,
    grown: Grown,
    by: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Appended {
    flow: bool,
    place: Place,
    members: Vec<Grown>,
    by: Vec<usize>,
}

/// What is accepted so far.
#[derive(Clone)]
struct Draft<'corpus> {
    corpus: &'corpus Corpus,
    replaced: Vec<(Place, Grown, Vec<usize>)>,
    opened: BTreeMap<Spot, Group>,
    added: BTreeMap<Spot, Group>,
    appended: BTreeMap<Spot, Appended>,
    removed: Vec<(Place, Vec<usize>)>,
}

impl<'corpus> Draft<'corpus> {
    const fn new(corpus: &'corpus Corpus) -> Self {
        Self {
            corpus,
            replaced: Vec::new(),
            opened: BTreeMap::new(),
            added: BTreeMap::new(),
            appended: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    fn take(&mut self, at: usize, change: &Change) -> Result<(), String> {
        let collides = || Err(COLLIDES.to_owned());
        let parse = |text: &str| {
            Grown::parse(text).ok_or_else(|| format!("`{text}` is not YAML of one line"))
        };
        match change {
            Change::Replace { place, text } => {
                let grown = parse(text)?;
                if let Some(same) = self.replaced.iter_mut().find(|(own, _, _)| own == place) {
                    if same.1 != grown {
                        return collides();
                    }
                    same.2.push(at);
                    return Ok(());
                }
                self.replaced.push((*place, grown, vec![at]));
            }
            Change::Open { place, path, text } => {
                grow(&mut self.opened, *place, true, path, &parse(text)?, at)?;
            }
            Change::Add {
                mapping,
                flow,
                path,
                text,
            } => grow(&mut self.added, *mapping, *flow, path, &parse(text)?, at)?,
            Change::Append { list, flow, text } => {
                let grown = parse(text)?;
                let group = self
                    .appended
                    .entry((list.file, list.start))
                    .or_insert(Appended {
                        flow: *flow,
                        place: *list,
                        members: Vec::new(),
                        by: Vec::new(),
                    });
                if !group.members.contains(&grown) {
                    group.members.push(grown);
                }
                group.by.push(at);
            }
            Change::Remove { place } => {
                match self.removed.iter_mut().find(|(own, _)| own == place) {
                    Some(same) => same.1.push(at),
                    None => self.removed.push((*place, vec![at])),
                }
            }
        }
        Ok(())
    }

    /// The edits, in order; a finding with the reason when two collide, the less important one.
    fn edits(&self) -> Result<Vec<Edit>, (usize, String)> {
        // The second number orders what is inserted at one byte: deeper first, lists before what follows them.
        let mut all: Vec<(Edit, usize)> = Vec::new();
        let blame = |by: &[usize]| by.iter().copied().max().unwrap_or(0);
        for (place, grown, by) in &self.replaced {
            let edit = self.replacement(*place, grown, by);
            all.push((edit.map_err(|reason| (blame(by), reason))?, 0));
        }
        for group in self.opened.values() {
            let text = self.text(group.place.file);
            let written = group.grown.flow(is_json(text));
            all.push((self.write_over(group.place, written, &group.by), 0));
        }
        for group in self.added.values() {
            let edit = self
                .addition(group)
                .ok_or_else(|| (blame(&group.by), NO_ROOM.to_owned()));
            all.push(edit?);
        }
        for group in self.appended.values() {
            let edit = self
                .appendix(group)
                .ok_or_else(|| (blame(&group.by), NO_ROOM.to_owned()));
            all.push(edit?);
        }
        let files: BTreeSet<FileId> = self.removed.iter().map(|(place, _)| place.file).collect();
        for file in files {
            let own: Vec<(Place, Vec<usize>)> = self
                .removed
                .iter()
                .filter(|(place, _)| place.file == file)
                .cloned()
                .collect();
            let busy = |node: &Node| {
                let spot = (node.place.file, node.place.start);
                self.added.contains_key(&spot) || self.appended.contains_key(&spot)
            };
            let edits = remove::edits(self.text(file), &self.roots(file), &own, &busy)?;
            all.extend(edits.into_iter().map(|edit| (edit, 0)));
        }
        all.sort_by(|(one, one_depth), (other, other_depth)| {
            (one.file, one.start, one.end, std::cmp::Reverse(one_depth)).cmp(&(
                other.file,
                other.start,
                other.end,
                std::cmp::Reverse(other_depth),
            ))
        });
        let edits: Vec<Edit> = all.into_iter().map(|(edit, _)| edit).collect();
        for (at, one) in edits.iter().enumerate() {
            // What comes later in the order can only collide while it starts inside.
            for other in edits.iter().skip(at + 1).take_while(|other| {
                other.file == one.file && other.start < one.end.max(one.start + 1)
            }) {
                if one.collides(other) {
                    return Err((blame(&one.by).max(blame(&other.by)), COLLIDES.to_owned()));
                }
            }
        }
        Ok(edits)
    }

    fn text(&self, file: FileId) -> &'corpus str {
        self.corpus.files.get(file).map_or("", |file| &file.text)
    }

    fn roots(&self, file: FileId) -> Vec<&'corpus Node> {
        let own = self
            .corpus
            .documents
            .iter()
            .filter(|document| document.file == file);
        own.map(|document| &document.root).collect()
    }

    /// One value in place of another: of a scalar or brackets, just that; of a block, the lines of the block.
    fn replacement(&self, place: Place, grown: &Grown, by: &[usize]) -> Result<Edit, String> {
        let text = self.text(place.file);
        if text::is_shared(text, usize::try_from(place.start).unwrap_or(usize::MAX)) {
            return Err(SHARED.to_owned());
        }
        let roots = self.roots(place.file);
        let written = grown.flow(is_json(text));
        let Some(entry) = roots.iter().find_map(|root| block_at(root, place)) else {
            return Ok(self.write_over(place, written, by));
        };
        let key_end = usize::try_from(entry.place.end).unwrap_or(usize::MAX);
        let colon = text.get(key_end..).and_then(|rest| rest.find(':'));
        let start = key_end + colon.ok_or_else(|| NO_ROOM.to_owned())? + 1;
        let mut end = usize::try_from(place.end).unwrap_or(usize::MAX);
        let tail = text.get(end..text::line_end(text, end)).unwrap_or("");
        if tail.trim_start().starts_with('#') {
            end += tail.trim_end().len();
        }
        let kept = super::comments::between(text, &roots, start, end);
        let first_line = text::line_end(text, start);
        let column =
            text::column(text, usize::try_from(entry.place.start).unwrap_or(0)).unwrap_or(0);
        let mut new = format!(" {written}");
        for (number, comment) in kept.iter().enumerate() {
            let beside = number == 0
                && text
                    .get(start..first_line)
                    .is_some_and(|line| line.contains(comment.as_str()));
            if beside {
                new.push(' ');
            } else {
                new.push_str(text::newline(text));
                new.push_str(&" ".repeat(column + 2));
            }
            new.push_str(comment);
        }
        Ok(Edit {
            file: place.file,
            start,
            end,
            text: new,
            by: by.to_vec(),
        })
    }

    fn write_over(&self, place: Place, written: String, by: &[usize]) -> Edit {
        let text = self.text(place.file);
        let bytes = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let (mut start, mut end) = (bytes(place.start), bytes(place.end));
        let mut written = written;
        if start == end {
            // `key:` with nothing behind it: the reader puts the value on the colon.
            let colon = text.get(start..).is_some_and(|rest| rest.starts_with(':'));
            start += usize::from(colon);
            end = start;
            written.insert(0, ' ');
        } else {
            start = text::behind_properties(text, start).min(end);
        }
        Edit {
            file: place.file,
            start,
            end,
            text: written,
            by: by.to_vec(),
        }
    }

    fn addition(&self, group: &Group) -> Option<(Edit, usize)> {
        let text = self.text(group.place.file);
        let start = text::behind_properties(text, usize::try_from(group.place.start).ok()?);
        if group.flow {
            let written = group.grown.members(is_json(text));
            let rest = text.get(start + 1..)?;
            let content = rest.trim_start();
            let blank = rest.get(..rest.len() - content.len())?;
            let after = if content.starts_with('}') { "" } else { "," };
            let (written, blank) = match blank {
                "" if after.is_empty() => (written, ""),
                "" => (format!("{written}, "), ""),
                blank => (format!("{written}{after}"), blank),
            };
            let edit = insert(
                group.place.file,
                start + 1,
                format!("{blank}{written}"),
                &group.by,
            );
            return Some((edit, 0));
        }
        let column = text::column(text, start)?;
        let mut lines = Vec::new();
        group
            .grown
            .lines(column, text::indentation(text), &mut lines);
        let end = usize::try_from(group.place.end).ok()?;
        Some((
            self.new_lines(group.place.file, end, column, &lines, &group.by),
            column * 2,
        ))
    }

    fn appendix(&self, group: &Appended) -> Option<(Edit, usize)> {
        let text = self.text(group.place.file);
        let start = text::behind_properties(text, usize::try_from(group.place.start).ok()?);
        if group.flow {
            let written: Vec<String> = group
                .members
                .iter()
                .map(|member| member.flow(is_json(text)))
                .collect();
            let (end, last) = text::last_inside(text, start)?;
            let lead = match last {
                '[' if end == start + 1 => "",
                ',' => " ",
                _ => ", ",
            };
            let edit = insert(
                group.place.file,
                end,
                format!("{lead}{}", written.join(", ")),
                &group.by,
            );
            return Some((edit, 0));
        }
        // The reader puts a list on its first member, or on the dash before it.
        let dash = if text.get(start..)?.starts_with("- ") {
            start
        } else {
            let before = text.get(..start)?.trim_end();
            before.strip_suffix('-').map(str::len)?
        };
        let column = text::column(text, dash)?;
        let mut lines = Vec::new();
        for member in &group.members {
            member.member(column, text::indentation(text), &mut lines);
        }
        let end = usize::try_from(group.place.end).ok()?;
        Some((
            self.new_lines(group.place.file, end, column, &lines, &group.by),
            column * 2 + 1,
        ))
    }

    /// Lines behind the line with the byte `end`, and behind the comments that go with what ends there.
    fn new_lines(
        &self,
        file: FileId,
        end: usize,
        column: usize,
        lines: &[String],
        by: &[usize],
    ) -> Edit {
        let text = self.text(file);
        let newline = text::newline(text);
        let mut at = text::line_end(text, end.min(text.len()));
        while let Some(line) = text.get(at..text::line_end(text, at)) {
            let content = line.trim_start_matches(' ');
            if !content.starts_with('#') || line.len() - content.len() < column.max(1) {
                break;
            }
            at = text::line_end(text, at);
        }
        let ended = text.get(..at).is_some_and(|before| before.ends_with('\n'));
        let joined = lines.join(newline);
        let written = if ended {
            format!("{joined}{newline}")
        } else {
            format!("{newline}{joined}")
        };
        insert(file, at, written, by)
    }
}

fn insert(file: FileId, at: usize, text: String, by: &[usize]) -> Edit {
    Edit {
        file,
        start: at,
        end: at,
        text,
        by: by.to_vec(),
    }
}

fn grow(
    groups: &mut BTreeMap<Spot, Group>,
    place: Place,
    flow: bool,
    path: &[String],
    value: &Grown,
    at: usize,
) -> Result<(), String> {
    let spot = (place.file, place.start);
    let before = groups.get(&spot);
    let mut grown = before.map_or_else(|| Grown::Mapping(Vec::new()), |group| group.grown.clone());
    // Half of a value may be put in before the other half does not fit, so it is put into a copy.
    if !grown.put(path, value) {
        return Err(COLLIDES.to_owned());
    }
    let mut by = before.map_or_else(Vec::new, |group| group.by.clone());
    by.push(at);
    groups.insert(
        spot,
        Group {
            flow,
            place,
            grown,
            by,
        },
    );
    Ok(())
}

/// The member whose value is the block collection at `place`.
fn block_at(node: &Node, place: Place) -> Option<&Entry> {
    for entry in node.entries() {
        let block = match &entry.value.value {
            Value::Sequence { flow, items } => !flow && !items.is_empty(),
            Value::Mapping { flow, entries } => !flow && !entries.is_empty(),
            Value::Scalar { .. } => false,
        };
        if block && entry.value.place == place && entry.place.start < place.start {
            return Some(entry);
        }
        if let Some(found) = block_at(&entry.value, place) {
            return Some(found);
        }
    }
    node.items().iter().find_map(|item| block_at(item, place))
}

/// Whether a text is written as JSON: an object or a list whose first word is in quotes. Whatever is then
/// written in JSON's form is YAML too.
fn is_json(text: &str) -> bool {
    let blank = |character: char| character.is_whitespace() || character == '\u{feff}';
    let rest = text.trim_start_matches(|character| blank(character) || character == '[');
    rest.strip_prefix('{')
        .is_some_and(|rest| rest.trim_start_matches(blank).starts_with('"'))
}

const SHARED: &str = "other values are aliases of this one and would change with it";
const COLLIDES: &str = "another change wants the same place; run the fix again";
const NO_ROOM: &str = "the place cannot be edited without changing its form";

#[cfg(test)]
mod tests;
