//! What lies in a folder, without following links out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One thing in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path below the folder, with `/` between the parts.
    pub(super) path: String,
    pub(super) what: What,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    File {
        size: u64,
        executable: bool,
    },
    /// A symbolic link.
    Link {
        target: String,
        /// Whether it ends inside the folder, or in the store that a hub's cache keeps files in.
        inside: bool,
    },
    /// A device, a pipe, a socket.
    Other,
}

/// Everything in `root`, sorted by path.
pub(super) fn list(root: &Path) -> io::Result<Vec<Entry>> {
    let real = root.canonicalize()?;
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), String::new(), 0_usize)];
    while let Some((folder, prefix, depth)) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if prefix.is_empty() && name == ".git" {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    open.push((entry.path(), format!("{path}/"), depth + 1));
                }
                continue;
            }
            found.push(Entry {
                what: what(&entry.path(), &real)?,
                path,
            });
            if found.len() > MAX_FILES {
                return Err(io::Error::other(format!(
                    "more than {MAX_FILES} files in one model"
                )));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// The one file `path`.
pub(super) fn one(path: &Path) -> io::Result<Entry> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let resolved = path.canonicalize()?;
    let folder = resolved.parent().map_or_else(PathBuf::new, Path::to_owned);
    Ok(Entry {
        path: name.unwrap_or_default(),
        what: what(&resolved, &folder)?,
    })
}

fn what(path: &Path, root: &Path) -> io::Result<What> {
    let data = fs::symlink_metadata(path)?;
    if data.is_file() {
        return Ok(What::File {
            size: data.len(),
            executable: is_executable(&data),
        });
    }
    if !data.is_symlink() {
        return Ok(What::Other);
    }
    let target = fs::read_link(path)?;
    let shown = target.display().to_string();
    let cached = |target: &str| {
        let name = target.strip_prefix("../../blobs/");
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    // A link to nothing, and one in a loop, ends nowhere: that is not inside.
    let inside = path
        .canonicalize()
        .is_ok_and(|resolved| resolved.starts_with(root) || cached(&shown));
    Ok(What::Link {
        target: shown,
        inside,
    })
}

#[cfg(unix)]
fn is_executable(data: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    data.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
const fn is_executable(_data: &fs::Metadata) -> bool {
    false
}

const MAX_DEPTH: usize = 12;
const MAX_FILES: usize = 50_000;
