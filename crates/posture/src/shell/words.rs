//! The commands of a script as words that know where they stand.

use std::collections::HashMap;
use std::ops::Range;

use crate::place::{FileId, Place};

/// A word as the program would get it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// The source byte that each byte of the text comes from.
    from: Vec<usize>,
    /// Its bytes in the script, quotes counted.
    pub(crate) source: Range<usize>,
    /// Whether any part of it is quoted.
    pub(crate) quoted: bool,
}

impl Word {
    /// The bytes in the script that a part of the text comes from.
    pub(crate) fn part(&self, part: Range<usize>) -> Range<usize> {
        if part.start == 0 && part.end >= self.text.len() {
            return self.source.clone();
        }
        let first = self.from.get(part.start).copied();
        let last = part
            .end
            .checked_sub(1)
            .and_then(|last| self.from.get(last).copied());
        match (first, last) {
            (Some(first), Some(last)) if part.start < part.end && first <= last => first..last + 1,
            _ => self.source.clone(),
        }
    }

    fn push(&mut self, character: char, from: usize) {
        let at = if character.is_ascii() {
            1
        } else {
            character.len_utf8()
        };
        self.text.push(character);
        self.from.extend(from..from + at);
    }

    /// A text that stands somewhere else: all of it comes from `from`.
    fn push_filled(&mut self, text: &str, from: usize) {
        self.text.push_str(text);
        self.from.extend(std::iter::repeat_n(from, text.len()));
    }
}

/// A command up to what ends it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) start: usize,
    pub(crate) words: Vec<Word>,
}

/// A text that the script gave to a variable.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) text: String,
    pub(crate) source: Range<usize>,
}

/// Bytes as lines and columns. What is asked for in order costs little.
#[derive(Debug)]
pub(crate) struct Positions<'text> {
    file: FileId,
    text: &'text str,
    starts: Vec<usize>,
    /// The last answer: line, byte, and column there.
    last: (usize, usize, usize),
}

impl Positions<'_> {
    pub(crate) fn place(&mut self, start: usize, end: usize) -> Place {
        let line = self
            .starts
            .partition_point(|first| *first <= start)
            .saturating_sub(1);
        let first = self.starts.get(line).copied().unwrap_or(0);
        let (known_line, known, column) = self.last;
        let (from, column) = if known_line == line && known <= start && known >= first {
            (known, column)
        } else {
            (first, 0)
        };
        let column = column
            + self
                .text
                .get(from..start)
                .map_or(0, |text| text.chars().count());
        self.last = (line, start, column);
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            file: self.file,
            line: narrow(line + 1),
            column: narrow(column + 1),
            start: narrow(start),
            end: narrow(end),
        }
    }
}

/// Splits a script into commands.
#[derive(Debug)]
pub(crate) struct Reader<'text> {
    text: &'text str,
    at: usize,
    end: usize,
    /// Parts that are read on their own: substitutions and documents inside the script.
    nested: Vec<(Range<usize>, usize)>,
    depth: usize,
    here_documents: Vec<String>,
    pub(crate) positions: Positions<'text>,
    pub(crate) variables: HashMap<String, Assigned>,
    pub(crate) missing: Vec<(Place, String)>,
}

impl<'text> Reader<'text> {
    pub(crate) fn new(file: FileId, text: &'text str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Self {
            text,
            at: 0,
            end: text.len(),
            nested: Vec::new(),
            depth: 0,
            here_documents: Vec::new(),
            positions: Positions {
                file,
                text,
                starts,
                last: (0, 0, 0),
            },
            variables: HashMap::new(),
            missing: Vec::new(),
        }
    }

    /// The next command with words in it.
    pub(crate) fn next_command(&mut self) -> Option<Command> {
        loop {
            while self.at < self.end {
                let start = self.at;
                let words = self.command();
                self.assign(&words);
                if !words.is_empty() {
                    return Some(Command { start, words });
                }
            }
            let (range, depth) = self.nested.pop()?;
            (self.at, self.end, self.depth) = (range.start, range.end, depth);
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..self.end)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// The words up to the end of the command.
    fn command(&mut self) -> Vec<Word> {
        let mut words: Vec<Word> = Vec::new();
        let mut redirected = false;
        while let Some(character) = self.peek() {
            match character {
                '\n' => {
                    self.at += 1;
                    self.skip_here_documents();
                    break;
                }
                ';' | '&' | '|' | '(' | ')' => {
                    self.at += 1;
                    break;
                }
                '\\' if self.continues() => self.skip_continuation(),
                '#' => {
                    let rest = self.text.get(self.at..self.end).unwrap_or("");
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                '<' | '>' => redirected = self.redirection(&mut words),
                _ if character.is_whitespace() => self.at += character.len_utf8(),
                _ => {
                    let mut more = self.word();
                    if std::mem::take(&mut redirected) {
                        continue;
                    }
                    words.append(&mut more);
                    if words.len() > MAX_WORDS {
                        words.truncate(MAX_WORDS);
                    }
                }
            }
        }
        words
    }

    /// Whether a backslash stands at the end of its line. Scripts that were copied have blanks behind it.
    fn continues(&self) -> bool {
        let rest = self.text.get(self.at + 1..self.end).unwrap_or("");
        let line = rest.split('\n').next().unwrap_or(rest);
        line.trim().is_empty() && line.len() < 64
    }

    fn skip_continuation(&mut self) {
        let rest = self.text.get(self.at..self.end).unwrap_or("");
        self.at += rest.find('\n').map_or(rest.len(), |newline| newline + 1);
    }

    /// Takes `>`, `2>&1`, `<<END` and the like; whether the next word belongs to it.
    fn redirection(&mut self, words: &mut Vec<Word>) -> bool {
        let touching = words.last().is_some_and(|last| {
            last.source.end == self.at && last.text.bytes().all(|byte| byte.is_ascii_digit())
        });
        if touching {
            words.pop();
        }
        let rest = self.text.get(self.at..self.end).unwrap_or("");
        let length = rest
            .find(|character| !matches!(character, '<' | '>' | '&' | '-'))
            .unwrap_or(rest.len());
        let operator = rest.get(..length).unwrap_or("");
        self.at += length;
        if operator == "<<" || operator == "<<-" {
            let word = rest
                .get(length..)
                .unwrap_or("")
                .trim_start_matches([' ', '\t']);
            let name: String = word
                .chars()
                .take_while(|character| {
                    !character.is_whitespace() && !matches!(character, ';' | '|' | '>' | '&')
                })
                .filter(|character| !matches!(character, '"' | '\'' | '\\'))
                .take(64)
                .collect();
            if !name.is_empty() {
                self.here_documents.push(name);
            }
        }
        true
    }

    fn skip_here_documents(&mut self) {
        for name in std::mem::take(&mut self.here_documents) {
            let start = self.at;
            let mut end = self.end;
            for line in self
                .text
                .get(self.at..self.end)
                .unwrap_or("")
                .split_inclusive('\n')
            {
                let before = self.at;
                self.at += line.len();
                if line.trim() == name {
                    end = before;
                    break;
                }
            }
            self.nest(start..end);
        }
    }

    fn nest(&mut self, range: Range<usize>) {
        if self.depth < MAX_DEPTH && self.nested.len() < MAX_NESTED {
            self.nested.push((range, self.depth + 1));
        }
    }

    /// Whether the rest, from the line of `at` on, seems to start a container. Here documents and other programs'
    /// texts have quotes that are none for a shell, and nothing is lost with them.
    fn starts_containers(&self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or("");
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(line..self.end).unwrap_or("");
        ["docker ", "podman ", "nerdctl "]
            .iter()
            .any(|program| rest.contains(program))
    }

    /// One word; more than one where a variable without quotes holds several, none where it holds none.
    fn word(&mut self) -> Vec<Word> {
        let start = self.at;
        let mut word = Word::default();
        let mut quote = None;
        let mut filled = false;
        while let Some(character) = self.peek() {
            let at = self.at;
            match (quote, character) {
                (Some(open), _) if character == open => {
                    quote = None;
                    self.at += 1;
                }
                (None, '\'' | '"') => {
                    word.quoted = true;
                    quote = Some(character);
                    self.at += 1;
                }
                (None, '\\') if self.continues() => self.skip_continuation(),
                (Some('"') | None, '\\') => {
                    self.at += 1;
                    match self.next() {
                        Some('\n') | None => {}
                        Some(next) => word.push(next, at),
                    }
                }
                (Some('"') | None, '$' | '`') => {
                    filled |= self.fill(&mut word) && quote.is_none();
                }
                (Some(_), _) => {
                    self.at += character.len_utf8();
                    word.push(character, at);
                }
                (None, ';' | '&' | '|' | '(' | ')' | '<' | '>') => break,
                (None, _) if character.is_whitespace() => break,
                (None, _) => {
                    self.at += character.len_utf8();
                    word.push(character, at);
                }
            }
        }
        if quote.is_some() && self.starts_containers(start) {
            let place = self.positions.place(start, start);
            let message =
                "a quote that opens here is never closed: what follows was not read".to_owned();
            self.missing.push((place, message));
        }
        word.source = start..self.at;
        let splits = filled && !word.quoted && assignment(&word).is_none();
        if splits && word.text.contains(char::is_whitespace) {
            return split(&word);
        }
        vec![word]
    }

    /// Puts in what `$NAME`, `${NAME}`, `${NAME:-text}` or a substitution stands for; whether that is known.
    fn fill(&mut self, word: &mut Word) -> bool {
        let at = self.at;
        let rest = self.text.get(at..self.end).unwrap_or("");
        if rest.starts_with("$(") || rest.starts_with('`') {
            let (inside, length) = substitution(rest);
            self.nest(at + inside.start..at + inside.end);
            self.at += length;
            let shown: String = rest.get(..length.min(256)).unwrap_or("$()").to_owned();
            word.push_filled(&format!("${{{shown}}}"), at);
            return false;
        }
        let after = rest.get(1..).unwrap_or("");
        let (name, default, length) = match after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some((inner, _)) => {
                let end = inner.find(|one: char| !is_name(one)).unwrap_or(inner.len());
                let (name, more) = inner.split_at(end);
                let default = more.strip_prefix(":-").or_else(|| more.strip_prefix('-'));
                // `${NAME%x}` and the like are work for a shell.
                let name = if more.is_empty() || default.is_some() {
                    name
                } else {
                    ""
                };
                (name, default, inner.len() + 3)
            }
            None => {
                let end = after.find(|one: char| !is_name(one)).unwrap_or(after.len());
                (after.get(..end).unwrap_or(""), None, end + 1)
            }
        };
        let known = self
            .variables
            .get(name)
            .map(|known| known.text.as_str())
            .or(default);
        let fits = |text: &&str| !name.is_empty() && word.text.len() + text.len() <= MAX_FILLED;
        let known = known.filter(fits);
        match known {
            Some(text) => word.push_filled(text, at),
            None if length == 1 => word.push('$', at),
            None => {
                let shown = rest.get(1..length).unwrap_or("").trim_matches(['{', '}']);
                word.push_filled(&format!("${{{shown}}}"), at);
            }
        }
        self.at += length;
        known.is_some()
    }

    /// Remembers what a command gives to variables.
    fn assign(&mut self, words: &[Word]) {
        let declares = words.first().is_some_and(|word| {
            matches!(
                word.text.as_str(),
                "export" | "readonly" | "declare" | "local" | "typeset"
            )
        });
        let all = words.iter().all(|word| assignment(word).is_some());
        if !declares && !all {
            return;
        }
        for word in words {
            let Some((name, value)) = assignment(word) else {
                continue;
            };
            let source = word.part(value.clone());
            let text = word.text.get(value).unwrap_or("").to_owned();
            if self.variables.len() < MAX_VARIABLES && text.len() <= MAX_FILLED {
                self.variables
                    .insert(name.to_owned(), Assigned { text, source });
            }
        }
    }
}

/// The name and the bytes of the value in `NAME=value`.
pub(crate) fn assignment(word: &Word) -> Option<(&str, Range<usize>)> {
    let (name, _) = word.text.split_once('=')?;
    let is_one = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(is_name);
    is_one.then_some((name, name.len() + 1..word.text.len()))
}

const fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// What is inside `$( )` or between backticks, and how long the whole is.
fn substitution(text: &str) -> (Range<usize>, usize) {
    if text.starts_with('`') {
        let end = text
            .get(1..)
            .and_then(|rest| rest.find('`'))
            .map_or(text.len(), |at| at + 1);
        return (1..end, (end + 1).min(text.len()));
    }
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return (2..at, at + 1);
        }
    }
    (2.min(text.len())..text.len(), text.len())
}

/// The words that a variable without quotes holds, each at the place of the variable.
fn split(word: &Word) -> Vec<Word> {
    word.text
        .split_whitespace()
        .map(|text| Word {
            text: text.to_owned(),
            from: vec![word.source.start; text.len()],
            source: word.source.clone(),
            quoted: false,
        })
        .collect()
}

const MAX_WORDS: usize = 8_192;
const MAX_FILLED: usize = 8_192;
const MAX_VARIABLES: usize = 1_000;
const MAX_DEPTH: usize = 4;
const MAX_NESTED: usize = 1_000;
