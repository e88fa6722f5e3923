//! Seals a directory: hashes, encrypts and signs it in one pass over its bytes.
//!
//! Everything is written to a hidden sibling of the destination, flushed to disk, and renamed at the
//! end: a full disk, an error or a crash leaves nothing under the final name. The free space is
//! compared before the first byte is read, so that a disk that is too small is known at once. What a
//! sealing that was killed left hidden there, the next one to the same place removes.

use std::io;
use std::path::{Path, PathBuf};

use casemate_core::name::ModelVersion;
use casemate_core::secret::SecretKey;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroize;

use crate::ProgressFn;
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
mod staging;

pub(crate) use staging::Staging;

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
    /// What sealings to the same place that were killed had left there, and is removed now.
    pub swept: Vec<PathBuf>,
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
    let swept = staging.publish()?;
    Ok(SealSummary {
        seal_digest: Digest::of(&header.payload()),
        header,
        signer: request.signer.public().fingerprint(),
        files: listed.len() as u64,
        bytes: listed.iter().map(|entry| entry.size).sum(),
        ignored: walked.ignored,
        swept,
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
