//! Images: what somebody else packed, unpacked without trusting any of it.
//!
//! Every blob is read against its digest, every layer against the identity that the image's
//! configuration gives it, and every entry is made relative to an open directory, inside the root,
//! or not at all. Device nodes, set-user-ID bits, extended attributes and owners are not kept.
//!
//! [`unpack`] takes an OCI layout, as a directory or as an archive, and makes
//! `<store>/<manifest digest>/` once; asked again, it returns what is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod archive;
mod directory;
mod layer;
mod layout;
mod members;
mod reading;

pub(crate) use layer::check_name;
pub(crate) use layout::{parse_configuration, parse_index, parse_manifest};
pub(crate) use members::parse_records;

/// An unpacked image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Image {
    /// `sha256:` and the digest of its manifest.
    pub digest: String,
    /// Its root file system.
    pub root: PathBuf,
    /// Names in the root directory, without links.
    pub top_level: Vec<String>,
    /// How its maker says it runs.
    pub config: ImageConfig,
}

/// How an image's maker says it runs. The user is not among it: a stage has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageConfig {
    /// Variables, `NAME=value`.
    pub environment: Vec<String>,
    /// The first words of the command.
    pub entrypoint: Vec<String>,
    /// The rest of it.
    pub command: Vec<String>,
    /// The working directory.
    pub directory: Option<String>,
}

/// How much an image may take. What goes over is refused, not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of an archive, of all unpacked files, and of everything read while unpacking.
    pub bytes: u64,
    /// Bytes that stay free on the store's file system, where others write too.
    pub free_bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Layers.
    pub layers: usize,
    /// Bytes of an index, a manifest or a configuration.
    pub document_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            free_bytes: 1 << 30,
            entries: 1_000_000,
            layers: 128,
            document_bytes: 4 << 20,
        }
    }
}

impl Bounds {
    /// Refuses to write `bytes` more where too little would stay free.
    fn room(&self, place: &Path, bytes: u64) -> Result<(), UnpackImageError> {
        let look = UnpackImageError::file("look for space at", place);
        let status = rustix::fs::statvfs(place).map_err(|error| look(error.into()))?;
        let free = status.f_bavail.saturating_mul(status.f_frsize);
        if free >= self.free_bytes.saturating_add(bytes) {
            Ok(())
        } else {
            Err(UnpackImageError::Space {
                free,
                kept: self.free_bytes,
            })
        }
    }
}

/// Why an image was not unpacked. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UnpackImageError {
    /// A file of ours or of the layout.
    #[error("cannot {act} `{path}`")]
    File {
        /// What was being done.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A document of the image is not what it should be.
    #[error("the image's {document} is malformed: {reason}")]
    Document {
        /// Which.
        document: &'static str,
        /// How.
        reason: String,
    },
    /// No manifest for this machine, or more than one.
    #[error("the image has {found} manifests for {platform}; exactly one is needed")]
    Manifest {
        /// How many.
        found: usize,
        /// This machine.
        platform: String,
    },
    /// A digest is not written as SHA-256.
    #[error("`{0}` is not a sha256 digest")]
    Digest(String),
    /// Content is not what its digest says.
    #[error("{what} is not what its digest `{expected}` says")]
    Altered {
        /// What was read.
        what: &'static str,
        /// Its digest.
        expected: String,
    },
    /// A compression or format that is not understood.
    #[error("layers of type `{0}` are not understood; use tar or tar+gzip")]
    LayerType(String),
    /// An entry that would leave the root, or be something that a stage must not have.
    #[error("layer entry `{entry}` is refused: {reason}")]
    Entry {
        /// Its name.
        entry: String,
        /// Why.
        reason: &'static str,
    },
    /// Too little space for it.
    #[error("{free} bytes are free for the image, and {kept} of them must stay so")]
    Space {
        /// What is free.
        free: u64,
        /// What must stay free.
        kept: u64,
    },
    /// More than allowed.
    #[error("the image has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

impl UnpackImageError {
    fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "an error or a text, which ends here"
    )]
    fn document(document: &'static str, reason: impl ToString) -> Self {
        Self::Document {
            document,
            reason: reason.to_string(),
        }
    }
}

/// Unpacks the image at `source`, an OCI layout directory or an archive of one, into `store`.
///
/// # Errors
/// See [`UnpackImageError`].
pub fn unpack(source: &Path, store: &Path, bounds: &Bounds) -> Result<Image, UnpackImageError> {
    fs::create_dir_all(store).map_err(UnpackImageError::file("make", store))?;
    let kind = fs::metadata(source).map_err(UnpackImageError::file("open", source))?;
    if kind.is_dir() {
        return unpack_layout(source, store, bounds);
    }
    let work = Work::new(store, "archive")?;
    archive::extract(source, &work.path, bounds)?;
    unpack_layout(&work.path, store, bounds)
}

/// Makes directories in the root of an unpacked image, for mounts; what is there stays.
pub(crate) fn add_mount_points(root: &Path, paths: &[String]) -> io::Result<()> {
    let tree = directory::Tree::open_at(root)?;
    for path in paths {
        let mut whole = PathBuf::new();
        for part in Path::new(path.trim_start_matches('/')) {
            whole.push(part);
            tree.place(&whole)?.make_directory()?;
        }
    }
    Ok(())
}

fn unpack_layout(layout: &Path, store: &Path, bounds: &Bounds) -> Result<Image, UnpackImageError> {
    let description = layout::describe(layout, bounds)?;
    let place = store.join(description.digest.hexadecimal());
    if let Some(image) = known(&place)? {
        return Ok(image);
    }
    let work = Work::new(store, "image")?;
    let root = work.path.join("rootfs");
    let mut unpacking = layer::Unpacking::new(&root, bounds)?;
    for layer in &description.layers {
        unpacking.apply(&layout::blob_path(layout, &layer.blob), layer)?;
    }
    let top_level = unpacking.finish()?;
    let image = Image {
        digest: description.digest.to_string(),
        root: place.join("rootfs"),
        top_level,
        config: description.config,
    };
    let text = serde_json::to_vec_pretty(&image)
        .map_err(|error| UnpackImageError::document("description", error))?;
    let record = work.path.join(RECORD);
    fs::write(&record, text).map_err(UnpackImageError::file("write", &record))?;
    match fs::rename(&work.path, &place) {
        Ok(()) => {}
        // Somebody else was as fast; theirs is the same.
        Err(_) if place.join(RECORD).exists() => {}
        Err(error) => return Err(UnpackImageError::file("make", &place)(error)),
    }
    Ok(image)
}

fn known(place: &Path) -> Result<Option<Image>, UnpackImageError> {
    let record = place.join(RECORD);
    let text = match fs::read(&record) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(UnpackImageError::file("read", &record)(error)),
    };
    let image: Image = serde_json::from_slice(&text)
        .map_err(|error| UnpackImageError::document("description", error))?;
    Ok((image.root == place.join("rootfs")).then_some(image))
}

/// A directory that is removed again unless it was renamed.
struct Work {
    path: PathBuf,
}

impl Work {
    fn new(store: &Path, kind: &str) -> Result<Self, UnpackImageError> {
        for number in 0_u32.. {
            let path = store.join(format!(".{kind}-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(UnpackImageError::file("make", &path)(error)),
            }
        }
        let error = io::ErrorKind::AlreadyExists.into();
        Err(UnpackImageError::file("make", store)(error))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // Cleanup finds it by its name later.
        }
    }
}

const RECORD: &str = "image.json";
