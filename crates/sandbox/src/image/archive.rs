//! An OCI layout in an archive, taken out without following anything that it says about paths.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::members::Members;
use super::{Bounds, UnpackImageError};

/// Writes the documents and blobs of the archive below `target`. Other entries are passed over.
pub(super) fn extract(
    archive: &Path,
    target: &Path,
    bounds: &Bounds,
) -> Result<(), UnpackImageError> {
    let file = open(archive, bounds)?;
    let blobs = target.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(UnpackImageError::file("make", &blobs))?;
    let mut left = bounds.entries;
    let mut tar = tar::Archive::new(file);
    for member in Members::of(&mut tar).map_err(malformed)? {
        let member = member.map_err(malformed)?;
        left = left.checked_sub(1).ok_or(UnpackImageError::TooMuch {
            what: "entries",
            limit: bounds.entries,
        })?;
        if !member.entry.header().entry_type().is_file() {
            continue;
        }
        let path = match place(&String::from_utf8_lossy(&member.name())) {
            Some(Place::Document(document)) => target.join(document),
            Some(Place::Blob(blob)) => blobs.join(blob),
            None => continue,
        };
        let size = member.entry.size();
        bounds.room(&blobs, size)?;
        // Made new: a name that comes twice is refused.
        let mut copy = File::create_new(&path).map_err(UnpackImageError::file("make", &path))?;
        io::copy(&mut member.entry.take(size), &mut copy)
            .map_err(UnpackImageError::file("write", &path))?;
    }
    Ok(())
}

/// A file, and no pipe on which opening would wait, of a length that bounds all that follows.
fn open(archive: &Path, bounds: &Bounds) -> Result<File, UnpackImageError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(archive)
        .map_err(UnpackImageError::file("open", archive))?;
    let kind = file
        .metadata()
        .map_err(UnpackImageError::file("open", archive))?;
    if !kind.is_file() {
        let reason = "it is neither a file nor a directory";
        return Err(UnpackImageError::document("archive", reason));
    }
    if kind.len() > bounds.bytes {
        return Err(UnpackImageError::TooMuch {
            what: "bytes",
            limit: bounds.bytes,
        });
    }
    Ok(file)
}

enum Place {
    Document(&'static str),
    Blob(String),
}

/// Where an entry belongs, judged by its whole name. No part of a name becomes a path that is not
/// written here or is 64 hexadecimal digits.
fn place(name: &str) -> Option<Place> {
    match name.strip_prefix("./").unwrap_or(name) {
        "oci-layout" => Some(Place::Document("oci-layout")),
        "index.json" => Some(Place::Document("index.json")),
        other => {
            let digits = other.strip_prefix("blobs/sha256/")?;
            let plain = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| Place::Blob(digits.to_owned()))
        }
    }
}

/// Whoever names a file as an archive learns nothing of what it holds: a parser's words quote it.
fn malformed(error: io::Error) -> UnpackImageError {
    let ours = error
        .get_ref()
        .is_some_and(|inner| inner.is::<super::members::Malformed>());
    if ours || error.raw_os_error().is_some() {
        UnpackImageError::document("archive", error)
    } else {
        UnpackImageError::document("archive", "it is not a whole tar archive")
    }
}
