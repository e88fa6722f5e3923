//! One layer after the other, entry by entry, into the tree of an image.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::FileType;
use tar::{Entry, EntryType};

use super::directory::{self, Place, Tree};
use super::layout::Layer;
use super::members::{Member, Members};
use super::reading::Measured;
use super::{Bounds, UnpackImageError};

/// An image being unpacked.
#[derive(Debug)]
pub(super) struct Unpacking {
    tree: Tree,
    place: PathBuf,
    bounds: Bounds,
    bytes_left: u64,
    read_left: u64,
    entries_left: u64,
}

impl Unpacking {
    pub(super) fn new(root: &Path, bounds: &Bounds) -> Result<Self, UnpackImageError> {
        let tree = Tree::make(root).map_err(UnpackImageError::file("make", root))?;
        Ok(Self {
            tree,
            place: root.to_owned(),
            bounds: *bounds,
            bytes_left: bounds.bytes,
            read_left: bounds.bytes,
            entries_left: bounds.entries,
        })
    }

    /// Applies a layer, and refuses it if blob or archive are not what their digests say. What was
    /// unpacked by then is thrown away by the caller.
    pub(super) fn apply(&mut self, blob: &Path, layer: &Layer) -> Result<(), UnpackImageError> {
        let open = UnpackImageError::file("open", blob);
        let file = File::open(blob).map_err(open)?;
        let read = UnpackImageError::file("read", blob);
        let mut stored = Measured::new(BufReader::new(file), layer.size);
        let content = if layer.compressed {
            self.apply_archive(MultiGzDecoder::new(BufReader::new(&mut stored)))?
        } else {
            self.apply_archive(&mut stored)?
        };
        if content != layer.content {
            let expected = layer.content.to_string();
            return Err(UnpackImageError::Altered {
                what: "a layer's archive",
                expected,
            });
        }
        if stored.finish().map_err(read)?.0 != layer.blob {
            let expected = layer.blob.to_string();
            return Err(UnpackImageError::Altered {
                what: "a layer",
                expected,
            });
        }
        Ok(())
    }

    fn apply_archive(
        &mut self,
        content: impl Read,
    ) -> Result<super::reading::Sha256Digest, UnpackImageError> {
        let limit = self.bounds.bytes;
        let malformed = |error: io::Error| match error.kind() {
            io::ErrorKind::FileTooLarge => UnpackImageError::TooMuch {
                what: "bytes",
                limit,
            },
            _ => UnpackImageError::document("layer", error),
        };
        let mut content = Measured::new(content, self.read_left);
        // An opaque directory hides what lower layers put there, not what this one does.
        let mut own = BTreeSet::new();
        {
            let mut archive = tar::Archive::new(&mut content);
            for member in Members::of(&mut archive).map_err(malformed)? {
                self.member(&mut member.map_err(malformed)?, &mut own)?;
            }
        }
        let (digest, left) = content.finish().map_err(malformed)?;
        self.read_left = left;
        Ok(digest)
    }

    fn member(
        &mut self,
        member: &mut Member<'_, impl Read>,
        own: &mut BTreeSet<PathBuf>,
    ) -> Result<(), UnpackImageError> {
        self.entries_left = self
            .entries_left
            .checked_sub(1)
            .ok_or(UnpackImageError::TooMuch {
                what: "entries",
                limit: self.bounds.entries,
            })?;
        let name = String::from_utf8_lossy(&member.name()).into_owned();
        let refused = |reason| UnpackImageError::Entry {
            entry: name.clone(),
            reason,
        };
        let path = check_name(&member.name()).map_err(refused)?;
        let kind = member.entry.header().entry_type();
        if path.as_os_str().is_empty() {
            // The root itself.
            return if kind.is_dir() {
                Ok(())
            } else {
                Err(refused("the root is not a directory"))
            };
        }
        let failed = |error: io::Error| UnpackImageError::File {
            act: "unpack",
            path: self.place.join(&path),
            source: error,
        };
        self.bounds.room(&self.place, member.entry.size())?;
        let place = self.tree.place(&path).map_err(failed)?;
        if let Some(hidden) = whiteout(&path).map_err(refused)? {
            return self.hide(&hidden, own).map_err(failed);
        }
        match kind {
            EntryType::Directory => place.make_directory().map_err(failed)?,
            EntryType::Regular | EntryType::Continuous => {
                self.bytes_left = self.bytes_left.checked_sub(member.entry.size()).ok_or(
                    UnpackImageError::TooMuch {
                        what: "bytes",
                        limit: self.bounds.bytes,
                    },
                )?;
                write(&place, &mut member.entry).map_err(failed)?;
            }
            EntryType::Symlink => {
                let target = member.link();
                let target = target.ok_or_else(|| refused("a link without a target"))?;
                place
                    .make_link(Path::new(OsStr::from_bytes(&target)))
                    .map_err(failed)?;
            }
            EntryType::Link => {
                let target = member.link();
                let target = target.ok_or_else(|| refused("a link without a target"))?;
                let target = check_name(&target).map_err(refused)?;
                let existing = self.tree.place(&target).map_err(failed)?;
                place.make_hard_link(&existing).map_err(failed)?;
            }
            EntryType::Char | EntryType::Block => return Err(refused("it is a device")),
            EntryType::Fifo => return Err(refused("it is a pipe")),
            // Comments for the whole archive.
            EntryType::XGlobalHeader => return Ok(()),
            _ => return Err(refused("its type is not understood")),
        }
        remember(&path, own);
        Ok(())
    }

    /// Takes away what lower layers put at a place.
    fn hide(&self, hidden: &Hidden, own: &BTreeSet<PathBuf>) -> io::Result<()> {
        match hidden {
            Hidden::Entry(path) if own.contains(path) => Ok(()),
            Hidden::Entry(path) => self.tree.place(path)?.remove(),
            Hidden::Content(path) if path.as_os_str().is_empty() => {
                for (name, _) in directory::names(self.tree.root())? {
                    if !own.contains(Path::new(&name)) {
                        self.tree.place(Path::new(&name))?.remove()?;
                    }
                }
                Ok(())
            }
            Hidden::Content(path)
                if own
                    .iter()
                    .any(|known| known != path && known.starts_with(path)) =>
            {
                // The mark comes first in every archive that is made as the specification says.
                Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "an opaque mark after its content",
                ))
            }
            Hidden::Content(path) => self.tree.place(path)?.empty(),
        }
    }

    /// Makes what every sandbox mounts upon, and says what is in the root.
    pub(super) fn finish(self) -> Result<Vec<String>, UnpackImageError> {
        let failed = UnpackImageError::file("finish", &self.place);
        self.mount_points().map_err(failed)
    }

    fn mount_points(&self) -> io::Result<Vec<String>> {
        for path in MOUNT_POINTS {
            // Links and files in these places would lead the runtime elsewhere.
            let mut whole = PathBuf::new();
            for part in Path::new(path) {
                whole.push(part);
                self.tree.place(&whole)?.make_directory()?;
            }
        }
        for (path, content) in FILES {
            let place = self.tree.place(Path::new(path))?;
            if place.kind()?.is_none() {
                io::Write::write_all(&mut place.make_file(false)?, content.as_bytes())?;
            }
        }
        let names = directory::names(self.tree.root())?.into_iter();
        let kept =
            names.filter(|(_, kind)| matches!(kind, FileType::Directory | FileType::RegularFile));
        Ok(kept.map(|(name, _)| name).collect())
    }
}

fn write(place: &Place, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
    let executable = entry.header().mode()? & 0o111 != 0;
    let changed = entry.header().mtime().unwrap_or(0);
    let size = entry.size();
    let mut file = place.make_file(executable)?;
    if io::copy(entry, &mut file)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    directory::set_changed(&file, changed)
}

/// A name as a path below the root: no `..`, no zero byte, not too long or deep. A leading `/` or
/// `./` means the root, as in every archive.
pub(crate) fn check_name(name: &[u8]) -> Result<PathBuf, &'static str> {
    let text = str::from_utf8(name).map_err(|_| "its name is not text")?;
    if text.len() > 4095 || text.contains('\0') {
        return Err("its name is too long or has a zero byte");
    }
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) if name.len() > 255 => {
                return Err("a part of its name is too long");
            }
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => return Err("its name leaves the root"),
            Component::Prefix(_) => return Err("its name is not of this system"),
        }
    }
    if path.components().count() > 128 {
        Err("it is nested too deeply")
    } else {
        Ok(path)
    }
}

enum Hidden {
    Entry(PathBuf),
    Content(PathBuf),
}

/// What a whiteout entry hides, if it is one.
fn whiteout(path: &Path) -> Result<Option<Hidden>, &'static str> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    match name.strip_prefix(".wh.") {
        None => Ok(None),
        Some(".wh..opq") => Ok(Some(Hidden::Content(parent.to_owned()))),
        Some("" | "." | "..") => Err("a whiteout without a name"),
        Some(hidden) if hidden.starts_with(".wh.") => Err("an unknown whiteout"),
        Some(hidden) => Ok(Some(Hidden::Entry(parent.join(hidden)))),
    }
}

/// Notes that this layer has put something at a path, and so at each of its parents.
fn remember(path: &Path, own: &mut BTreeSet<PathBuf>) {
    for part in path.ancestors() {
        if part.as_os_str().is_empty() || !own.insert(part.to_owned()) {
            break;
        }
    }
}

const MOUNT_POINTS: &[&str] = &[
    "proc",
    "dev",
    "tmp",
    "models",
    ".casemate",
    "etc",
    "sys/devices/system/cpu",
];
const FILES: &[(&str, &str)] = &[("etc/hosts", crate::plan::HOSTS), ("etc/resolv.conf", "")];
