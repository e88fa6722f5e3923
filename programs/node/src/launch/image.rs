//! The image that a stage runs: opened with the rights of whoever asked, then unpacked as root.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use casemate_sandbox::image::{self, Bounds, Image, UnpackImageError};
use rustix::fs::Dir;

use super::Ground;
use crate::asker::{Asker, Opened};
use crate::failure::{Code, Failure};

/// Unpacks the image at `path` into the node's store.
pub(super) fn unpack(ground: &Ground, path: &Path) -> Result<Image, Failure> {
    let settings = &ground.node.settings;
    let store = settings.state.join("images");
    let opened = ground
        .asker
        .open(&settings.own_directories(), path)
        .map_err(|error| Failure::from_error(Code::FileRefused, &error))?;
    ground.step("fetch", "unpacking the image");
    let bounds = Bounds::default();
    let unpacked = match (&opened, &ground.asker) {
        (Opened::File(file), _) => image::unpack(&by_descriptor(file.as_raw_fd()), &store, &bounds),
        (Opened::Directory(directory), Asker::Root) => {
            image::unpack(&by_descriptor(directory.as_raw_fd()), &store, &bounds)
        }
        // Names in it are looked up as root later, and whoever asked can change what they mean.
        (Opened::Directory(directory), Asker::User(_)) => {
            let copy = Copy::of(&ground.asker, directory, &store, &bounds).map_err(|error| {
                let message = format!("cannot copy the image `{}`: {error}", path.display());
                Failure::new(Code::FileRefused, message)
            })?;
            image::unpack(&copy.path, &store, &bounds)
        }
    };
    unpacked.map_err(|error| refused(path, &error))
}

/// What a parser says about a file may quote the file; that goes to the daemon's log and no further.
fn refused(path: &Path, error: &UnpackImageError) -> Failure {
    let reason = match error {
        UnpackImageError::Document { document, reason } => {
            tracing::warn!(image = %path.display(), document, reason, "image refused");
            format!("its {document} is malformed; the daemon's log says where")
        }
        other => crate::report(other),
    };
    let message = format!("the image `{}`: {reason}", path.display());
    Failure::new(Code::ImageRefused, message)
}

/// Leads to exactly what is open, whatever happens to names.
fn by_descriptor(descriptor: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{descriptor}"))
}

/// A copy of an OCI layout that nobody else can change; removed when dropped.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn of(asker: &Asker, layout: &OwnedFd, store: &Path, bounds: &Bounds) -> io::Result<Self> {
        let name: String = crate::keys::random_hex::<8>().map_err(io::Error::other)?;
        let copy = Self {
            path: store.join(format!(".asked-{name}")),
        };
        let target = copy.path.join(BLOBS);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&target)?;
        let mut left = bounds.bytes;
        for document in ["oci-layout", "index.json"] {
            let file = asker.open_inside(layout, document)?;
            take(&file, &copy.path.join(document), &mut left)?;
        }
        let blobs = asker.open_directory_inside(layout, BLOBS)?;
        for (count, entry) in Dir::read_from(&blobs)?.enumerate() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                continue;
            }
            if count > MOST_BLOBS {
                return Err(io::Error::other("it has too many blobs"));
            }
            let file = asker.open_inside(&blobs, &name)?;
            take(&file, &target.join(&*name), &mut left)?;
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %error, "copy of an image stays");
        }
    }
}

fn take(file: &File, target: &Path, left: &mut u64) -> io::Result<()> {
    let mut copy = File::create_new(target)?;
    // One byte more than is left tells a file that is too long.
    let copied = io::copy(&mut file.take(left.saturating_add(1)), &mut copy)?;
    *left = left
        .checked_sub(copied)
        .ok_or_else(|| io::Error::other("it has too many bytes"))?;
    Ok(())
}

const BLOBS: &str = "blobs/sha256";
const MOST_BLOBS: usize = 4096;

#[cfg(test)]
mod tests;
