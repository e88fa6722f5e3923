//! Changing a directory tree that somebody else described, without ever leaving it.
//!
//! Parents are resolved by the kernel as if the tree's root were the root of the system, so that
//! links in the tree lead somewhere in the tree. Last components are never followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// The root of the tree.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

/// A place in the tree: an open directory and a name in it.
#[derive(Debug)]
pub(super) struct Place {
    parent: OwnedFd,
    name: PathBuf,
}

impl Tree {
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        std::fs::create_dir(path)?;
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        rustix::fs::fchmod(&root, DIRECTORY_MODE)?;
        Ok(Self { root })
    }

    pub(super) fn open_at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            root: rustix::fs::open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?,
        })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The place at `path`, relative to the root; parents that are missing are made.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or_else(|| Path::new(""));
        Ok(Place {
            parent: self.directory(parent)?,
            name: Path::new(name).to_owned(),
        })
    }

    /// The directory at `path`, made with its parents where it is missing.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return Ok(rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?);
        }
        match self.open(path, DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let place = self.place(path)?;
        place.make_directory()?;
        // Through the root again: what was made may be reached over a link.
        Ok(self.open(path, DIRECTORY)?)
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), within) {
                // Something was renamed meanwhile; nothing of ours does that, so it will pass.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }
}

impl Place {
    /// What is there, if anything; a link is not followed.
    pub(super) fn kind(&self) -> io::Result<Option<FileType>> {
        match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(FileType::from_raw_mode(status.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is there, with everything below it.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self.kind()? {
            None => Ok(()),
            Some(FileType::Directory) => {
                empty(&self.open_directory()?)?;
                Ok(rustix::fs::unlinkat(
                    &self.parent,
                    &self.name,
                    AtFlags::REMOVEDIR,
                )?)
            }
            Some(_) => Ok(rustix::fs::unlinkat(
                &self.parent,
                &self.name,
                AtFlags::empty(),
            )?),
        }
    }

    /// Removes everything in the directory that is there, if it is one.
    pub(super) fn empty(&self) -> io::Result<()> {
        match self.kind()? {
            Some(FileType::Directory) => empty(&self.open_directory()?),
            Some(_) | None => Ok(()),
        }
    }

    /// A directory; one that is there stays, anything else goes.
    pub(super) fn make_directory(&self) -> io::Result<()> {
        if self.kind()? != Some(FileType::Directory) {
            self.remove()?;
            rustix::fs::mkdirat(&self.parent, &self.name, DIRECTORY_MODE)?;
        }
        Ok(rustix::fs::fchmod(self.open_directory()?, DIRECTORY_MODE)?)
    }

    /// A new file; what was there goes.
    pub(super) fn make_file(&self, executable: bool) -> io::Result<File> {
        self.remove()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = if executable {
            EXECUTABLE_MODE
        } else {
            FILE_MODE
        };
        let file = rustix::fs::openat(&self.parent, &self.name, flags, mode)?;
        rustix::fs::fchmod(&file, mode)?;
        Ok(file.into())
    }

    /// A symbolic link; what was there goes. Where it leads is resolved inside the sandbox.
    pub(super) fn make_link(&self, target: &Path) -> io::Result<()> {
        self.remove()?;
        Ok(rustix::fs::symlinkat(target, &self.parent, &self.name)?)
    }

    /// A second name for the file at `existing`; what was here goes.
    pub(super) fn make_hard_link(&self, existing: &Self) -> io::Result<()> {
        if existing.kind()? != Some(FileType::RegularFile) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the target is not a file",
            ));
        }
        let same = rustix::fs::statat(&existing.parent, &existing.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Ok(here) = rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            && (here.st_dev, here.st_ino) == (same.st_dev, same.st_ino)
        {
            return Ok(());
        }
        self.remove()?;
        let no_follow = AtFlags::empty();
        rustix::fs::linkat(
            &existing.parent,
            &existing.name,
            &self.parent,
            &self.name,
            no_follow,
        )?;
        Ok(())
    }

    fn open_directory(&self) -> io::Result<OwnedFd> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(
            &self.parent,
            &self.name,
            flags,
            Mode::empty(),
        )?)
    }
}

/// Sets when the content of a file last changed; interpreters compare it with what they compiled.
pub(super) fn set_changed(file: impl AsFd, seconds: u64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(0),
        tv_nsec: 0,
    };
    Ok(rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?)
}

/// The names in a directory and what they are.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<(String, FileType)>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = OsStr::new(entry.file_name().to_str().map_err(io::Error::other)?);
        if name == "." || name == ".." {
            continue;
        }
        let status = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        names.push((name.to_string_lossy().into_owned(), kind));
    }
    names.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(names)
}

/// Removes everything in a directory, without recursion: the depth is somebody else's choice.
fn empty(directory: &OwnedFd) -> io::Result<()> {
    let mut open = vec![(
        rustix::io::fcntl_dupfd_cloexec(directory, 0)?,
        None::<PathBuf>,
    )];
    while let Some((current, _)) = open.last() {
        let mut inner = None;
        for entry in rustix::fs::Dir::read_from(current)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match rustix::fs::unlinkat(current, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    let flags = DIRECTORY | OFlags::NOFOLLOW;
                    let directory = rustix::fs::openat(current, name, flags, Mode::empty())?;
                    let name = PathBuf::from(name.to_str().map_err(io::Error::other)?);
                    inner = Some((directory, Some(name)));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        match inner {
            Some(directory) if open.len() < DEEPEST => open.push(directory),
            Some(_) => return Err(io::Error::other("directories are nested too deeply")),
            None => {
                let done = open.pop();
                if let (Some((_, Some(name))), Some((parent, _))) = (done, open.last()) {
                    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
                }
            }
        }
    }
    Ok(())
}

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);
/// Everything in an image can be read by its own stage, which is not the owner, and by nobody else:
/// the store is closed to other users.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const EXECUTABLE_MODE: Mode = Mode::from_raw_mode(0o755);
const DEEPEST: usize = 512;
