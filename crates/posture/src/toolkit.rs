//! The configuration of the NVIDIA Container Toolkit as a tree with places.
//!
//! It is TOML, read under bounds: size, and depth of what is nested. A section stands where its header does,
//! the document at line 1, so that a finding about a key that is absent has somewhere to stand.

use toml_edit::{Array, Document, InlineTable, Item, Key, Table, Value as TomlValue};

use crate::node::{Entry, Node, Style, Value};
use crate::place::{FileId, Place};

mod places;

use self::places::Places;

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadTomlError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

/// Reads a TOML text.
///
/// # Errors
///
/// The text is too long, nested too deeply, or not TOML.
pub fn read(file: FileId, text: &str) -> Result<Node, ReadTomlError> {
    let places = Places::of(file, text);
    let error = |start: usize, message: String| ReadTomlError {
        place: places.place(start..start),
        message,
    };
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; at most {MAX_BYTES} are read of a toolkit configuration",
            text.len()
        );
        return Err(ReadTomlError {
            place: Place {
                file,
                line: 1,
                column: 1,
                ..Place::default()
            },
            message,
        });
    }
    if let Some(start) = too_deep(text) {
        return Err(error(start, format!("more than {MAX_DEPTH} levels deep")));
    }
    let document = Document::parse(text).map_err(|fault| {
        let start = fault.span().map_or(0, |span| span.start);
        let reason = fault.message().lines().collect::<Vec<_>>().join(", ");
        error(start, format!("this is not TOML: {reason}"))
    })?;
    let reader = Reader {
        text,
        places: &places,
    };
    Ok(reader.table(document.as_table(), places.place(0..text.len()), 0))
}

/// Whether a document is a configuration of the toolkit, told by the sections and keys that only it has.
#[must_use]
pub fn is_toolkit(root: &Node) -> bool {
    root.entries()
        .iter()
        .any(|entry| KEYS.contains(&entry.key.as_str()))
}

/// Whether a file at `path` is one by its name, as the toolkit and its operator lay it down.
#[must_use]
pub fn is_named(path: &str) -> bool {
    let mut parts = path.rsplit(['/', '\\']);
    let (file, folder) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let by_operator = parts.next() == Some("toolkit") && folder == ".config";
    file == "config.toml" && (folder == "nvidia-container-runtime" || by_operator)
}

/// Turns what the parser built into our own tree.
struct Reader<'text> {
    text: &'text str,
    places: &'text Places<'text>,
}

impl Reader<'_> {
    fn table(&self, table: &Table, place: Place, depth: usize) -> Node {
        let mut entries = Vec::new();
        if depth < MAX_DEPTH {
            for (name, item) in table {
                let key = table.key(name);
                entries.extend(self.entry(name, key, item, place, depth));
            }
        }
        let value = Value::Mapping {
            entries,
            flow: false,
        };
        Node { place, value }
    }

    fn inline(&self, table: &InlineTable, place: Place, depth: usize) -> Node {
        let mut entries = Vec::new();
        if depth < MAX_DEPTH {
            for (name, value) in table {
                let key = table.key(name).and_then(Key::span);
                let key = key.map_or(place, |span| self.places.place(span));
                entries.push(Entry {
                    place: key,
                    key: name.to_owned(),
                    value: self.value(value, key, depth + 1),
                });
            }
        }
        let value = Value::Mapping {
            entries,
            flow: true,
        };
        Node { place, value }
    }

    fn array(&self, array: &Array, place: Place, depth: usize) -> Node {
        let items = if depth < MAX_DEPTH {
            array
                .iter()
                .map(|value| self.value(value, place, depth + 1))
                .collect()
        } else {
            Vec::new()
        };
        let value = Value::Sequence { items, flow: true };
        Node { place, value }
    }

    fn entry(
        &self,
        name: &str,
        key: Option<&Key>,
        item: &Item,
        parent: Place,
        depth: usize,
    ) -> Option<Entry> {
        let own = key.and_then(Key::span);
        let place = own.map_or(parent, |span| self.places.place(span));
        let value = match item {
            Item::None => return None,
            Item::Value(value) => self.value(value, place, depth + 1),
            Item::Table(table) => {
                let header = table.span().map(|span| self.places.place(span));
                self.table(table, header.unwrap_or(place), depth + 1)
            }
            Item::ArrayOfTables(tables) => {
                let items = tables
                    .iter()
                    .map(|table| {
                        let header = table.span().map(|span| self.places.place(span));
                        self.table(table, header.unwrap_or(place), depth + 1)
                    })
                    .collect();
                let value = Value::Sequence { items, flow: false };
                Node { place, value }
            }
        };
        Some(Entry {
            place,
            key: name.to_owned(),
            value,
        })
    }

    /// A value; `near` is where it stands when the parser kept no place, as for a table of dotted keys.
    fn value(&self, value: &TomlValue, near: Place, depth: usize) -> Node {
        let span = value.span();
        let place = span.clone().map_or(near, |span| self.places.place(span));
        let scalar = |text: String, style: Style| Node {
            place,
            value: Value::Scalar { text, style },
        };
        match value {
            TomlValue::String(text) => scalar(text.value().clone(), Style::Quoted),
            TomlValue::Boolean(on) => scalar(on.value().to_string(), Style::Plain),
            TomlValue::Integer(number) => scalar(number.value().to_string(), Style::Plain),
            TomlValue::Float(_) | TomlValue::Datetime(_) => {
                let written = span.and_then(|span| self.text.get(span)).unwrap_or("");
                scalar(written.to_owned(), Style::Plain)
            }
            TomlValue::Array(array) => self.array(array, place, depth),
            TomlValue::InlineTable(table) => self.inline(table, place, depth),
        }
    }
}

/// Where the text nests deeper than is read, counted by brackets and by dots of keys before anything is built:
/// the parser bounds each of them, but not their product.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut dots, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = end_of_text(bytes, at, *byte);
                continue;
            }
            b'#' => {
                let rest = bytes.get(at..).unwrap_or(&[]);
                at += rest.iter().take_while(|byte| **byte != b'\n').count();
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'.' => dots += 1,
            b',' | b'\n' => dots = 0,
            _ => {}
        }
        if depth + dots > MAX_DEPTH {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The byte after the text in quotes that starts at `at`: of one line, or of several in three quotes.
fn end_of_text(bytes: &[u8], at: usize, quote: u8) -> usize {
    let triple = [quote; 3];
    let is_triple = |at: usize| {
        bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(&triple))
    };
    let long = is_triple(at);
    let mut end = at + if long { 3 } else { 1 };
    while let Some(byte) = bytes.get(end) {
        // A text of one line ends with it, whatever a mistake puts before the end.
        if !long && *byte == b'\n' {
            return end;
        } else if *byte == b'\\' && quote == b'"' {
            end += if long {
                2
            } else {
                1 + usize::from(bytes.get(end + 1) != Some(&b'\n'))
            };
        } else if long && is_triple(end) {
            end += 3;
            // One or two more of them belong to the text.
            let more = bytes.get(end..).unwrap_or(&[]).iter().take(2);
            return end + more.take_while(|byte| **byte == quote).count();
        } else if !long && *byte == quote {
            return end + 1;
        } else {
            end += 1;
        }
    }
    end
}

/// How much of a toolkit configuration is read; a real one has two thousand bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 64;

const KEYS: [&str; 6] = [
    "accept-nvidia-visible-devices-as-volume-mounts",
    "accept-nvidia-visible-devices-envvar-when-unprivileged",
    "nvidia-container-cli",
    "nvidia-container-runtime",
    "nvidia-container-runtime-hook",
    "nvidia-ctk",
];

#[cfg(test)]
mod tests;
