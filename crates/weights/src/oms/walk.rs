//! The files of a model on disk: every regular file below a directory, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::format::MAX_FILES;
use crate::format::path::{ModelPath, ModelPathError, check_all};

/// Why a directory is not a model.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A directory or file could not be looked at.
    #[error("cannot read `{path}`")]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a directory.
    #[error("`{0}` is not a directory; name the directory that holds the model's files")]
    NotDirectory(PathBuf),
    /// A link, which could point anywhere, also later.
    #[error(
        "`{0}` is a symbolic link; replace it by the file it points to (`cp -rL SOURCE COPY` copies a whole hub cache so)"
    )]
    Symlink(PathBuf),
    /// A device, socket or pipe.
    #[error("`{0}` is neither a regular file nor a directory; move it out of the model")]
    Special(PathBuf),
    /// A name that is refused.
    #[error("a file name is refused")]
    Path(#[from] ModelPathError),
    /// No file at all.
    #[error("`{0}` holds no file; an empty model is not sealed or signed")]
    Empty(PathBuf),
    /// More files than the format allows.
    #[error("`{0}` holds more than {MAX_FILES} files; pack the small ones together")]
    TooMany(PathBuf),
}

/// One regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedFile {
    /// Its path inside the model.
    pub path: ModelPath,
    /// Its length.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// All files, sorted by the bytes of their paths.
    pub files: Vec<WalkedFile>,
    /// Paths that were left out because they were to be ignored.
    pub ignored: Vec<String>,
}

/// Lists every file below `directory` except those at or below `ignored` paths.
///
/// # Errors
/// On symbolic links, special files, names that are refused, or no files at all.
pub fn walk<S: AsRef<str>>(directory: &Path, ignored: &[S]) -> Result<Walked, WalkError> {
    let ignored: BTreeSet<&str> = ignored.iter().map(AsRef::as_ref).collect();
    let read = |path: &Path, source| WalkError::Read {
        path: path.to_owned(),
        source,
    };
    let top = fs::metadata(directory).map_err(|source| read(directory, source))?;
    if !top.is_dir() {
        return Err(WalkError::NotDirectory(directory.to_owned()));
    }
    let mut walked = Walked {
        files: Vec::new(),
        ignored: Vec::new(),
    };
    let mut pending = vec![(directory.to_owned(), String::new())];
    while let Some((place, prefix)) = pending.pop() {
        for entry in fs::read_dir(&place).map_err(|source| read(&place, source))? {
            let entry = entry.map_err(|source| read(&place, source))?;
            let file_path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| {
                ModelPathError::NotText(format!("{prefix}{}", name.to_string_lossy()))
            })?;
            let relative = format!("{prefix}{name}");
            if ignored.contains(relative.as_str()) {
                walked.ignored.push(relative);
                continue;
            }
            let kind = entry
                .file_type()
                .map_err(|source| read(&file_path, source))?;
            if kind.is_symlink() {
                return Err(WalkError::Symlink(file_path));
            } else if kind.is_dir() {
                // Checked before it grows further, so that depth and length stay within the limits.
                ModelPath::parse(&relative)?;
                pending.push((file_path, format!("{relative}/")));
            } else if kind.is_file() {
                let metadata = entry
                    .metadata()
                    .map_err(|source| read(&file_path, source))?;
                if walked.files.len() == MAX_FILES {
                    return Err(WalkError::TooMany(directory.to_owned()));
                }
                walked.files.push(WalkedFile {
                    path: ModelPath::parse(&relative)?,
                    size: metadata.len(),
                    executable: metadata.permissions().mode() & 0o100 != 0,
                });
            } else {
                return Err(WalkError::Special(file_path));
            }
        }
    }
    if walked.files.is_empty() {
        return Err(WalkError::Empty(directory.to_owned()));
    }
    walked.files.sort_by(|one, other| one.path.cmp(&other.path));
    walked.ignored.sort();
    check_all(walked.files.iter().map(|file| &file.path))?;
    Ok(walked)
}

/// What the specification leaves out, at the top of the model only.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];
