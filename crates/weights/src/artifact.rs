//! A sealed model on disk: five open files, of which nothing is believed yet.
//!
//! Opening never follows a symbolic link and never leaves the directory. Each file is opened once;
//! what is checked later is what was opened, whatever happens to the names meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};

use crate::format::{DATA_FILE, FILES, HEADER_FILE, INDEX_FILE, KEY_FILE, TAGS_FILE};

/// Why a directory was not taken for a sealed model.
#[derive(Debug, thiserror::Error)]
pub enum OpenArtifactError {
    /// The directory could not be opened.
    #[error("cannot open the sealed model `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One of the five files could not be opened.
    #[error(
        "cannot open `{name}` of the sealed model; a sealed model is a directory made by `casemate model seal`, to be copied whole"
    )]
    File {
        /// Which file.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something that is not a file, in the place of one.
    #[error("`{0}` of the sealed model is not a regular file")]
    NotRegular(&'static str),
    /// A file that the format does not know.
    #[error(
        "the sealed model holds `{0}`, which is not part of it; remove it or copy the model again"
    )]
    Unexpected(String),
    /// A file that is too long.
    #[error("`{name}` of the sealed model has {size} bytes; the format allows {limit}")]
    TooLarge {
        /// Which file.
        name: &'static str,
        /// Its length.
        size: u64,
        /// The format's limit.
        limit: u64,
    },
}

/// The five files of a sealed model.
#[derive(Debug)]
pub struct SealedFiles {
    /// `header.json`.
    pub header: File,
    /// `key.age`.
    pub key: File,
    /// `index`.
    pub index: File,
    /// `tags`.
    pub tags: File,
    /// `data`.
    pub data: File,
}

impl SealedFiles {
    /// Opens the files of the sealed model at `directory`.
    ///
    /// # Errors
    /// When one is missing, a link, or too large, or something else lies beside them.
    pub fn open(directory: &Path) -> Result<Self, OpenArtifactError> {
        let failed = |source: rustix::io::Errno| OpenArtifactError::Directory {
            path: directory.to_owned(),
            source: source.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, directory, flags, Mode::empty()).map_err(failed)?;
        Self::open_in(opened, directory)
    }

    /// Opens the files in a directory that is already open; `path` names it in messages.
    ///
    /// # Errors
    /// As [`SealedFiles::open`].
    pub fn open_in(directory: impl AsFd, path: &Path) -> Result<Self, OpenArtifactError> {
        let directory = directory.as_fd();
        let failed = |source: rustix::io::Errno| OpenArtifactError::Directory {
            path: path.to_owned(),
            source: source.into(),
        };
        for entry in Dir::read_from(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let known = FILES.iter().any(|(file, _)| *file == name);
            if !known && name != "." && name != ".." {
                return Err(OpenArtifactError::Unexpected(name));
            }
        }
        let open = |name: &'static str| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let failed = |source: io::Error| OpenArtifactError::File { name, source };
            let file = rustix::fs::openat(directory, name, flags, Mode::empty())
                .map_err(|errno| failed(errno.into()))?;
            check(name, File::from(file))
        };
        Ok(Self {
            header: open(HEADER_FILE)?,
            key: open(KEY_FILE)?,
            index: open(INDEX_FILE)?,
            tags: open(TAGS_FILE)?,
            data: open(DATA_FILE)?,
        })
    }

    /// Takes files that another process opened: header, key, index, tags, data.
    ///
    /// # Errors
    /// When one is not a regular file or is too large.
    pub fn from_descriptors(
        [header, key, index, tags, data]: [OwnedFd; 5],
    ) -> Result<Self, OpenArtifactError> {
        Ok(Self {
            header: check(HEADER_FILE, header.into())?,
            key: check(KEY_FILE, key.into())?,
            index: check(INDEX_FILE, index.into())?,
            tags: check(TAGS_FILE, tags.into())?,
            data: check(DATA_FILE, data.into())?,
        })
    }

    /// The same open files once more, for another reader.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            header: self.header.try_clone()?,
            key: self.key.try_clone()?,
            index: self.index.try_clone()?,
            tags: self.tags.try_clone()?,
            data: self.data.try_clone()?,
        })
    }

    /// The open files in the order that [`SealedFiles::from_descriptors`] takes.
    #[must_use]
    pub fn into_descriptors(self) -> [OwnedFd; 5] {
        [
            self.header.into(),
            self.key.into(),
            self.index.into(),
            self.tags.into(),
            self.data.into(),
        ]
    }
}

fn check(name: &'static str, file: File) -> Result<File, OpenArtifactError> {
    let metadata = file
        .metadata()
        .map_err(|source| OpenArtifactError::File { name, source })?;
    if !metadata.is_file() {
        return Err(OpenArtifactError::NotRegular(name));
    }
    let limit = FILES
        .iter()
        .find(|(file, _)| *file == name)
        .map_or(0, |(_, limit)| *limit);
    if metadata.len() > limit {
        return Err(OpenArtifactError::TooLarge {
            name,
            size: metadata.len(),
            limit,
        });
    }
    Ok(file)
}

/// Reads `file` whole from its start, whatever its position; more than `limit` bytes are an error.
pub(crate) fn read_whole(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let too_long = || io::Error::other(format!("it has more than the allowed {limit} bytes"));
    if size > limit {
        return Err(too_long());
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| too_long())?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Opens a file for reading that must be a regular one and no link.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Whether something has this name, also a dangling link.
pub(crate) fn exists(path: &Path) -> io::Result<bool> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
