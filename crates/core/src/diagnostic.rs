//! Mistakes in a file that a person wrote, each with its place, the line itself and the fix.
//!
//! The text comes from a file that may be hostile, so everything printed is cut and cleaned.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::event::is_bidirectional;

/// A place in a text. Lines and columns count from 1; columns and lengths in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// How many characters are meant.
    pub length: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named by whoever asked.
    pub file: String,
    /// Where in the file.
    pub span: Span,
    /// The member it is about, such as `spec.stages[1].serves`; empty for the whole file.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line, cut around the place when it is long.
    pub snippet: String,
    /// How many characters of the snippet stand before the place.
    #[serde(skip)]
    indent: usize,
    /// How many characters of the snippet are meant.
    #[serde(skip)]
    width: usize,
}

/// Every mistake found in one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The mistakes, when there are any.
    pub(crate) fn from_list(mut list: Vec<Diagnostic>) -> Option<Self> {
        list.sort_by_key(|one| (one.span.line, one.span.column));
        list.dedup();
        (!list.is_empty()).then_some(Self(list))
    }

    pub(crate) fn one(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }

    /// A refusal that cannot say why.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// The mistakes, in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self.0.iter().take(MAX_PRINTED) {
            writeln!(formatter, "{diagnostic}")?;
        }
        let more = self.0.len().saturating_sub(MAX_PRINTED);
        if more > 0 {
            writeln!(formatter, "... and {more} more")?;
        }
        let file = self.0.first().map_or("", |first| first.file.as_str());
        let mistakes = if self.0.len() == 1 {
            "1 mistake"
        } else {
            &format!("{} mistakes", self.0.len())
        };
        write!(formatter, "{mistakes} in {file}")
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.span.line.to_string();
        let margin = " ".repeat(line.len());
        writeln!(formatter, "error: {}", self.message)?;
        let Span {
            line: _,
            column,
            length: _,
        } = self.span;
        write!(formatter, "{margin}--> {}:{line}:{column}", self.file)?;
        if self.field.is_empty() {
            writeln!(formatter)?;
        } else {
            writeln!(formatter, "  ({})", self.field)?;
        }
        writeln!(formatter, "{margin} |")?;
        writeln!(formatter, "{line} | {}", self.snippet)?;
        let carets = "^".repeat(self.width.max(1));
        writeln!(formatter, "{margin} | {}{carets}", " ".repeat(self.indent))?;
        if let Some(help) = &self.help {
            writeln!(formatter, "{margin} = fix: {help}")?;
        }
        Ok(())
    }
}

/// A text with the name of its file, ready to be pointed into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'text> {
    file: &'text str,
    text: &'text str,
}

impl<'text> Source<'text> {
    pub(crate) const fn new(file: &'text str, text: &'text str) -> Self {
        Self { file, text }
    }

    pub(crate) fn diagnostic(
        self,
        span: Span,
        field: &str,
        message: &str,
        help: Option<String>,
    ) -> Diagnostic {
        let line = self
            .text
            .lines()
            .nth(span.line.saturating_sub(1))
            .unwrap_or("");
        let (snippet, indent, width) = window(line, span);
        Diagnostic {
            file: printable(self.file, 1024),
            span,
            field: printable(field, 256),
            message: printable(message, 1024),
            help: help.map(|help| printable(&help, 1024)),
            snippet,
            indent,
            width,
        }
    }
}

/// The part of `line` around `span`, how far in it starts, and how wide it is.
fn window(line: &str, span: Span) -> (String, usize, usize) {
    let column = span.column.saturating_sub(1);
    let start = if column > MAX_SNIPPET / 2 {
        column.saturating_sub(MAX_SNIPPET / 3)
    } else {
        0
    };
    let part: String = line.chars().skip(start).take(MAX_SNIPPET).collect();
    let shown = part.chars().count();
    let mut snippet = String::new();
    if start > 0 {
        snippet.push('…');
    }
    snippet.push_str(&printable(&part, MAX_SNIPPET));
    if line
        .chars()
        .nth(start.saturating_add(MAX_SNIPPET))
        .is_some()
    {
        snippet.push('…');
    }
    let from = column.saturating_sub(start);
    let width = span.length.max(1).min(shown.saturating_sub(from).max(1));
    (snippet, from.saturating_add(usize::from(start > 0)), width)
}

/// The text with every character that could move the cursor or reorder the line replaced, one for one.
fn printable(text: &str, most: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(most));
    for character in text.chars().take(most) {
        let bad = character.is_control() || is_bidirectional(character);
        let shown = match character {
            '\t' => ' ',
            _ if bad => '\u{fffd}',
            other => other,
        };
        // Writing to a string cannot fail.
        _ = clean.write_char(shown);
    }
    clean
}

/// The entry of `known` nearest to `word`, when one is near enough to be meant.
pub(crate) fn nearest<'known>(
    word: &str,
    known: impl IntoIterator<Item = &'known str>,
) -> Option<&'known str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let bound = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits that turn `left` into `right`, where exchanging two neighbours is one edit.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last: Option<char> = None;
    for (index, character) in left.chars().enumerate() {
        let mut next = vec![index.saturating_add(1)];
        for (place, other) in right.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX);
            let replaced = at(&row, place).saturating_add(usize::from(character != *other));
            let removed = at(&row, place.saturating_add(1)).saturating_add(1);
            let added = at(&next, place).saturating_add(1);
            let mut best = replaced.min(removed).min(added);
            let swapped = place
                .checked_sub(1)
                .filter(|earlier| last == Some(*other) && right.get(*earlier) == Some(&character));
            if let Some(earlier) = swapped {
                best = best.min(at(&before, earlier).saturating_add(1));
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(character);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

const MAX_PRINTED: usize = 100;
const MAX_SNIPPET: usize = 100;

#[cfg(test)]
mod tests;
