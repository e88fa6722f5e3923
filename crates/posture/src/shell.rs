//! `docker run` lines in shell scripts, as documents in the form of compose services.
//!
//! A script is read and never run: words are split as a shell does, variables that the script itself sets to a
//! text are filled in, and all else stays unresolved. Every value keeps its place in the line.

use crate::estate::{Document, Kind};
use crate::place::{FileId, Place};

mod flags;
mod run;
mod words;

/// What a script holds.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Its `docker run` lines.
    pub(crate) documents: Vec<Document>,
    /// What could not be followed, and where.
    pub(crate) missing: Vec<(Place, String)>,
}

/// Finds every container that `text` starts.
pub(crate) fn read(file: FileId, text: &str) -> Script {
    let mut script = Script::default();
    let mut reader = words::Reader::new(file, text);
    while let Some(command) = reader.next_command() {
        if script.documents.len() >= MAX_LINES {
            let place = reader.positions.place(command.start, command.start);
            let message = format!("more than {MAX_LINES} lines that start containers");
            script.missing.push((place, message));
            break;
        }
        if let Some(root) = run::service(&command.words, &mut reader) {
            script.documents.push(Document {
                kind: Kind::DockerRun,
                file,
                root,
            });
        }
    }
    script.missing.append(&mut reader.missing);
    script
}

const MAX_LINES: usize = 2_000;

#[cfg(test)]
mod tests;
