//! What is read: files, folders, standard input, images and lines of a shell, each into the form of a document.
//!
//! Everything here may be hostile. A file that cannot be read is one error, and the others are read all the
//! same; sizes, numbers, depths and time are bounded, and nothing is ever written or unpacked to disk.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::place::Place;
use crate::rule::NotEvaluable;
use crate::scan::{Corpus, ReadError};

mod beside;
mod image;
mod kustomize;
mod texts;
mod walk;

/// Reads what `path` names into `corpus`.
pub fn add(corpus: &mut Corpus, path: &Path) {
    add_all(corpus, &[path.to_owned()]);
}

/// Reads everything that `paths` name, under bounds that hold for all of them together.
pub fn add_all(corpus: &mut Corpus, paths: &[PathBuf]) {
    let started = Instant::now();
    let found = walk::walk(corpus, paths);
    texts::read(corpus, &found.texts, started);
    for path in &found.models {
        if is_late(corpus, path, started) {
            continue;
        }
        crate::model::read(corpus, path);
    }
    for path in &found.model_files {
        crate::model::read_file(corpus, path);
    }
    for directory in kustomize::roots(&found.kustomizations) {
        if is_late(corpus, &directory, started) {
            continue;
        }
        kustomize::render(corpus, &directory);
    }
    for path in &found.images {
        image::read(corpus, path, started);
    }
}

/// Whether there is no time left for `path`, which is said then.
fn is_late(corpus: &mut Corpus, path: &Path, started: Instant) -> bool {
    let is_late = started.elapsed() > texts::MAX_TIME;
    if is_late {
        let message = format!(
            "not read: the scan has taken more than {} seconds",
            texts::MAX_TIME.as_secs()
        );
        refuse(corpus, &path.display().to_string(), &message);
    }
    is_late
}

/// Reads standard input, or anything else that is one text: manifests, a compose file, lines of a shell.
pub fn read_standard_input(corpus: &mut Corpus, source: &mut dyn Read) {
    let name = "-";
    match texts::take(source, None) {
        Ok(text) if text.starts_with("\u{1f}\u{8b}") => refuse(corpus, name, NOT_TEXT),
        Ok(text) => texts::add_text(corpus, name, &text, texts::guess(&text)),
        Err(message) => refuse(corpus, name, &message),
    }
}

/// Reads a layout from its documents: the index, the manifest `sha256:aa…` and the configuration `sha256:bb…`.
pub(crate) fn read_parts(corpus: &mut Corpus, parts: &[&[u8]]) {
    image::read_parts(corpus, parts);
}

/// The paths that are kept of a layer.
pub(crate) fn paths_of_layer(bytes: &[u8]) -> Vec<String> {
    image::paths_of_layer(bytes)
}

/// Notes that a whole file could not be read.
fn refuse(corpus: &mut Corpus, name: &str, message: &str) {
    corpus.errors.push(ReadError {
        file: name.to_owned(),
        place: Place::default(),
        message: message.to_owned(),
    });
}

/// Notes that something was seen and cannot be judged as it is.
fn cannot_tell(corpus: &mut Corpus, name: &str, message: &str) {
    let file = corpus.files.add(name, "");
    corpus.not_evaluable.push(NotEvaluable {
        rule: None,
        place: Place {
            file,
            line: 1,
            column: 1,
            ..Place::default()
        },
        resource: String::new(),
        message: message.to_owned(),
    });
}

const NOT_TEXT: &str =
    "this is not UTF-8 text; an image archive is read from a file, not from standard input";

#[cfg(test)]
mod tests;
