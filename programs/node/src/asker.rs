//! Who asked for an enclosure, and opening what it names with that one's rights.
//!
//! The daemon is root and acts for others: whatever an enclosure file names is opened as if the asker
//! opened it, stays open, and is not looked up by name again. Nothing that waits, acts when it is opened,
//! or belongs to the daemon itself is opened for anybody.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use casemate_linux::rights::{User, with_rights_of};
use casemate_weights::artifact::{OpenArtifactError, SealedFiles};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

/// Who asked, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// May read everything anyway.
    Root,
    /// Somebody of the group that may use the API.
    User(User),
}

/// Why something that an enclosure names was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenNamedError {
    #[error("cannot open `{path}` {}", with_rights(*.uid))]
    Open {
        path: PathBuf,
        uid: u32,
        source: io::Error,
    },
    #[error("`{path}` is not a {wanted}")]
    Kind { path: PathBuf, wanted: &'static str },
    #[error("`{path}` leads into the daemon's own directory `{ours}`")]
    Ours { path: PathBuf, ours: PathBuf },
    #[error(
        "`{path}` can be replaced: `{part}` is not root's alone, so what a stage would see is not certain"
    )]
    Replaceable { path: PathBuf, part: PathBuf },
    #[error(transparent)]
    Artifact(#[from] OpenArtifactError),
}

/// What a name led to.
#[derive(Debug)]
pub(crate) enum Opened {
    File(File),
    Directory(OwnedFd),
}

impl Asker {
    pub(crate) fn new(user: User) -> Self {
        if user.uid == 0 {
            Self::Root
        } else {
            Self::User(user)
        }
    }

    /// Opens the regular file at `path`. Whatever lies below one of `ours` is refused, here and below.
    pub(crate) fn open_file(&self, ours: &[&Path], path: &Path) -> Result<File, OpenNamedError> {
        match self.open(ours, path)? {
            Opened::File(file) => Ok(file),
            Opened::Directory(_) => Err(not_a("regular file", path)),
        }
    }

    /// Opens the five files of the sealed model at `path`.
    pub(crate) fn open_sealed(
        &self,
        ours: &[&Path],
        path: &Path,
    ) -> Result<SealedFiles, OpenNamedError> {
        let Opened::Directory(directory) = self.open(ours, path)? else {
            return Err(not_a("directory", path));
        };
        let files = self
            .act(|| SealedFiles::open_in(&directory, path))
            .map_err(|source| self.failed(path, source))?;
        Ok(files?)
    }

    /// Opens the regular file or the directory at `path`.
    pub(crate) fn open(&self, ours: &[&Path], path: &Path) -> Result<Opened, OpenNamedError> {
        self.open_with(ours, path, ResolveFlags::NO_MAGICLINKS)
    }

    /// That the asker may have the host's directory at `path` shown to a stage. It is bound by its name
    /// later, so nobody but root may be able to put something else there.
    pub(crate) fn check_host_directory(
        &self,
        ours: &[&Path],
        path: &Path,
    ) -> Result<(), OpenNamedError> {
        let links = match self {
            Self::Root => ResolveFlags::NO_MAGICLINKS,
            Self::User(_) => ResolveFlags::NO_SYMLINKS,
        };
        let Opened::Directory(_) = self.open_with(ours, path, links)? else {
            return Err(not_a("directory", path));
        };
        if *self == Self::Root {
            return Ok(());
        }
        for part in path.ancestors() {
            let found = fs::symlink_metadata(part).map_err(|source| self.failed(path, source))?;
            if found.uid() != 0 || found.mode() & 0o022 != 0 {
                return Err(OpenNamedError::Replaceable {
                    path: path.to_owned(),
                    part: part.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Opens a file of a directory that is open, following no link.
    pub(crate) fn open_inside(&self, directory: &OwnedFd, name: &str) -> io::Result<File> {
        let file = File::from(self.open_below(directory, name, OFlags::NOCTTY)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other(format!("`{name}` is not a regular file")))
        }
    }

    /// Opens a directory below one that is open, following no link.
    pub(crate) fn open_directory_inside(
        &self,
        directory: &OwnedFd,
        name: &str,
    ) -> io::Result<OwnedFd> {
        self.open_below(directory, name, OFlags::DIRECTORY)
    }

    fn open_below(&self, directory: &OwnedFd, name: &str, kind: OFlags) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | kind;
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let open = || rustix::fs::openat2(directory, name, flags, Mode::empty(), links);
        Ok(self.act(open)??)
    }

    fn open_with(
        &self,
        ours: &[&Path],
        path: &Path,
        links: ResolveFlags,
    ) -> Result<Opened, OpenNamedError> {
        let (found, place) = self
            .act(|| open(path, links))
            .and_then(|opened| opened)
            .map_err(|source| self.failed(path, source))?;
        for ours in ours {
            // What the daemon made is there, so that its whole name is known.
            let ours = ours.canonicalize().unwrap_or_else(|_| ours.to_path_buf());
            if place.starts_with(&ours) {
                let path = path.to_owned();
                return Err(OpenNamedError::Ours { path, ours });
            }
        }
        found.ok_or_else(|| not_a("regular file or a directory", path))
    }

    /// Does `work` with the asker's rights.
    fn act<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Self::Root => Ok(work()),
            Self::User(user) => with_rights_of(user, work),
        }
    }

    fn failed(&self, path: &Path, source: io::Error) -> OpenNamedError {
        OpenNamedError::Open {
            path: path.to_owned(),
            uid: match self {
                Self::Root => 0,
                Self::User(user) => user.uid,
            },
            source,
        }
    }
}

/// Looks before it opens: a pipe would wait, and a device may act. `None` is something of that kind.
fn open(path: &Path, links: ResolveFlags) -> io::Result<(Option<Opened>, PathBuf)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links)?;
    // The name of what was found, and the way to open exactly that.
    let number = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let place = fs::read_link(&number)?;
    let again = |kind: OFlags| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | kind;
        rustix::fs::open(&number, flags, Mode::empty())
    };
    let opened = match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
        FileType::RegularFile => Some(Opened::File(again(OFlags::NOCTTY)?.into())),
        FileType::Directory => Some(Opened::Directory(again(OFlags::DIRECTORY)?)),
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => None,
    };
    Ok((opened, place))
}

fn not_a(wanted: &'static str, path: &Path) -> OpenNamedError {
    OpenNamedError::Kind {
        path: path.to_owned(),
        wanted,
    }
}

fn with_rights(uid: u32) -> String {
    if uid == 0 {
        "as root".to_owned()
    } else {
        format!("with the rights of user {uid}, who asked")
    }
}

#[cfg(test)]
mod tests;
