//! Files that a document names and that stand beside it: never outside of its folder, and never large.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use super::walk::reason;
use crate::place::{FileId, Files};

/// Reads files beside one document.
#[derive(Debug)]
pub(super) struct Beside {
    /// The folder; none for a text that has none.
    folder: Option<PathBuf>,
    read: HashMap<String, (FileId, String)>,
}

impl Beside {
    /// What stands beside the file at `path`.
    pub(super) fn of(path: Option<&Path>) -> Self {
        let folder = path.and_then(Path::parent).map(|folder| {
            let here = Path::new(".");
            if folder.as_os_str().is_empty() {
                here
            } else {
                folder
            }
            .to_owned()
        });
        Self {
            folder,
            read: HashMap::new(),
        }
    }

    /// The text of a file by its path from the folder; or why it was not read.
    pub(super) fn text(
        &mut self,
        files: &mut Files,
        name: &str,
    ) -> Result<(FileId, String), String> {
        if let Some(known) = self.read.get(name) {
            return Ok(known.clone());
        }
        if self.read.len() >= MAX_FILES {
            return Err(format!("more than {MAX_FILES} files beside one document"));
        }
        let folder = self
            .folder
            .as_deref()
            .ok_or("it was not among what was read")?;
        let path = inside(folder, name)?;
        let file = super::texts::open(&path)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| reason(&error))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let id = files.add(&path.display().to_string(), &text);
        self.read.insert(name.to_owned(), (id, text.clone()));
        Ok((id, text))
    }
}

/// The path of a regular file inside a folder. What leads out is refused: a report shows what it read, and
/// whoever wrote the document should not choose that.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    if crate::node::is_unresolved(name) {
        return Err("its name is filled in later".to_owned());
    }
    let relative = Path::new(name);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err("it is outside of the folder and was not read".to_owned());
    }
    let path = folder.join(relative.strip_prefix(".").unwrap_or(relative));
    let root = fs::canonicalize(folder).map_err(|error| reason(&error))?;
    let target = fs::canonicalize(&path).map_err(|error| reason(&error))?;
    if !target.starts_with(&root) {
        return Err("a link leads out of the folder, and it was not read".to_owned());
    }
    let metadata = fs::metadata(&target).map_err(|error| reason(&error))?;
    if metadata.is_file() {
        Ok(path)
    } else {
        Err("it is no file".to_owned())
    }
}

const MAX_FILES: usize = 64;
const MAX_BYTES: u64 = 1024 * 1024;
