//! Where a sealed model grows before it has its name: a hidden directory beside the destination.
//!
//! A process that is killed cannot remove its own. So each holds a lock on its directory, which the kernel
//! gives up with the process, and the next sealing to the same place removes those that nobody holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};

use super::SealModelError;
use crate::artifact::exists;

/// A hidden directory beside the destination; removed unless it was published.
pub(crate) struct Staging {
    directory: PathBuf,
    output: PathBuf,
    swept: Vec<PathBuf>,
    published: bool,
    // Held for as long as we live: whoever can take it knows that the directory is nobody's any more.
    _lock: File,
}

impl Staging {
    pub(crate) fn new(output: &Path) -> Result<Self, SealModelError> {
        let unnamed = || SealModelError::Output(output.to_owned());
        let name = output
            .file_name()
            .ok_or_else(unnamed)?
            .to_string_lossy()
            .into_owned();
        let write = |source| SealModelError::Write {
            path: output.to_owned(),
            source,
        };
        if exists(output).map_err(write)? {
            return Err(SealModelError::Exists(output.to_owned()));
        }
        let swept = sweep(parent_of(output), &name);
        let (directory, lock) = make(output, &name)?;
        Ok(Self {
            directory,
            output: output.to_owned(),
            swept,
            published: false,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(self.path(name))
    }

    /// Makes a file that `bytes` bytes will be written to, when there is room for them now. Room that
    /// others take meanwhile is noticed by the write that fails.
    pub(super) fn reserve(&self, name: &str, bytes: u64) -> Result<File, SealModelError> {
        let failed = |source| self.failed(name, source, bytes);
        let file = self.create(name).map_err(failed)?;
        let room = rustix::fs::fstatvfs(&file).map_err(|errno| failed(errno.into()))?;
        if room.f_bavail.saturating_mul(room.f_frsize) < bytes {
            return Err(SealModelError::NoSpace {
                path: self.output.clone(),
                needed: bytes,
            });
        }
        Ok(file)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SealModelError> {
        let failed = |source| self.failed(name, source, bytes.len() as u64);
        let mut file = self.create(name).map_err(failed)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(failed)
    }

    pub(super) fn failed(&self, name: &str, source: io::Error, needed: u64) -> SealModelError {
        if source.kind() == io::ErrorKind::StorageFull {
            SealModelError::NoSpace {
                path: self.output.clone(),
                needed,
            }
        } else {
            SealModelError::Write {
                path: self.path(name),
                source,
            }
        }
    }

    /// Gives the finished directory its final name, unless something took it meanwhile; returns what was
    /// swept away at the start.
    pub(crate) fn publish(mut self) -> Result<Vec<PathBuf>, SealModelError> {
        let failed = |source| SealModelError::Write {
            path: self.output.clone(),
            source,
        };
        let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&self.directory, mode).map_err(failed)?;
        sync(&self.directory).map_err(failed)?;
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, &self.directory, CWD, &self.output, flags) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                return Err(SealModelError::Exists(self.output.clone()));
            }
            // A file system without this flag: a plain rename replaces at most an empty directory.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::rename(&self.directory, &self.output).map_err(failed)?;
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        self.published = true;
        sync(parent_of(&self.output)).map_err(failed)?;
        Ok(std::mem::take(&mut self.swept))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // The error that brought us here is the one to report.
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

/// Makes the hidden directory for `output` and locks it.
fn make(output: &Path, name: &str) -> Result<(PathBuf, File), SealModelError> {
    loop {
        let mut random = [0; RANDOM_BYTES];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| SealModelError::Random)?;
        let hidden = format!(".{name}.{}{SUFFIX}", crate::digest::hex(&random));
        let directory = output.with_file_name(hidden);
        let failed = |source| SealModelError::Write {
            path: directory.clone(),
            source,
        };
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(failed)?;
        match lock(&directory) {
            Ok(lock) => return Ok((directory, lock)),
            // Before it was locked, another sealing to the same place took it for a dead one's.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                // Nothing is in it yet.
                drop(fs::remove_dir(&directory));
                return Err(failed(error));
            }
        }
    }
}

/// Locks a directory; it is not found when it was removed before that.
fn lock(directory: &Path) -> io::Result<File> {
    let opened = File::open(directory)?;
    rustix::fs::flock(&opened, FlockOperation::LockExclusive)?;
    let (named, held) = (fs::symlink_metadata(directory)?, opened.metadata()?);
    if (named.dev(), named.ino()) == (held.dev(), held.ino()) {
        Ok(opened)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn parent_of(output: &Path) -> &Path {
    output
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Removes from `parent` what sealings to `name` left there that are no longer alive, and says what it
/// was. What cannot be looked at or removed stays: it is in nobody's way.
fn sweep(parent: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut swept = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name();
        if is_partial_of(&hidden.to_string_lossy(), name)
            && remove_dead(&path).is_ok_and(|done| done)
        {
            swept.push(path);
        }
    }
    swept.sort();
    swept
}

/// Whether `hidden` is how a sealing to `name` would have called its directory.
fn is_partial_of(hidden: &str, name: &str) -> bool {
    let random = hidden
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == 2 * RANDOM_BYTES
            && random
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Removes a directory that is our user's own and locked by nobody; says whether it did.
fn remove_dead(path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if directory.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => fs::remove_dir_all(path).map(|()| true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

const SUFFIX: &str = ".partial";
const RANDOM_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_a_sealing_to_the_same_place_makes_are_taken_for_partials() {
        assert!(is_partial_of(".smol.0123456789abcdef.partial", "smol"));
        for other in [
            ".smol.0123456789abcde.partial",
            ".smol.0123456789ABCDEF.partial",
            ".smol.v2.0123456789abcdef.partial",
            "smol.0123456789abcdef.partial",
            ".smol.partial",
            ".smol.0123456789abcdef",
            ".smoll.0123456789abcdef.partial",
        ] {
            assert!(!is_partial_of(other, "smol"), "{other}");
        }
    }
}
