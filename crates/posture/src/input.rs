//! What is read: files, folders, standard input, archives and lines of a shell, each into the form of a document.

use std::fs;
use std::path::Path;

use crate::scan::{Corpus, ReadError};

/// Reads what `path` names into `corpus`.
pub fn add(corpus: &mut Corpus, path: &Path) {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => {
            corpus.add_yaml(&name, &text);
        }
        Err(error) => corpus.errors.push(ReadError {
            file: name,
            place: crate::place::Place::default(),
            message: error.to_string(),
        }),
    }
}
