//! Seals a directory: hashes, encrypts and signs it in one pass over its bytes.
//!
//! Everything is written to a hidden sibling of the destination, flushed to disk, and renamed at the
//! end: a full disk, an error or a crash leaves nothing under the final name. The free space is
//! compared before the first byte is read, so that a disk that is too small is known at once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use casemate_core::name::ModelVersion;
use casemate_core::secret::SecretKey;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{CWD, RenameFlags};
use zeroize::Zeroize;

use crate::ProgressFn;
use crate::artifact::exists;
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::format::header::{ArtifactId, Header, Part};
use crate::format::index::{Index, Listed};
use crate::format::keys::ArtifactKeys;
use crate::format::layout::{Layout, LayoutError};
use crate::format::{
    DATA_FILE, DEFAULT_CHUNK_SIZE, HEADER_FILE, INDEX_FILE, KEY_FILE, MAX_KEY_BYTES, TAGS_FILE,
    is_chunk_size,
};
use crate::key_release::{KeyReleaseError, Recipient, wrap};
use crate::oms::{Manifest, walk};
use crate::signing::{SigningKey, SigningKeyError};

mod lane;

/// What to seal, for whom, and where to.
#[derive(Debug)]
pub struct SealRequest<'a> {
    /// The directory with the model's files.
    pub source: &'a Path,
    /// The directory to make; it must not exist.
    pub output: &'a Path,
    /// What it is.
    pub model: ModelVersion,
    /// Counts up with every release of the model.
    pub epoch: u64,
    /// Who signs.
    pub signer: &'a SigningKey,
    /// Who may open it.
    pub recipients: &'a [Recipient],
    /// Bytes in a chunk: a power of two from 64 KiB to 4 MiB.
    pub chunk_size: u32,
}

impl<'a> SealRequest<'a> {
    /// A request with the default chunk size and epoch 1.
    #[must_use]
    pub fn new(
        source: &'a Path,
        output: &'a Path,
        model: ModelVersion,
        signer: &'a SigningKey,
        recipients: &'a [Recipient],
    ) -> Self {
        let chunk_size = DEFAULT_CHUNK_SIZE;
        Self {
            source,
            output,
            model,
            epoch: 1,
            signer,
            recipients,
            chunk_size,
        }
    }
}

/// What was sealed.
#[derive(Clone, Debug)]
pub struct SealSummary {
    /// What the header says.
    pub header: Header,
    /// SHA-256 of the signed statement: the name of this sealing.
    pub seal_digest: Digest,
    /// Fingerprint of the signing key.
    pub signer: String,
    /// How many files.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Top-level git files that were left out, as model signing does.
    pub ignored: Vec<String>,
}

/// Why a directory was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealModelError {
    /// Something stands where the sealed model should go.
    #[error("`{0}` exists; name another place or remove it first")]
    Exists(PathBuf),
    /// A destination without a name or a directory to be in.
    #[error("`{0}` does not name a directory that could be made")]
    Output(PathBuf),
    /// A chunk size that the format does not know.
    #[error("the chunk size is {0}; allowed are powers of two from 65536 to 4194304")]
    ChunkSize(u32),
    /// The directory is not a model.
    #[error("cannot take the model's files")]
    Walk(#[from] walk::WalkError),
    /// Too large for the format.
    #[error("the model is too large")]
    Layout(#[from] LayoutError),
    /// The index would be too long.
    #[error(
        "the names of the model's files are too long for the format; use shorter or fewer ones"
    )]
    Index,
    /// A file could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file was written to meanwhile.
    #[error("`{0}` changed while it was sealed; stop what writes to it and seal again")]
    Changed(PathBuf),
    /// The result could not be written.
    #[error("cannot write `{path}`; nothing was left under the final name")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not enough space.
    #[error(
        "`{path}` has no room for the {needed} bytes of the sealed model; nothing was left there"
    )]
    NoSpace {
        /// Where it should go.
        path: PathBuf,
        /// How much is needed.
        needed: u64,
    },
    /// The key could not be wrapped.
    #[error("cannot wrap the data key")]
    Wrap(#[from] KeyReleaseError),
    /// The key cannot sign.
    #[error("cannot sign")]
    Sign(#[from] SigningKeyError),
    /// The key cannot be kept.
    #[error(
        "cannot lock a page of memory for the key; raise the limit on locked memory (`ulimit -l`)"
    )]
    Memory(#[source] io::Error),
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    Random,
}

/// Seals `request.source` into `request.output`.
///
/// # Errors
/// When the source is not a model, or the result cannot be written; then nothing is left.
pub fn seal(
    request: &SealRequest<'_>,
    progress: ProgressFn<'_>,
) -> Result<SealSummary, SealModelError> {
    if !is_chunk_size(request.chunk_size) {
        return Err(SealModelError::ChunkSize(request.chunk_size));
    }
    let walked = walk::walk(request.source, &walk::DEFAULT_IGNORED)?;
    let layout = Layout::of(
        walked.files.iter().map(|file| file.size),
        request.chunk_size,
    )?;
    let (data_key, artifact) = fresh_key()?;
    let wrapped = wrap(&data_key, request.recipients)?;
    if wrapped.len() as u64 > MAX_KEY_BYTES {
        return Err(KeyReleaseError::Recipient("too many recipients".to_owned()).into());
    }
    let keys = ArtifactKeys::new(&data_key, artifact).map_err(SealModelError::Memory)?;
    let staging = Staging::new(request.output)?;
    let data = staging.reserve(DATA_FILE, layout.data_bytes)?;

    let sealed = lane::seal_files(&lane::Job {
        source: request.source,
        files: &walked.files,
        layout: &layout,
        keys: &keys,
        data: &data,
        data_path: &staging.path(DATA_FILE),
        progress,
    })?;
    data.sync_all()
        .map_err(|source| staging.failed(DATA_FILE, source, layout.data_bytes))?;

    let tags: Vec<u8> = sealed
        .iter()
        .flat_map(|file| file.tags.iter().copied())
        .collect();
    let listed: Vec<Listed> = walked
        .files
        .iter()
        .map(|file| Listed {
            path: file.path.clone(),
            size: file.size,
            executable: file.executable,
        })
        .collect();
    let resources = listed
        .iter()
        .zip(&sealed)
        .map(|(entry, file)| (entry.path.to_string(), file.sha256))
        .collect();
    let manifest = Manifest::new(request.model.name.to_string(), resources);
    let signature = Bundle::sign(manifest.payload(), request.signer)?;
    let mut index = Index::text(&listed, &signature).ok_or(SealModelError::Index)?;
    keys.seal_index(&mut index);
    let header = Header {
        model: request.model.clone(),
        root_digest: manifest.root_digest(),
        artifact,
        epoch: request.epoch,
        chunk_size: request.chunk_size,
        key_commitment: keys.commitment(),
        key: Part::of(&wrapped),
        index: Part::of(&index),
        tags: Part::of(&tags),
        data_bytes: layout.data_bytes,
    };
    staging.write(KEY_FILE, &wrapped)?;
    staging.write(INDEX_FILE, &index)?;
    staging.write(TAGS_FILE, &tags)?;
    staging.write(HEADER_FILE, &header.sign(request.signer)?)?;
    staging.publish()?;
    Ok(SealSummary {
        seal_digest: Digest::of(&header.payload()),
        header,
        signer: request.signer.public().fingerprint(),
        files: listed.len() as u64,
        bytes: listed.iter().map(|entry| entry.size).sum(),
        ignored: walked.ignored,
    })
}

fn fresh_key() -> Result<(SecretKey, ArtifactId), SealModelError> {
    let random = SystemRandom::new();
    let (mut key, mut id) = ([0; 32], [0; 16]);
    random
        .fill(&mut key)
        .and_then(|()| random.fill(&mut id))
        .map_err(|_| SealModelError::Random)?;
    let data_key = SecretKey::new(key);
    key.zeroize();
    Ok((data_key, ArtifactId(id)))
}

/// A hidden directory beside the destination; removed unless it was published.
pub(crate) struct Staging {
    directory: PathBuf,
    output: PathBuf,
    published: bool,
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
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| SealModelError::Random)?;
        let hidden = format!(".{name}.{}.partial", crate::digest::hex(&random));
        let directory = output.with_file_name(hidden);
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|source| SealModelError::Write {
            path: directory.clone(),
            source,
        })?;
        Ok(Self {
            directory,
            output: output.to_owned(),
            published: false,
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
    fn reserve(&self, name: &str, bytes: u64) -> Result<File, SealModelError> {
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

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SealModelError> {
        let failed = |source| self.failed(name, source, bytes.len() as u64);
        let mut file = self.create(name).map_err(failed)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(failed)
    }

    fn failed(&self, name: &str, source: io::Error, needed: u64) -> SealModelError {
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

    /// Gives the finished directory its final name, unless something took it meanwhile.
    pub(crate) fn publish(mut self) -> Result<(), SealModelError> {
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
        let parent = self
            .output
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new("."))).map_err(failed)
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
