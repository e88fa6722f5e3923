//! Files of variables, `NAME=value` a line, as compose and `docker run --env-file` read them.

use crate::node::{Entry, Node, Style, Value};
use crate::place::{FileId, Place};

/// Adds the variables of `text` to `into`.
pub(crate) fn read(file: FileId, text: &str, into: &mut Vec<Entry>) {
    let mut start = 0_usize;
    for (number, line) in (1_u32..).zip(text.split_inclusive('\n')) {
        let line_start = start;
        start += line.len();
        let content = line.trim();
        let content = content.strip_prefix("export ").unwrap_or(content);
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (name, value) = match content.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (content, None),
        };
        let place = |part: &str| {
            let name_end = if part == name {
                0
            } else {
                line.find('=').unwrap_or(0)
            };
            let found = line.get(name_end..).and_then(|rest| rest.find(part));
            let offset = name_end + found.unwrap_or(0);
            let column = line.get(..offset).unwrap_or("").chars().count() + 1;
            let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            Place {
                file,
                line: number,
                column: narrow(column),
                start: narrow(line_start + offset),
                end: narrow(line_start + offset + part.len()),
            }
        };
        into.push(Entry {
            place: place(name),
            key: name.to_owned(),
            value: Node {
                place: value
                    .filter(|value| !value.is_empty())
                    .map_or(place(name), place),
                value: Value::Scalar {
                    text: unquoted(value.unwrap_or("")).to_owned(),
                    // A name alone comes from the caller.
                    style: if value.is_some() {
                        Style::Quoted
                    } else {
                        Style::Plain
                    },
                },
            },
        });
        if into.len() >= MAX_VARIABLES {
            return;
        }
    }
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

const MAX_VARIABLES: usize = 10_000;
