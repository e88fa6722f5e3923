//! The keys of one artefact, all derived from its data key by HKDF-SHA-256.
//!
//! The salt is the artefact's id and each `info` starts with a label of its own, so that no two uses
//! share a key. A file's key is used once for each chunk index and never again: the data key is new
//! at every sealing, and that is what makes counter nonces safe.

use std::fmt;
use std::io;

use casemate_core::secret::SecretKey;
use casemate_linux::memory::LockedBuffer;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hkdf;
use zeroize::Zeroize;

use super::layout::{Chunk, Extent};
use super::path::ModelPath;
use super::{TAG_BYTES, header::ArtifactId};
use crate::digest::Digest;

/// What all keys of an artefact are derived from: the data key, in memory that is never swapped or
/// dumped. Derived keys live only as long as one operation, since the cipher's library neither locks
/// nor wipes them; deriving one costs a hundredth of decrypting a chunk.
pub struct ArtifactKeys {
    data_key: LockedBuffer,
    id: ArtifactId,
}

/// The key of one file's chunks, to be dropped after use.
pub struct FileKey {
    key: LessSafeKey,
    id: ArtifactId,
    ordinal: u32,
}

/// A tag that does not belong to these bytes, at this place, under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authentication tag does not match")]
pub struct TagMismatch;

impl ArtifactKeys {
    /// Keeps a copy of the data key of the artefact `id`.
    ///
    /// # Errors
    /// When not even a page of memory can be locked.
    pub fn new(data_key: &SecretKey, id: ArtifactId) -> io::Result<Self> {
        let mut locked = LockedBuffer::new(data_key.expose().len())?;
        locked.copy_from_slice(data_key.expose());
        Ok(Self {
            data_key: locked,
            id,
        })
    }

    fn root(&self) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, &self.id.0).extract(&self.data_key)
    }

    /// What the header says about the data key, so that a wrong key is told from a changed byte.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        let mut bytes = [0; 32];
        match self
            .root()
            .expand(&[COMMITMENT_LABEL], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut bytes))
        {
            Ok(()) => Digest(bytes),
            Err(_) => unreachable!("HKDF always gives one block"),
        }
    }

    /// The key of file `ordinal`, bound to its name, its size and the chunk size.
    #[must_use]
    pub fn file(&self, ordinal: u32, path: &ModelPath, extent: &Extent, chunk: u32) -> FileKey {
        let name = Digest::of(path.as_str().as_bytes());
        let key = self.aead(&[
            FILE_LABEL,
            &ordinal.to_be_bytes(),
            &extent.size.to_be_bytes(),
            &chunk.to_be_bytes(),
            &name.0,
        ]);
        FileKey {
            key,
            id: self.id,
            ordinal,
        }
    }

    /// Encrypts the index in place and appends its tag.
    pub fn seal_index(&self, index: &mut Vec<u8>) {
        let key = self.aead(&[INDEX_LABEL]);
        match key.seal_in_place_append_tag(nonce(0), Aad::from(self.id.0), index) {
            Ok(()) => {}
            Err(_) => unreachable!("an index is far shorter than AES-GCM's limit"),
        }
    }

    /// Decrypts the index in place.
    ///
    /// # Errors
    /// When the index was changed or belongs to another artefact.
    pub fn open_index<'a>(&self, index: &'a mut [u8]) -> Result<&'a [u8], TagMismatch> {
        let key = self.aead(&[INDEX_LABEL]);
        let opened = key.open_in_place(nonce(0), Aad::from(self.id.0), index);
        opened.map(|plain| &*plain).map_err(|_| TagMismatch)
    }

    fn aead(&self, info: &[&[u8]]) -> LessSafeKey {
        match self.root().expand(info, &AES_256_GCM) {
            Ok(okm) => LessSafeKey::new(UnboundKey::from(okm)),
            Err(_) => unreachable!("HKDF always gives one block"),
        }
    }
}

impl FileKey {
    /// Encrypts one padded chunk in place; gives its tag.
    #[must_use]
    pub fn seal(&self, chunk: &Chunk, bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let sealed =
            self.key
                .seal_in_place_separate_tag(nonce(chunk.index), self.aad(chunk), bytes);
        let Ok(made) = sealed else {
            unreachable!("a chunk is far shorter than AES-GCM's limit")
        };
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(made.as_ref());
        tag
    }

    /// Decrypts one padded chunk in place.
    ///
    /// # Errors
    /// When a byte was changed or the chunk belongs elsewhere; the bytes must not be used then.
    pub fn open(
        &self,
        chunk: &Chunk,
        tag: [u8; TAG_BYTES],
        bytes: &mut [u8],
    ) -> Result<(), TagMismatch> {
        let (nonce, aad, tag) = (nonce(chunk.index), self.aad(chunk), Tag::from(tag));
        let opened = self
            .key
            .open_in_place_separate_tag(nonce, aad, tag, bytes, 0..);
        match opened {
            Ok(_) => Ok(()),
            Err(_) => {
                bytes.zeroize();
                Err(TagMismatch)
            }
        }
    }

    /// Artefact, file, chunk and whether it is the last: what makes moved and cut chunks fail.
    fn aad(&self, chunk: &Chunk) -> Aad<[u8; 29]> {
        let mut bytes = [0; 29];
        let parts = self
            .id
            .0
            .into_iter()
            .chain(self.ordinal.to_be_bytes())
            .chain(chunk.index.to_be_bytes())
            .chain([u8::from(chunk.last)]);
        for (slot, byte) in bytes.iter_mut().zip(parts) {
            *slot = byte;
        }
        Aad::from(bytes)
    }
}

impl fmt::Debug for ArtifactKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ArtifactKeys(redacted)")
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FileKey(redacted)")
    }
}

/// Four zero bytes and a counter, big-endian.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (slot, byte) in bytes.iter_mut().skip(4).zip(counter.to_be_bytes()) {
        *slot = byte;
    }
    Nonce::assume_unique_for_key(bytes)
}

const COMMITMENT_LABEL: &[u8] = b"casemate sealed-model v1 commitment";
const FILE_LABEL: &[u8] = b"casemate sealed-model v1 file";
const INDEX_LABEL: &[u8] = b"casemate sealed-model v1 index";
