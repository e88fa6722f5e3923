//! A verified model and its key: the index decrypted, and any chunk decrypted on demand.
//!
//! INVARIANT: [`OpenedModel::read_chunk`] leaves plaintext in the caller's buffer only when the tag
//! of the whole chunk matched; otherwise the buffer is wiped.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use casemate_core::secret::SecretKey;
use zeroize::Zeroize;

use crate::bundle::Bundle;
use crate::format::header::Header;
use crate::format::index::{Entry, Index, IndexError};
use crate::format::keys::ArtifactKeys;
use crate::format::layout::Layout;
use crate::verify::{Tags, VerifiedModel};

/// Why a verified model could not be unlocked.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// A key of another model.
    #[error("the key is not the one that this model was sealed with")]
    WrongKey,
    /// The key cannot be kept.
    #[error(
        "cannot lock a page of memory for the key; raise the limit on locked memory (`ulimit -l`)"
    )]
    Memory(#[source] io::Error),
    /// The index does not decrypt, although its bytes are the signed ones.
    #[error("the index does not decrypt with the model's own key")]
    Index,
    /// The index contradicts the header or the OpenSSF signature.
    #[error("the index is refused")]
    Refused(#[from] IndexError),
}

/// Why a chunk was not handed out.
#[derive(Debug, thiserror::Error)]
pub enum ReadChunkError {
    /// There is no such chunk.
    #[error("the model has no chunk {chunk} in file {file}")]
    Absent {
        /// Which file.
        file: usize,
        /// Which chunk.
        chunk: u64,
    },
    /// The ciphertext could not be read.
    #[error("cannot read chunk {chunk} of `{path}`")]
    Read {
        /// Which file.
        path: String,
        /// Which chunk.
        chunk: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The ciphertext is not what was sealed.
    #[error("chunk {chunk} of `{path}` was changed since it was sealed; copy the model again")]
    Corrupt {
        /// Which file.
        path: String,
        /// Which chunk.
        chunk: u64,
    },
}

/// A model that can be read.
pub struct OpenedModel {
    header: Header,
    index: Index,
    keys: ArtifactKeys,
    tags: Tags,
    data: File,
}

/// Decrypts and checks the index of `model`.
///
/// # Errors
/// When the key is not this model's, or the index is not what a trusted key signed.
pub fn unlock(model: VerifiedModel, data_key: &SecretKey) -> Result<OpenedModel, UnlockError> {
    let (header, signers, mut sealed_index, tags, data) = model.into_parts();
    let keys = ArtifactKeys::new(data_key, header.artifact).map_err(UnlockError::Memory)?;
    if keys.commitment() != header.key_commitment {
        return Err(UnlockError::WrongKey);
    }
    let index = {
        let text = keys
            .open_index(&mut sealed_index)
            .map_err(|_| UnlockError::Index)?;
        Index::parse(text, &header, &signers)
    };
    sealed_index.zeroize();
    let index = index?;
    Ok(OpenedModel {
        header,
        index,
        keys,
        tags,
        data,
    })
}

impl OpenedModel {
    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The files, sorted by the bytes of their paths; their position is their number everywhere.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.index.entries
    }

    /// Where the chunks lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.index.layout
    }

    /// The OpenSSF signature over the plaintext.
    #[must_use]
    pub fn signature(&self) -> &Bundle {
        &self.index.signature
    }

    /// Decrypts chunk `index` of file `file` into the front of `buffer`, which must hold a whole
    /// chunk; gives the plaintext.
    ///
    /// # Errors
    /// When the ciphertext cannot be read or its tag does not match; `buffer` is wiped then.
    pub fn read_chunk<'a>(
        &self,
        file: usize,
        index: u64,
        buffer: &'a mut [u8],
    ) -> Result<&'a mut [u8], ReadChunkError> {
        let absent = ReadChunkError::Absent { file, chunk: index };
        let place = self
            .index
            .entries
            .get(file)
            .zip(self.index.layout.extents.get(file));
        let Some((chunk, (entry, extent))) = self.index.layout.chunk(file, index).zip(place) else {
            return Err(absent);
        };
        let Ok(ordinal) = u32::try_from(file) else {
            return Err(absent);
        };
        let (Some(tag), Some(bytes)) = (self.tags.at(chunk.tag), buffer.get_mut(..chunk.padded))
        else {
            return Err(absent);
        };
        self.data
            .read_exact_at(bytes, chunk.offset)
            .map_err(|source| ReadChunkError::Read {
                path: self.path(file),
                chunk: index,
                source,
            })?;
        let key = self
            .keys
            .file(ordinal, &entry.path, extent, self.header.chunk_size);
        let opened = key.open(&chunk, tag, bytes);
        let zeros = bytes
            .get(chunk.plain..)
            .is_some_and(|pad| pad.iter().all(|byte| *byte == 0));
        if opened.is_err() || !zeros {
            bytes.zeroize();
            return Err(ReadChunkError::Corrupt {
                path: self.path(file),
                chunk: index,
            });
        }
        bytes.get_mut(..chunk.plain).ok_or(absent)
    }

    /// Asks the kernel to have the ciphertext of chunk `index` ready soon.
    pub fn expect_chunk(&self, file: usize, index: u64) {
        let Some(chunk) = self.index.layout.chunk(file, index) else {
            return;
        };
        let length = std::num::NonZeroU64::new(chunk.padded as u64);
        // Only advice: without it the read is slower, not wrong.
        rustix::fs::fadvise(
            &self.data,
            chunk.offset,
            length,
            rustix::fs::Advice::WillNeed,
        )
        .ok();
    }

    fn path(&self, file: usize) -> String {
        self.index
            .entries
            .get(file)
            .map(|entry| entry.path.to_string())
            .unwrap_or_default()
    }
}

impl fmt::Debug for OpenedModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpenedModel({})", self.header.model)
    }
}
