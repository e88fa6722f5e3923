//! YAML streams as trees with places, read under bounds.
//!
//! All of what manifests use: many documents, anchors, aliases, merge keys, comments, and JSON, which is a
//! subset. The text may be hostile: depth, size, the number of values after aliases are put in, and the
//! number of documents are bounded. A mistake ends one document's reading, not the scan: the documents before it stay.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::node::{Entry, Node, Style, Value};
use crate::place::{FileId, Place};

mod readers;

use self::readers::Merge;

/// What a file had in it.
#[derive(Debug, Default)]
pub struct Stream {
    /// The documents that could be read, in order; empty ones are left out.
    pub documents: Vec<Node>,
    /// Why reading stopped early.
    pub error: Option<ReadYamlError>,
    /// Where other readers may read something else than is read here.
    pub doubts: Vec<ReadYamlError>,
    /// Keys that stand there twice: the last one counts, and the others mislead.
    pub doubled: Vec<ReadYamlError>,
}

/// How many values are still read, for all files of a scan together.
#[derive(Debug)]
pub(crate) struct Budget(AtomicUsize);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicUsize::new(MAX_VALUES))
    }
}

impl Budget {
    /// Takes some of it, when there is as much.
    fn take(&self, values: usize) -> bool {
        let take = |left: usize| left.checked_sub(values);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn give_back(&self, values: usize) {
        self.0.fetch_add(values, Ordering::Relaxed);
    }
}

/// Why a file could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadYamlError {
    /// Where.
    pub place: Place,
    /// What is wrong, and where it helps, what to do.
    pub message: String,
}

/// Reads every document of `text`.
#[must_use]
pub fn read(file: FileId, text: &str) -> Stream {
    read_within(file, text, &Budget::default())
}

/// The same, with a bound that holds for several files.
#[must_use]
pub(crate) fn read_within(file: FileId, text: &str, budget: &Budget) -> Stream {
    let mut stream = Stream::default();
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; at most {MAX_BYTES} are read",
            text.len()
        );
        stream.error = Some(ReadYamlError {
            place: Place {
                file,
                line: 1,
                column: 1,
                ..Place::default()
            },
            message,
        });
        return stream;
    }
    stream = parse(file, text, text, budget);
    // JSON writes characters beyond the first plane as two escapes, which YAML does not know.
    let halves = stream
        .error
        .as_ref()
        .is_some_and(|error| error.message.contains("invalid Unicode"));
    if halves && let Some(mended) = without_halves(text) {
        stream = parse(file, text, &mended, budget);
    }
    if let Some(at) = readers::foreign_line_end(text) {
        let before = text.get(..at).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        stream.doubts.push(ReadYamlError {
            place: Place {
                file,
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: 1,
                ..Place::default()
            },
            message: "a character that ends a line for Kubernetes and for no other reader (NEL, LS or PS): \
                      what stands behind it is read differently there; take it out or write it as an escape"
                .to_owned(),
        });
    }
    stream
}

/// Reads `shown`, which has the characters of `text` in the same places.
fn parse(file: FileId, text: &str, shown: &str, budget: &Budget) -> Stream {
    let mut builder = Builder {
        file,
        lines: Lines::of(text),
        ..Builder::default()
    };
    let error = build(&mut builder, shown, budget);
    budget.give_back(builder.reserved.saturating_sub(builder.count));
    Stream {
        documents: builder.documents,
        error,
        doubts: builder.doubts,
        doubled: builder.doubled,
    }
}

/// Gives everything in `shown` to the builder; why it stopped early.
fn build(builder: &mut Builder<'_>, shown: &str, budget: &Budget) -> Option<ReadYamlError> {
    let file = builder.file;
    // The parser does not count a byte order mark, so it is not given one.
    let shown = shown.strip_prefix(BYTE_ORDER_MARK).unwrap_or(shown);
    for event in Parser::new_from_str(shown) {
        let step = match event {
            Ok((event, span)) => builder
                .take(event, span)
                .and_then(|()| builder.reserve(span.start, budget)),
            Err(error) => Err(ReadYamlError {
                place: builder.lines.place(file, *error.marker(), *error.marker()),
                message: format!("this is not YAML: {}", error.info()),
            }),
        };
        if step.is_err() {
            return step.err();
        }
    }
    None
}

/// The text with a sign of replacement for every escaped half of a character; none when it has no such half.
fn without_halves(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let digits = escape.get(2..6);
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let is_half = code.is_some_and(|code| (0xd800..0xe000).contains(&code));
        let length = if is_half { 6 } else { 2 };
        mended.push_str(if is_half { "\\ufffd" } else { "\\u" });
        rest = escape.get(length..).unwrap_or("");
    }
    mended.push_str(rest);
    (mended != text).then_some(mended)
}

/// Bytes of lines: the parser counts characters.
#[derive(Default)]
struct Lines<'text> {
    text: &'text str,
    starts: Vec<usize>,
    /// Whether every character is one byte.
    ascii: bool,
    /// The last start that was asked for: line, column, byte. A file may be one line of many megabytes, and
    /// counting from its start each time would take as long as its square.
    last: Cell<(usize, usize, usize)>,
}

impl<'text> Lines<'text> {
    fn of(text: &'text str) -> Self {
        let mark = if text.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len_utf8()
        } else {
            0
        };
        let mut starts = vec![mark];
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let alone = *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n');
            if *byte == b'\n' || alone {
                starts.push(at + 1);
            }
        }
        Self {
            text,
            starts,
            ascii: text.get(mark..).is_some_and(str::is_ascii),
            last: Cell::default(),
        }
    }

    fn byte(&self, marker: Marker) -> usize {
        let line = marker.line().max(1) - 1;
        let start = self.starts.get(line).copied().unwrap_or(self.text.len());
        if self.ascii {
            return start.saturating_add(marker.col()).min(self.text.len());
        }
        let (known_line, column, byte) = self.last.get();
        let (from, skip) = if known_line == line && column <= marker.col() && byte >= start {
            (byte, marker.col() - column)
        } else {
            (start, marker.col())
        };
        let rest = self.text.get(from..).unwrap_or("");
        let more = rest.char_indices().nth(skip);
        from + more.map_or(rest.len(), |(at, _)| at)
    }

    fn place(&self, file: FileId, start: Marker, end: Marker) -> Place {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let first = self.byte(start);
        self.last.set((start.line().max(1) - 1, start.col(), first));
        Place {
            file,
            line: number(start.line().max(1)),
            column: number(start.col() + 1),
            start: number(first),
            end: number(self.byte(end).max(first)),
        }
    }
}

/// Puts events together; never deeper or larger than the bounds.
#[derive(Default)]
struct Builder<'text> {
    file: FileId,
    lines: Lines<'text>,
    open: Vec<Open>,
    documents: Vec<Node>,
    /// Anchored values that are complete, with how much they hold.
    anchors: HashMap<usize, (Node, Size)>,
    /// How many values there are, those of aliases counted each time.
    count: usize,
    /// How many bytes of text they have, those of aliases counted each time.
    bytes: usize,
    /// How many values of the budget were taken.
    reserved: usize,
    doubts: Vec<ReadYamlError>,
    doubled: Vec<ReadYamlError>,
    /// Where the last word that belongs to a value ends.
    last_end: u32,
}

/// How much a value holds.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    key: Option<(Place, String, Style)>,
    anchor: usize,
    before: Size,
    merges: Vec<Merge>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), ReadYamlError> {
        let place = self.lines.place(self.file, span.start, span.end);
        if let Event::Alias(_) = event {
            self.last_end = place.end;
        }
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => {
                let incomplete =
                    "an alias to a value that is not complete here: it would hold itself";
                // Counted before it is copied: a long text may stand behind a thousand aliases.
                let size = self.anchors.get(&anchor).map(|found| found.1);
                self.bound(place, size.unwrap_or_default())?;
                let Some((node, _)) = self.anchors.get(&anchor) else {
                    return Err(self.error(place, incomplete));
                };
                let mut node = node.clone();
                // A finding in an aliased value is shown where it is written, a bad alias where it is used.
                if let Value::Scalar { .. } = node.value {
                    node.place = place;
                }
                self.put(node, 0, Size::default())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let mut place = place;
                place.end = self.scalar_end(place, &text, style);
                self.last_end = place.end;
                let size = Size {
                    values: 1,
                    bytes: text.len(),
                };
                self.bound(place, size)?;
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let (text, style) = readers::tagged(tag.as_deref(), text.into_owned(), style)
                    .map_err(|message| self.error(place, message))?;
                let value = Value::Scalar { text, style };
                self.put(Node { place, value }, anchor, size)
            }
            Event::SequenceStart(anchor, _tag) => {
                let value = Value::Sequence {
                    items: Vec::new(),
                    flow: self.starts_with(place, '['),
                };
                self.begin(Node { place, value }, anchor)
            }
            Event::MappingStart(anchor, _tag) => {
                let value = Value::Mapping {
                    entries: Vec::new(),
                    flow: self.starts_with(place, '{'),
                };
                self.begin(Node { place, value }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut open) = self.open.pop() else {
                    return Err(self.error(place, "a collection ends that never began"));
                };
                open.node.place.end = self.end_of(&open.node, place);
                self.last_end = open.node.place.end;
                self.settle(&mut open.node, open.merges);
                let size = Size {
                    values: self.count.saturating_sub(open.before.values),
                    bytes: self.bytes.saturating_sub(open.before.bytes),
                };
                self.put(open.node, open.anchor, size)
            }
        }
    }

    /// Whether the value at `place` starts with `bracket`, an anchor and a tag before it left out.
    fn starts_with(&self, place: Place, bracket: char) -> bool {
        let at = usize::try_from(place.start).unwrap_or(usize::MAX);
        let mut rest = self.lines.text.get(at..).unwrap_or("");
        while rest.starts_with(['&', '!']) {
            let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest = rest
                .get(word..)
                .unwrap_or("")
                .trim_start_matches([' ', '\t']);
        }
        rest.starts_with(bracket)
    }

    /// Where a scalar ends: the parser's own end takes blanks and comments behind it along.
    fn scalar_end(&self, place: Place, text: &str, style: ScalarStyle) -> u32 {
        let start = usize::try_from(place.start).unwrap_or(usize::MAX);
        let end = usize::try_from(place.end).unwrap_or(usize::MAX);
        let rest = self.lines.text.get(start..).unwrap_or("");
        let length = match style {
            ScalarStyle::Plain if rest.starts_with(text) => Some(text.len()),
            ScalarStyle::SingleQuoted => closing_quote(rest, '\'', None),
            ScalarStyle::DoubleQuoted => closing_quote(rest, '"', Some('\\')),
            ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        let length = length.unwrap_or_else(|| {
            let whole = self.lines.text.get(start..end).unwrap_or("");
            whole.trim_end().len()
        });
        u32::try_from(start.saturating_add(length)).unwrap_or(u32::MAX)
    }

    /// A flow collection ends at its bracket; a block collection where its last word does, since the parser
    /// only notices at whatever comes next.
    fn end_of(&self, node: &Node, end: Place) -> u32 {
        let end = match &node.value {
            // The parser's own end takes blanks and a comment behind the bracket along.
            Value::Sequence { flow: true, .. } | Value::Mapping { flow: true, .. } => end.start + 1,
            Value::Sequence { .. } | Value::Mapping { .. } | Value::Scalar { .. } => self.last_end,
        };
        end.max(node.place.start)
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), ReadYamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(node.place, &format!("more than {MAX_DEPTH} levels deep")));
        }
        let before = Size {
            values: self.count,
            bytes: self.bytes,
        };
        let size = Size {
            values: 1,
            bytes: 0,
        };
        self.bound(node.place, size)?;
        self.open.push(Open {
            node,
            key: None,
            anchor,
            before,
            merges: Vec::new(),
        });
        Ok(())
    }

    /// Makes one value of equal keys and of merges, and tells what other readers would make of them.
    fn settle(&mut self, node: &mut Node, mut merges: Vec<Merge>) {
        let Value::Mapping { entries, .. } = &mut node.value else {
            if let Value::Sequence { items, .. } = &mut node.value {
                items.shrink_to_fit();
            }
            return;
        };
        let doubled = readers::last_of_equal_keys(entries);
        if !doubled.is_empty() {
            // What stood before a merge has moved together; counting all of it as before tells too much at worst.
            merges
                .iter_mut()
                .for_each(|merge| merge.before = usize::MAX);
        }
        let contested = readers::merge(entries, merges);
        entries.shrink_to_fit();
        for (place, key) in doubled {
            if self.doubled.len() < MAX_TOLD {
                let message = format!(
                    "`{key}` stands here twice or more: the last one counts for Kubernetes, and was judged; others refuse the file"
                );
                self.doubled.push(self.error(place, &message));
            }
        }
        for (place, key) in contested {
            if self.doubts.len() < MAX_TOLD {
                let message = format!(
                    "`{key}` stands before a `<<` that has it too: some readers take this one and Kubernetes takes the other; write `<<` first"
                );
                self.doubts.push(self.error(place, &message));
            }
        }
    }

    fn bound(&mut self, place: Place, more: Size) -> Result<(), ReadYamlError> {
        self.count = self.count.saturating_add(more.values);
        self.bytes = self.bytes.saturating_add(more.bytes);
        if self.count > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values, counting what aliases stand for");
            return Err(self.error(place, &message));
        }
        if self.bytes > MAX_BYTES {
            let message =
                format!("more than {MAX_BYTES} bytes of text, counting what aliases stand for");
            return Err(self.error(place, &message));
        }
        Ok(())
    }

    /// Takes what was read from the budget, some ahead.
    fn reserve(&mut self, at: Marker, budget: &Budget) -> Result<(), ReadYamlError> {
        if self.count <= self.reserved {
            return Ok(());
        }
        let needed = self.count - self.reserved;
        let more = [needed.saturating_add(AHEAD), needed]
            .into_iter()
            .find(|more| budget.take(*more));
        let Some(more) = more else {
            let place = self.lines.place(self.file, at, at);
            let message =
                format!("more than {MAX_VALUES} values in all files together: scan them in parts");
            return Err(self.error(place, &message));
        };
        self.reserved += more;
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), ReadYamlError> {
        if anchor != 0 {
            // What an anchor keeps is a copy, so it counts too: nested anchors would add up to a square.
            self.bound(node.place, size)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            if self.documents.len() >= MAX_DOCUMENTS {
                let message = format!("more than {MAX_DOCUMENTS} documents in one file");
                return Err(self.error(node.place, &message));
            }
            if !node.is_null() {
                self.documents.push(node);
            }
            return Ok(());
        };
        match &mut open.node.value {
            Value::Sequence { items, .. } => items.push(node),
            Value::Mapping { entries, .. } => match open.key.take() {
                // In quotes it is a key like any other.
                Some((_, key, Style::Plain)) if key == "<<" => open.merges.push(Merge {
                    source: node,
                    before: entries.len(),
                }),
                Some((place, key, _)) => entries.push(Entry {
                    place,
                    key,
                    value: node,
                }),
                None => {
                    let Value::Scalar { text, style } = node.value else {
                        let message = "a collection cannot be a key here";
                        return Err(self.error(node.place, message));
                    };
                    open.key = Some((node.place, text, style));
                }
            },
            // `begin` opens nothing but sequences and mappings.
            Value::Scalar { .. } => {}
        }
        Ok(())
    }

    fn error(&self, place: Place, message: &str) -> ReadYamlError {
        ReadYamlError {
            place,
            message: message.to_owned(),
        }
    }
}

/// The length of a quoted text that `rest` starts with, both quotes counted. In single quotes, two of them stand
/// for one.
fn closing_quote(rest: &str, quote: char, escape: Option<char>) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if Some(character) == escape {
            characters.next();
        } else if character == quote {
            let doubled = escape.is_none() && characters.next_if(|next| next.1 == quote).is_some();
            if !doubled {
                return Some(at + quote.len_utf8());
            }
        }
    }
    None
}

/// How much of one file is read: a cluster's whole `kubectl get -o yaml` fits.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
const BYTE_ORDER_MARK: char = '\u{feff}';
const MAX_DEPTH: usize = 128;
// Two hundred bytes each, about.
const MAX_VALUES: usize = 1_000_000;
// Values that are taken from the budget at once.
const AHEAD: usize = 256;
const MAX_TOLD: usize = 100;
const MAX_DOCUMENTS: usize = 20_000;

#[cfg(test)]
mod tests;
