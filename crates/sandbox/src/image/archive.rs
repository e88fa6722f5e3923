//! An OCI layout in an archive, taken out without following anything that it says about paths.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::{Bounds, UnpackImageError};

/// Writes the documents and blobs of the archive below `target`. Other entries are passed over.
pub(super) fn extract(
    archive: &Path,
    target: &Path,
    bounds: &Bounds,
) -> Result<(), UnpackImageError> {
    let file = File::open(archive).map_err(UnpackImageError::file("open", archive))?;
    let blobs = target.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(UnpackImageError::file("make", &blobs))?;
    let malformed = |error: io::Error| UnpackImageError::document("archive", error);
    let mut entries = 0;
    let mut left = bounds.bytes;
    let mut tar = tar::Archive::new(file);
    for entry in tar.entries().map_err(malformed)? {
        let entry = entry.map_err(malformed)?;
        entries += 1;
        if entries > bounds.entries {
            return Err(UnpackImageError::TooMuch {
                what: "entries",
                limit: bounds.entries,
            });
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = match place(&name) {
            Some(Place::Document(document)) => target.join(document),
            Some(Place::Blob(blob)) => blobs.join(blob),
            None => continue,
        };
        let size = entry.size();
        left = left.checked_sub(size).ok_or(UnpackImageError::TooMuch {
            what: "bytes",
            limit: bounds.bytes,
        })?;
        // Made new: a name that comes twice is refused.
        let mut copy = File::create_new(&path).map_err(UnpackImageError::file("make", &path))?;
        io::copy(&mut entry.take(size), &mut copy)
            .map_err(UnpackImageError::file("write", &path))?;
    }
    Ok(())
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
