//! Directories of the host for a stage: found without following anything, and handed on as they were
//! found.
//!
//! A path is what an enclosure's author wrote, and the launcher opens it with every right. So each
//! part of it is opened in the one before, links are refused, and what others could not reach on the
//! host, or what the launcher keeps, no stage gets.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_linux::mount;
use rustix::fs::{Mode, OFlags, Stat};

use crate::plan::Plan;

/// Why a directory of the host is not given to a stage.
#[derive(Debug, thiserror::Error)]
pub enum OpenHostDirectoryError {
    /// It cannot be looked at, or a part of its path is a link or no directory.
    #[error("`{path}` is no directory that is reached without links")]
    Reach {
        /// How far the path was followed.
        path: PathBuf,
        /// Why it went no further.
        source: io::Error,
    },
    /// Other users of the host cannot pass.
    #[error("`{0}` is closed to other users of this host (no `o+x`), and so to stages")]
    Closed(PathBuf),
    /// It is, holds, or lies in what the launcher keeps for itself.
    #[error("`{0}` has to do with what the launcher keeps for itself")]
    Kept(PathBuf),
    /// Somebody's program answers for its content.
    #[error("`{0}` is served by a program (FUSE), as models are")]
    Served(PathBuf),
}

/// Judges every directory of the host in a plan, before anything else is done for it.
///
/// # Errors
/// See [`OpenHostDirectoryError`].
pub fn check(plan: &Plan) -> Result<(), OpenHostDirectoryError> {
    let mut directories = plan.root.host.iter();
    directories.try_for_each(|path| open(path, &plan.root.kept).map(drop))
}

/// Opens the directory at `path`, which names each directory above it; `kept` and what is above or
/// below them is refused.
pub(crate) fn open(path: &Path, kept: &[PathBuf]) -> Result<OwnedFd, OpenHostDirectoryError> {
    refuse_served(path)?;
    let kept = Kept::find(kept)?;
    let mut here = PathBuf::from("/");
    let mut directory = reach(&here, rustix::fs::open(&here, DIRECTORY, Mode::empty()))?;
    for part in path.components().skip(1) {
        judge(&directory, &here, &kept)?;
        here.push(part);
        let next = rustix::fs::openat(&directory, part.as_os_str(), DIRECTORY, Mode::empty());
        directory = reach(&here, next)?;
    }
    let status = judge(&directory, &here, &kept)?;
    if kept.above.contains(&identity(&status)) {
        return Err(OpenHostDirectoryError::Kept(here));
    }
    if reach(&here, rustix::fs::fstatfs(&directory))?.f_type == FUSE {
        return Err(OpenHostDirectoryError::Served(here));
    }
    let found = reach(
        &here,
        rustix::fs::readlink(by_descriptor(&directory), vec![]),
    )?;
    if found.as_bytes() == path.as_os_str().as_encoded_bytes() {
        Ok(directory)
    } else {
        reach(path, Err(rustix::io::Errno::STALE))
    }
}

/// By the mount table: to touch such a file system is to wait for its program.
fn refuse_served(path: &Path) -> Result<(), OpenHostDirectoryError> {
    let mounts = mount::list(Path::new("/")).map_err(|source| OpenHostDirectoryError::Reach {
        path: path.to_owned(),
        source,
    })?;
    let served = mounts
        .iter()
        .any(|mount| mount.file_system.starts_with("fuse") && path.starts_with(&mount.point));
    if served {
        Err(OpenHostDirectoryError::Served(path.to_owned()))
    } else {
        Ok(())
    }
}

/// Where an open directory can be named for a mount.
pub(crate) fn by_descriptor(directory: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

/// What the launcher keeps, known by more than its names: it may be mounted elsewhere, too.
struct Kept {
    roots: Vec<Identity>,
    above: Vec<Identity>,
}

type Identity = (u64, u64);

impl Kept {
    fn find(paths: &[PathBuf]) -> Result<Self, OpenHostDirectoryError> {
        let mut kept = Self {
            roots: Vec::new(),
            above: Vec::new(),
        };
        for path in paths {
            let real = match fs::canonicalize(path) {
                Ok(real) => real,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => {
                    let path = path.clone();
                    return Err(OpenHostDirectoryError::Reach { path, source });
                }
            };
            for (index, above) in real.ancestors().enumerate() {
                let status = reach(above, rustix::fs::stat(above))?;
                if index == 0 {
                    kept.roots.push(identity(&status));
                }
                kept.above.push(identity(&status));
            }
        }
        Ok(kept)
    }
}

fn judge(directory: &OwnedFd, path: &Path, kept: &Kept) -> Result<Stat, OpenHostDirectoryError> {
    let status = reach(path, rustix::fs::fstat(directory))?;
    if kept.roots.contains(&identity(&status)) {
        Err(OpenHostDirectoryError::Kept(path.to_owned()))
    } else if !Mode::from_raw_mode(status.st_mode).contains(Mode::XOTH) {
        Err(OpenHostDirectoryError::Closed(path.to_owned()))
    } else {
        Ok(status)
    }
}

const fn identity(status: &Stat) -> Identity {
    (status.st_dev, status.st_ino)
}

fn reach<T>(
    path: &Path,
    result: Result<T, rustix::io::Errno>,
) -> Result<T, OpenHostDirectoryError> {
    result.map_err(|error| OpenHostDirectoryError::Reach {
        path: path.to_owned(),
        source: error.into(),
    })
}

/// A link in the last place is opened as itself, and is no directory.
const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// `FUSE_SUPER_MAGIC`.
const FUSE: rustix::fs::FsWord = 0x6573_5546;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        mode(place.path(), 0o755);
        for name in [
            "open",
            "open/inner",
            "state",
            "state/images",
            "closed",
            "closed/inner",
        ] {
            fs::create_dir(place.path().join(name)).unwrap();
            mode(&place.path().join(name), 0o755);
        }
        mode(&place.path().join("closed"), 0o700);
        symlink("state", place.path().join("link")).unwrap();
        place
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn opened(place: &Path, name: &str) -> Result<(), OpenHostDirectoryError> {
        open(&place.join(name), &[place.join("state")]).map(drop)
    }

    #[test]
    fn a_directory_that_everybody_reaches_is_opened() {
        let place = place();
        opened(place.path(), "open/inner").unwrap();
        opened(place.path(), "open").unwrap();
    }

    #[test]
    fn links_are_not_followed_wherever_they_are() {
        let place = place();
        for name in ["link", "link/images"] {
            let refusal = opened(place.path(), name).unwrap_err();
            assert!(
                matches!(refusal, OpenHostDirectoryError::Reach { .. }),
                "{name}: {refusal}"
            );
        }
    }

    #[test]
    fn what_others_cannot_reach_is_refused() {
        let place = place();
        for name in ["closed", "closed/inner"] {
            let refusal = opened(place.path(), name).unwrap_err();
            assert!(
                matches!(&refusal, OpenHostDirectoryError::Closed(path) if path.ends_with("closed")),
                "{name}: {refusal}"
            );
        }
    }

    #[test]
    fn what_the_launcher_keeps_is_refused_with_what_is_above_and_below() {
        let place = place();
        for name in ["state", "state/images", ""] {
            let path = place.path().join(name);
            let path: PathBuf = path.components().collect();
            let refusal = open(&path, &[place.path().join("state")]).unwrap_err();
            assert!(
                matches!(refusal, OpenHostDirectoryError::Kept(_)),
                "{name}: {refusal}"
            );
        }
        // By a link, the launcher's own name for it leads to the same place.
        let refusal = open(&place.path().join("state"), &[place.path().join("link")]);
        assert!(matches!(refusal, Err(OpenHostDirectoryError::Kept(_))));
    }
}
