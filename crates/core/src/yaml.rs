//! YAML as a small tree with places, read under bounds.
//!
//! Only what a declaration needs: one document of mappings, sequences and scalars. Anchors, aliases,
//! tags and merge keys are refused, so that a file means what it says and cannot grow while it is read.
//! Scalars stay text; the field that reads one decides what it is, so `version: 1.10` is not a number.

mod reader;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::diagnostic::{Diagnostics, Source, Span};

pub(crate) use self::reader::{Fields, Reader, Spanned, listed};

/// One node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A scalar, with whether it was written without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One member of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Spanned<String>,
    pub(crate) value: Node,
}

impl Node {
    /// Whether the node says "nothing": an empty value, `~` or `null` without quotes.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What the node is, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Reads the one document of `source`.
pub(crate) fn read(file: &str, text: &str) -> Result<Node, Diagnostics> {
    let source = Source::new(file, text);
    let fail = |span: Span, message: &str, help: Option<&str>| {
        let diagnostic = source.diagnostic(span, "", message, help.map(str::to_owned));
        Diagnostics::one(diagnostic)
    };
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; at most {MAX_BYTES} are read",
            text.len()
        );
        return Err(fail(START, &message, None));
    }
    if let Some(span) = first_control(text) {
        let help = "write it as an escape inside double quotes, or remove it";
        return Err(fail(
            span,
            "the file has a control character here",
            Some(help),
        ));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let step = event
            .map_err(|error| Stop::from_scan(&error))
            .and_then(|(event, span)| builder.take(event, convert(span)));
        if let Err(stop) = step {
            return Err(fail(stop.span, &stop.message, stop.help));
        }
    }
    builder.root.ok_or_else(|| {
        fail(
            START,
            "the file is empty",
            Some("start from examples/chat/enclosure.yaml"),
        )
    })
}

/// Why reading stopped.
struct Stop {
    span: Span,
    message: String,
    help: Option<&'static str>,
}

impl Stop {
    fn new(span: Span, message: &str, help: &'static str) -> Self {
        Self {
            span,
            message: message.to_owned(),
            help: Some(help),
        }
    }

    fn from_scan(error: &ScanError) -> Self {
        let at = *error.marker();
        Self {
            span: Span {
                line: at.line().max(1),
                column: at.col().saturating_add(1),
                length: 1,
            },
            message: format!("this is not YAML: {}", error.info()),
            help: error.info().contains("tab").then_some("indent with spaces"),
        }
    }
}

/// Puts events together; never deeper or larger than the bounds.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

/// A collection whose end has not come yet.
struct Open {
    span: Span,
    value: Value,
    key: Option<Spanned<String>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => Err(Stop::new(
                span,
                "aliases are not read here",
                "write the value out where it is used",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                plain_only(span, anchor, tag.is_some())?;
                let plain = matches!(style, ScalarStyle::Plain);
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain,
                };
                self.place(Node { span, value })
            }
            Event::SequenceStart(anchor, tag) => {
                plain_only(span, anchor, tag.is_some())?;
                self.begin(span, Value::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                plain_only(span, anchor, tag.is_some())?;
                self.begin(span, Value::Mapping(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    span,
                    value,
                    key: _,
                }) => self.place(Node { span, value }),
                None => Err(Stop::new(
                    span,
                    "a collection ends that never began",
                    "remove it",
                )),
            },
        }
    }

    fn begin(&mut self, span: Span, value: Value) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} levels deep");
            return Err(Stop {
                span,
                message,
                help: None,
            });
        }
        self.open.push(Open {
            span,
            value,
            key: None,
        });
        Ok(())
    }

    fn place(&mut self, node: Node) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values");
            return Err(Stop {
                span: node.span,
                message,
                help: None,
            });
        }
        let Some(open) = self.open.last_mut() else {
            if self.root.is_some() {
                let help = "keep one document to a file";
                return Err(Stop::new(node.span, "a second document starts here", help));
            }
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::Sequence(items), _) => items.push(node),
            (Value::Mapping(entries), Some(key)) => entries.push(Entry { key, value: node }),
            (Value::Mapping(entries), None) => match node.value {
                Value::Scalar { text, .. } => {
                    if entries.len() >= MAX_MEMBERS {
                        let message = format!("more than {MAX_MEMBERS} keys in one mapping");
                        return Err(Stop {
                            span: node.span,
                            message,
                            help: None,
                        });
                    }
                    let earlier = entries.iter().find(|entry| entry.key.value == text);
                    if let Some(earlier) = earlier {
                        let line = earlier.key.span.line;
                        let message = format!("`{text}` is given twice; first on line {line}");
                        let help = Some("keep one of the two");
                        return Err(Stop {
                            span: node.span,
                            message,
                            help,
                        });
                    }
                    open.key = Some(Spanned {
                        value: text,
                        span: node.span,
                    });
                }
                Value::Sequence(_) | Value::Mapping(_) => {
                    let help = "a key is one word; put the collection after a `:`";
                    return Err(Stop::new(node.span, "a collection cannot be a key", help));
                }
            },
            // `begin` opens nothing but sequences and mappings.
            (Value::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

fn plain_only(span: Span, anchor: usize, tagged: bool) -> Result<(), Stop> {
    if tagged {
        return Err(Stop::new(
            span,
            "tags are not read here",
            "remove the `!` and what follows it",
        ));
    }
    if anchor != 0 {
        return Err(Stop::new(
            span,
            "anchors are not read here",
            "remove the `&` and its name",
        ));
    }
    Ok(())
}

fn convert(span: saphyr_parser::Span) -> Span {
    let (start, end) = (span.start, span.end);
    let same_line = start.line() == end.line();
    let length = if same_line {
        end.col().saturating_sub(start.col())
    } else {
        1
    };
    Span {
        line: start.line().max(1),
        column: start.col().saturating_add(1),
        length: length.max(1),
    }
}

/// The first character that no text file of ours has. A carriage return alone is one: YAML ends a line
/// there, most editors do not, and a line that the reader of a file does not see must not count.
fn first_control(text: &str) -> Option<Span> {
    let bad =
        |character: char| (character.is_control() && character != '\t') || character == '\u{feff}';
    text.lines().enumerate().find_map(|(line, content)| {
        let column = content.chars().position(bad)?;
        Some(Span {
            line: line.saturating_add(1),
            column: column.saturating_add(1),
            length: 1,
        })
    })
}

const START: Span = Span {
    line: 1,
    column: 1,
    length: 1,
};
const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 50_000;
// Keys are compared with one another, so their number is bounded by itself.
const MAX_MEMBERS: usize = 1024;

#[cfg(test)]
mod tests;
