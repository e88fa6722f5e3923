//! YAML streams as trees with places, read under bounds.
//!
//! All of what manifests use: many documents, anchors, aliases, merge keys, comments, and JSON, which is a
//! subset. The text may be hostile: depth, size, the number of values after aliases are put in, and the
//! number of documents are bounded. A mistake ends one document's reading, not the scan: the documents before it stay.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::node::{Entry, Node, Style, Value};
use crate::place::{FileId, Place};

/// What a file had in it.
#[derive(Debug, Default)]
pub struct Stream {
    /// The documents that could be read, in order; empty ones are left out.
    pub documents: Vec<Node>,
    /// Why reading stopped early.
    pub error: Option<ReadYamlError>,
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
    let (documents, error) = parse(file, text, text);
    stream = Stream { documents, error };
    // JSON writes characters beyond the first plane as two escapes, which YAML does not know.
    let halves = stream
        .error
        .as_ref()
        .is_some_and(|error| error.message.contains("invalid Unicode"));
    if halves && let Some(mended) = without_halves(text) {
        let (documents, error) = parse(file, text, &mended);
        stream = Stream { documents, error };
    }
    stream
}

/// Reads `shown`, which has the characters of `text` in the same places.
fn parse(file: FileId, text: &str, shown: &str) -> (Vec<Node>, Option<ReadYamlError>) {
    let mut builder = Builder {
        file,
        lines: Lines::of(text),
        ..Builder::default()
    };
    // The parser does not count a byte order mark, so it is not given one.
    let shown = shown.strip_prefix(BYTE_ORDER_MARK).unwrap_or(shown);
    for event in Parser::new_from_str(shown) {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(ReadYamlError {
                place: builder.lines.place(file, *error.marker(), *error.marker()),
                message: format!("this is not YAML: {}", error.info()),
            }),
        };
        if step.is_err() {
            return (builder.documents, step.err());
        }
    }
    (builder.documents, None)
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
    /// Anchored values that are complete, with how many values they hold.
    anchors: HashMap<usize, (Node, usize)>,
    /// How many values there are, those of aliases counted each time.
    count: usize,
    /// Where the last word that belongs to a value ends.
    last_end: u32,
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    key: Option<(Place, String)>,
    anchor: usize,
    count_before: usize,
    merges: Vec<Node>,
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
                let Some((node, count)) = self.anchors.get(&anchor) else {
                    let message =
                        "an alias to a value that is not complete here: it would hold itself";
                    return Err(self.error(place, message));
                };
                let (mut node, count) = (node.clone(), *count);
                // A finding in an aliased value is shown where it is written, a bad alias where it is used.
                if let Value::Scalar { .. } = node.value {
                    node.place = place;
                }
                self.bound(place, count)?;
                self.put(node, 0, 0)
            }
            Event::Scalar(text, style, anchor, _tag) => {
                let mut place = place;
                place.end = self.scalar_end(place, &text, style);
                self.last_end = place.end;
                self.bound(place, 1)?;
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let text = text.into_owned();
                let value = Value::Scalar { text, style };
                self.put(Node { place, value }, anchor, 1)
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
                merge(&mut open.node, open.merges);
                let count = self.count.saturating_sub(open.count_before);
                self.put(open.node, open.anchor, count)
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
        let count_before = self.count;
        self.bound(node.place, 1)?;
        self.open.push(Open {
            node,
            key: None,
            anchor,
            count_before,
            merges: Vec::new(),
        });
        Ok(())
    }

    fn bound(&mut self, place: Place, more: usize) -> Result<(), ReadYamlError> {
        self.count = self.count.saturating_add(more);
        if self.count > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values, counting what aliases stand for");
            return Err(self.error(place, &message));
        }
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, count: usize) -> Result<(), ReadYamlError> {
        if anchor != 0 {
            // What an anchor keeps is a copy, so it counts too: nested anchors would add up to a square.
            self.bound(node.place, count)?;
            self.anchors.insert(anchor, (node.clone(), count));
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
                Some((_, key)) if key == "<<" => open.merges.push(node),
                Some((place, key)) => entries.push(Entry {
                    place,
                    key,
                    value: node,
                }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        let message = "a collection cannot be a key here";
                        return Err(self.error(node.place, message));
                    };
                    open.key = Some((node.place, text));
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

/// Puts in what `<<:` names: own members win, and earlier ones over later ones.
fn merge(node: &mut Node, merges: Vec<Node>) {
    let Value::Mapping { entries, .. } = &mut node.value else {
        return;
    };
    if merges.is_empty() {
        return;
    }
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in merges {
        let sources = match source.value {
            Value::Sequence { items, .. } => items,
            Value::Mapping { .. } => vec![source],
            Value::Scalar { .. } => Vec::new(),
        };
        for source in sources {
            let Value::Mapping { entries: more, .. } = source.value else {
                continue;
            };
            for entry in more {
                if known.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
        }
    }
}

/// How much of one file is read: a cluster's whole `kubectl get -o yaml` fits.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
const BYTE_ORDER_MARK: char = '\u{feff}';
const MAX_DEPTH: usize = 128;
const MAX_VALUES: usize = 2_000_000;
const MAX_DOCUMENTS: usize = 20_000;

#[cfg(test)]
mod tests;
