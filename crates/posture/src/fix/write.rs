//! Writes a file that was fixed: all of it or nothing, and only when it is what was read.
//!
//! Symbolic links, devices and everything else that is no plain file are refused: the file that a person named
//! is the one that is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::fs::OFlags;

use super::FixedFile;

/// Why a file was not written. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteFixError {
    /// A link, a device, an archive's member, standard input.
    #[error("`{path}` is no plain file, so it is not written")]
    NotPlain {
        /// The file.
        path: String,
    },
    /// It has more than one name, and the others would keep the old text.
    #[error("`{path}` has other names (hard links), so it is not written")]
    Shared {
        /// The file.
        path: String,
    },
    /// Somebody wrote it since it was read.
    #[error("`{path}` changed while it was scanned; scan it again")]
    Changed {
        /// The file.
        path: String,
    },
    /// The system said no.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Puts the fixed text in place of the old one.
///
/// # Errors
///
/// When the file is not the plain, unchanged one that was read, or cannot be written.
pub fn write(file: &FixedFile) -> Result<(), WriteFixError> {
    let path = Path::new(&file.name);
    let failed = |source| WriteFixError::Write {
        path: file.name.clone(),
        source,
    };
    let plain = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if !plain {
        return Err(WriteFixError::NotPlain {
            path: file.name.clone(),
        });
    }
    // Between the look and the opening, somebody could put a link there; it is not followed.
    let mut old = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let facts = old.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(WriteFixError::NotPlain {
            path: file.name.clone(),
        });
    }
    if facts.nlink() > 1 {
        return Err(WriteFixError::Shared {
            path: file.name.clone(),
        });
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(file.before.len())
        .unwrap_or(u64::MAX)
        .saturating_add(4);
    io::Read::by_ref(&mut old)
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    // The reader takes a byte order mark off; the file keeps it.
    let mark: &[u8] = b"\xef\xbb\xbf";
    let marked = bytes
        .strip_prefix(mark)
        .is_some_and(|rest| rest == file.before.as_bytes());
    if !marked && bytes != file.before.as_bytes() {
        return Err(WriteFixError::Changed {
            path: file.name.clone(),
        });
    }
    let mut new = if marked { mark.to_vec() } else { Vec::new() };
    new.extend_from_slice(file.after.as_bytes());
    replace(path, &new, &facts).map_err(failed)
}

fn replace(path: &Path, bytes: &[u8], old: &fs::Metadata) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staging = directory.join(format!(".{name}.{}.casemate", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staging)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&staging, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        // What is left is ours and incomplete; that it is there at all is the error reported.
        _ = fs::remove_file(&staging);
    }
    written
}

#[cfg(test)]
mod tests;
