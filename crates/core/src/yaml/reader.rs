//! Reads typed values out of a tree and collects every mistake on the way, instead of stopping at one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span, nearest};

/// A value with the place it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// In a schema the place does not show.
impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Where reading stands: the text, the way down to the current field, and what was wrong so far.
#[derive(Debug)]
pub(crate) struct Reader {
    // Owned, so that functions reading a field need no lifetime and can be passed by name.
    file: String,
    text: String,
    path: Vec<Step>,
    found: Vec<Diagnostic>,
    /// Which field was read at which line and column, for mistakes that only show later.
    fields: BTreeMap<(usize, usize), String>,
}

#[derive(Debug)]
enum Step {
    Member(String),
    Item(usize),
}

/// The members of one mapping whose keys have all been checked.
#[derive(Debug)]
pub(crate) struct Fields<'node> {
    pub(crate) span: Span,
    what: &'static str,
    entries: &'node [Entry],
}

impl Reader {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            path: Vec::new(),
            found: Vec::new(),
            fields: BTreeMap::new(),
        }
    }

    /// Records a mistake at `span`: about the field being read, or the one that was read there.
    pub(crate) fn report(&mut self, span: Span, message: impl AsRef<str>, help: impl Into<Help>) {
        if self.found.len() < MAX_FOUND {
            let Help(help) = help.into();
            let read_there = self.fields.get(&(span.line, span.column)).cloned();
            let field = if self.path.is_empty() {
                read_there
            } else {
                None
            };
            let field = field.unwrap_or_else(|| self.field());
            let source = Source::new(&self.file, &self.text);
            self.found
                .push(source.diagnostic(span, &field, message.as_ref(), help));
        }
    }

    /// What was read, when there was no mistake.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, Diagnostics> {
        if read.is_none() && self.found.is_empty() {
            // Refuse rather than trust that every step that gave nothing also said why.
            let span = Span {
                line: 1,
                column: 1,
                length: 1,
            };
            self.report(span, "the file could not be understood", None);
        }
        match (Diagnostics::from_list(self.found), read) {
            (None, Some(read)) => Ok(read),
            (Some(found), _) => Err(found),
            (None, None) => Err(Diagnostics::none()),
        }
    }

    /// The members of `node`, a mapping that is called `what` in messages and has only `known` keys.
    pub(crate) fn fields<'node>(
        &mut self,
        node: &'node Node,
        what: &'static str,
        known: &[&'static str],
    ) -> Option<Fields<'node>> {
        let Value::Mapping(entries) = &node.value else {
            let message = format!("{what} is a mapping, but here is {}", node.describe());
            self.report(
                node.span,
                message,
                format!("write its keys: {}", listed(known)),
            );
            return None;
        };
        self.remember(node.span);
        for entry in entries {
            let key = entry.key.value.as_str();
            if !known.contains(&key) && self.found.len() < MAX_FOUND {
                let help = nearest(key, known.iter().copied()).map_or_else(
                    || format!("the keys of {what} are {}", listed(known)),
                    |near| format!("did you mean `{near}`?"),
                );
                self.report(
                    entry.key.span,
                    format!("unknown key `{key}` in {what}"),
                    help,
                );
            }
        }
        Some(Fields {
            span: node.span,
            what,
            entries,
        })
    }

    /// The items of a list, each read by `each`; items that do not read are left out.
    pub(crate) fn list<T>(
        &mut self,
        node: &Node,
        mut each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Sequence(items) = &node.value else {
            let help = "write one item per line after `- `, or `[a, b]`";
            self.report(
                node.span,
                format!("a list belongs here, not {}", node.describe()),
                help,
            );
            return None;
        };
        self.remember(node.span);
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Item(index));
            read.extend(each(self, item));
            self.path.pop();
        }
        Some(read)
    }

    /// Like [`Reader::list`], for a list that may not be empty.
    pub(crate) fn some<T>(
        &mut self,
        node: &Node,
        each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        if matches!(&node.value, Value::Sequence(items) if items.is_empty()) {
            self.report(node.span, "at least one belongs here", None);
        }
        self.list(node, each)
    }

    /// The members of a mapping with free keys, each value read by `each`.
    pub(crate) fn map<T>(
        &mut self,
        node: &Node,
        mut each: impl FnMut(&mut Self, &Spanned<String>, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Mapping(entries) = &node.value else {
            let help = "write `name: value`, one per line";
            self.report(
                node.span,
                format!("a mapping belongs here, not {}", node.describe()),
                help,
            );
            return None;
        };
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            self.path.push(Step::Member(entry.key.value.clone()));
            self.remember(entry.key.span);
            read.extend(each(self, &entry.key, &entry.value));
            self.path.pop();
        }
        Some(read)
    }

    /// Any scalar but nothing, as it is written.
    pub(crate) fn text(&mut self, node: &Node) -> Option<Spanned<String>> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => {
                self.remember(node.span);
                Some(Spanned {
                    value: text.clone(),
                    span: node.span,
                })
            }
            Value::Scalar { .. } => {
                self.report(node.span, "a value is missing here", None);
                None
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                let message = format!("one value belongs here, not {}", node.describe());
                self.report(node.span, message, None);
                None
            }
        }
    }

    /// A scalar that parses as `T`; the type's own error says what was wrong.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, node: &Node) -> Option<Spanned<T>> {
        let Spanned { value, span } = self.text(node)?;
        match value.parse() {
            Ok(value) => Some(Spanned { value, span }),
            Err(error) => {
                self.report(span, format!("{error}"), None);
                None
            }
        }
    }

    /// A scalar that is one of `choices`.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        choices: &[(&'static str, T)],
    ) -> Option<Spanned<T>> {
        let Spanned { value, span } = self.text(node)?;
        let chosen = choices.iter().find(|(word, _)| *word == value);
        if chosen.is_none() {
            let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
            let help = nearest(&value, words.iter().copied()).map_or_else(
                || format!("write one of {}", listed(&words)),
                |near| format!("did you mean `{near}`?"),
            );
            self.report(span, format!("`{value}` is not a choice here"), help);
        }
        chosen.map(|(_, value)| Spanned {
            value: *value,
            span,
        })
    }

    /// A whole number in `range`, written in decimal without quotes.
    pub(crate) fn whole(
        &mut self,
        node: &Node,
        range: RangeInclusive<u64>,
    ) -> Option<Spanned<u64>> {
        let Spanned { value, span } = self.text(node)?;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value
            .parse()
            .ok()
            .filter(|number| digits && range.contains(number));
        if number.is_none() {
            let message = format!(
                "`{value}` is not a whole number from {} to {}",
                range.start(),
                range.end()
            );
            self.report(span, message, None);
        }
        number.map(|value| Spanned { value, span })
    }

    fn remember(&mut self, span: Span) {
        let field = self.field();
        self.fields.insert((span.line, span.column), field);
    }

    /// The name of the current field, such as `spec.stages[0].name`.
    fn field(&self) -> String {
        let mut field = String::new();
        for step in &self.path {
            // Writing to a string cannot fail.
            _ = match step {
                Step::Member(name) if field.is_empty() => write!(field, "{name}"),
                Step::Member(name) => write!(field, ".{name}"),
                Step::Item(index) => write!(field, "[{index}]"),
            };
        }
        field
    }
}

impl<'node> Fields<'node> {
    /// The member `name`, read by `read`; a mistake when it is not there.
    pub(crate) fn required<T>(
        &self,
        reader: &mut Reader,
        name: &'static str,
        read: impl FnOnce(&mut Reader, &'node Node) -> Option<T>,
    ) -> Option<T> {
        if self.find(name).is_none() {
            let message = format!("{} has no `{name}`", self.what);
            reader.report(self.span, message, format!("add `{name}: ...`"));
            return None;
        }
        self.optional(reader, name, read)
    }

    /// The member `name`, read by `read`, when it is there.
    pub(crate) fn optional<T>(
        &self,
        reader: &mut Reader,
        name: &'static str,
        read: impl FnOnce(&mut Reader, &'node Node) -> Option<T>,
    ) -> Option<T> {
        let entry = self.find(name)?;
        reader.path.push(Step::Member(name.to_owned()));
        let value = read(reader, &entry.value);
        reader.path.pop();
        value
    }

    /// The list `name`, or an empty one.
    pub(crate) fn items<T>(
        &self,
        reader: &mut Reader,
        name: &'static str,
        each: impl FnMut(&mut Reader, &Node) -> Option<T>,
    ) -> Vec<T> {
        self.optional(reader, name, |reader, node| reader.list(node, each))
            .unwrap_or_default()
    }

    /// The place of the key `name`, or of the whole mapping.
    pub(crate) fn place_of(&self, name: &str) -> Span {
        self.find(name).map_or(self.span, |entry| entry.key.span)
    }

    /// Whether the member is there, whatever it holds.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&'node Entry> {
        self.entries.iter().find(|entry| entry.key.value == name)
    }
}

/// What to write instead, when there is something to say.
#[derive(Debug)]
pub(crate) struct Help(Option<String>);

impl From<Option<String>> for Help {
    fn from(help: Option<String>) -> Self {
        Self(help)
    }
}

impl From<String> for Help {
    fn from(help: String) -> Self {
        Self(Some(help))
    }
}

impl From<&str> for Help {
    fn from(help: &str) -> Self {
        Self(Some(help.to_owned()))
    }
}

/// Words in back quotes, separated by commas.
pub(crate) fn listed<Word: AsRef<str>>(words: &[Word]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect();
    quoted.join(", ")
}

/// Enough for any honest file; a hostile one must not make its own report expensive.
const MAX_FOUND: usize = 200;
