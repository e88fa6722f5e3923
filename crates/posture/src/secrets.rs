//! Whether a text is a secret, told by its shape and by the name it is given under.
//!
//! What only stands in for a secret (`changeme`, `<your-key>`, `${HF_TOKEN}`, `hf_xxxx`) is none. A secret is never
//! repeated: what is shown of it are its first four characters and its length.

use crate::node::is_unresolved;
use crate::place::{Files, Place};

mod names;
mod shapes;

pub(crate) use self::names::{is_placeholder, names_a_secret, normal as normal_name};
pub(crate) use self::shapes::find;

/// A secret that stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// What it is, such as `an NVIDIA API key`.
    pub(crate) what: &'static str,
    /// What may be shown of it.
    pub(crate) shown: String,
    /// Where in the text it starts.
    pub(crate) start: usize,
}

/// The secret that `value` is when it is given under `name`, where only the name tells.
pub(crate) fn by_name(name: &str, value: &str) -> Option<Secret> {
    let value = value.trim();
    let plain = value.len() >= MIN_LENGTH
        && names_a_secret(name)
        && !is_placeholder(value)
        && !is_reference(value)
        && !value.contains(char::is_whitespace);
    plain.then(|| Secret {
        what: "a secret by its name",
        shown: shown(value),
        start: 0,
    })
}

/// The secret in `value`, by its shape first and else by the name it is given under.
pub(crate) fn in_value(name: &str, value: &str) -> Option<Secret> {
    find(value).or_else(|| by_name(name, value))
}

/// The first secret of a text of many lines: by its shape anywhere, or in a line such as `NAME=value` or `name: value`.
pub(crate) fn in_lines(text: &str) -> Option<Secret> {
    find(text).or_else(|| {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if let Some(secret) = in_line(line) {
                return Some(Secret { start, ..secret });
            }
            start += line.len();
        }
        None
    })
}

fn in_line(line: &str) -> Option<Secret> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once(['=', ':'])?;
    let quotes: &[char] = &['"', '\'', ',', ' '];
    let name = name.trim_matches(quotes);
    if name.contains(char::is_whitespace) {
        return None;
    }
    let value = value.split(" #").next().unwrap_or(value);
    by_name(name, value.trim_matches(quotes))
}

/// How random a text is, in bits for each character.
pub(crate) fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = u32::try_from(text.len()).map_or(f64::MAX, f64::from);
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}

/// What is shown of a secret.
pub(crate) fn shown(secret: &str) -> String {
    let start: String = secret.chars().take(4).collect();
    format!("`{start}…` ({} characters)", secret.chars().count())
}

/// Where `start` of a scalar's text stands in its file, as far as the file's own text shows the same line; the
/// scalar's place otherwise.
pub(crate) fn line_of(files: &Files, place: Place, text: &str, start: usize) -> Place {
    let raw = files.text(place);
    let line = text
        .get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or("");
    let word = line.split_whitespace().next().unwrap_or("");
    let Some(offset) = (!word.is_empty()).then(|| raw.find(word)).flatten() else {
        return place;
    };
    let before = raw.get(..offset).unwrap_or("");
    let Some(last_break) = before.rfind('\n') else {
        return place;
    };
    let lines = before.bytes().filter(|byte| *byte == b'\n').count();
    let columns = before.get(last_break + 1..).unwrap_or("").chars().count();
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let from = place.start.saturating_add(small(offset));
    Place {
        line: place.line.saturating_add(small(lines)),
        column: small(columns).saturating_add(1),
        start: from,
        end: from.saturating_add(small(word.len())),
        ..place
    }
}

/// Whether a value only says where the secret is: a path, an address, a reference of some vault.
fn is_reference(value: &str) -> bool {
    is_unresolved(value)
        || value.starts_with(['/', '$', '@', '~', '.'])
        || value.contains("://")
        || REFERENCES.iter().any(|start| value.starts_with(start))
        // A file's name.
        || FILES.iter().any(|end| value.ends_with(end))
}

const REFERENCES: &[&str] = &[
    "vault:",
    "ref+",
    "op:",
    "arn:",
    "file:",
    "env:",
    "secret:",
    "secrets/",
    "projects/",
    "ENC[",
    "sha256:",
    "kms:",
    "awskms:",
    "gcpkms:",
    "azurekms:",
    "hashivault:",
    "%",
];
const FILES: &[&str] = &[
    ".pem", ".key", ".json", ".txt", ".yaml", ".crt", ".age", ".env",
];
/// Shorter values under the name of a secret are numbers and switches more often than secrets.
const MIN_LENGTH: usize = 8;

#[cfg(test)]
mod tests;
