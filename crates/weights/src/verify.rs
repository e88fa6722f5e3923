//! Believes a sealed model: signature first, then everything that the signature covers.
//!
//! [`verify`] needs only public keys. It proves who signed, which model, version and epoch it is, and
//! that `key.age`, `index` and `tags` are the signed ones and `data` has the signed length. The bytes
//! of `data` are proven by their tags, which takes the data key: see [`crate::unlock`].

use std::fs::File;
use std::io;
use std::path::Path;

use casemate_core::control::{Control, in_force};
use casemate_core::name::ModelVersion;

use crate::artifact::{OpenArtifactError, SealedFiles, read_whole};
use crate::digest::Digest;
use crate::format::header::{Header, HeaderError, Part};
use crate::format::{
    HEADER_FILE, INDEX_FILE, KEY_FILE, MAX_HEADER_BYTES, MAX_INDEX_BYTES, MAX_KEY_BYTES,
    MAX_TAGS_BYTES, TAG_BYTES, TAGS_FILE,
};
use crate::signing::PublicKey;

/// What a model must be to be believed. An empty list of signers refuses every model.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Keys of which one must have signed.
    pub signers: Vec<PublicKey>,
    /// The model version that it must be.
    pub model: Option<ModelVersion>,
    /// The root digest that it must have.
    pub root_digest: Option<Digest>,
    /// The oldest epoch that is still accepted.
    pub minimum_epoch: u64,
}

/// Why a sealed model was refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifyModelError {
    /// Not five files.
    #[error("the sealed model cannot be opened")]
    Artifact(#[from] OpenArtifactError),
    /// A file could not be read.
    #[error("cannot read `{name}` of the sealed model")]
    Read {
        /// Which file.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The header was not believed.
    #[error("the sealed model's `header.json` is refused")]
    Header(#[from] HeaderError),
    /// Another model or version than expected.
    #[error("this is {found}, not {expected}")]
    OtherModel {
        /// In the header.
        found: ModelVersion,
        /// What was asked for.
        expected: ModelVersion,
    },
    /// Other contents than expected.
    #[error("the model's root digest is {found}, not the expected {expected}")]
    OtherDigest {
        /// In the header.
        found: Digest,
        /// What was asked for.
        expected: Digest,
    },
    /// An older release than one seen before.
    #[error(
        "the model's epoch is {found}, but {minimum} is the oldest accepted; get the current release"
    )]
    OlderEpoch {
        /// In the header.
        found: u64,
        /// The oldest accepted.
        minimum: u64,
    },
    /// A file of another length.
    #[error(
        "`{name}` has {found} bytes, not the signed {signed}: it was cut or extended; copy the model again"
    )]
    Length {
        /// Which file.
        name: &'static str,
        /// On disk.
        found: u64,
        /// In the header.
        signed: u64,
    },
    /// A file with other bytes.
    #[error(
        "`{name}` is not the signed one: a byte was changed or it is another model's; copy the model again"
    )]
    Changed {
        /// Which file.
        name: &'static str,
    },
}

/// A sealed model whose header was signed by an expected key, and the parts that it covers.
#[derive(Debug)]
pub struct VerifiedModel {
    header: Header,
    signer: PublicKey,
    signers: Vec<PublicKey>,
    seal_digest: Digest,
    wrapped_key: Vec<u8>,
    index: Vec<u8>,
    tags: Vec<u8>,
    data: File,
}

/// Opens the directory and verifies what it holds.
///
/// # Errors
/// When the signature, a covered byte, or an expectation does not hold.
pub fn verify(
    directory: &Path,
    expectation: &Expectation,
) -> Result<VerifiedModel, VerifyModelError> {
    verify_files(SealedFiles::open(directory)?, expectation)
}

/// Verifies files that are already open.
///
/// # Errors
/// When the signature, a covered byte, or an expectation does not hold.
pub fn verify_files(
    files: SealedFiles,
    expectation: &Expectation,
) -> Result<VerifiedModel, VerifyModelError> {
    let text = read(&files.header, HEADER_FILE, MAX_HEADER_BYTES)?;
    let (header, signer, seal_digest) = Header::verify(&text, &expectation.signers)?;
    expect(&header, expectation)?;
    let wrapped_key = covered(&files.key, KEY_FILE, MAX_KEY_BYTES, header.key)?;
    let index = covered(&files.index, INDEX_FILE, MAX_INDEX_BYTES, header.index)?;
    let tags = covered(&files.tags, TAGS_FILE, MAX_TAGS_BYTES, header.tags)?;
    let name = crate::format::DATA_FILE;
    let found = files
        .data
        .metadata()
        .map_err(|source| VerifyModelError::Read { name, source })?
        .len();
    if found != header.data_bytes && in_force(Control::SignedFiles) {
        return Err(VerifyModelError::Length {
            name,
            found,
            signed: header.data_bytes,
        });
    }
    Ok(VerifiedModel {
        header,
        signer: signer.clone(),
        signers: expectation.signers.clone(),
        seal_digest,
        wrapped_key,
        index,
        tags,
        data: files.data,
    })
}

fn expect(header: &Header, expectation: &Expectation) -> Result<(), VerifyModelError> {
    match &expectation.model {
        Some(expected) if *expected != header.model => {
            return Err(VerifyModelError::OtherModel {
                found: header.model.clone(),
                expected: expected.clone(),
            });
        }
        Some(_) | None => {}
    }
    match expectation.root_digest {
        Some(expected) if expected != header.root_digest => {
            return Err(VerifyModelError::OtherDigest {
                found: header.root_digest,
                expected,
            });
        }
        Some(_) | None => {}
    }
    if header.epoch < expectation.minimum_epoch {
        return Err(VerifyModelError::OlderEpoch {
            found: header.epoch,
            minimum: expectation.minimum_epoch,
        });
    }
    Ok(())
}

fn read(file: &File, name: &'static str, limit: u64) -> Result<Vec<u8>, VerifyModelError> {
    read_whole(file, limit).map_err(|source| VerifyModelError::Read { name, source })
}

fn covered(
    file: &File,
    name: &'static str,
    limit: u64,
    part: Part,
) -> Result<Vec<u8>, VerifyModelError> {
    let bytes = read(file, name, limit)?;
    if !in_force(Control::SignedFiles) {
        return Ok(bytes);
    }
    let found = bytes.len() as u64;
    if found != part.size {
        return Err(VerifyModelError::Length {
            name,
            found,
            signed: part.size,
        });
    }
    if Digest::of(&bytes) != part.sha256 {
        return Err(VerifyModelError::Changed { name });
    }
    Ok(bytes)
}

impl VerifiedModel {
    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The key that signed.
    #[must_use]
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// SHA-256 of the signed statement: the name of this sealing in receipts.
    #[must_use]
    pub fn seal_digest(&self) -> Digest {
        self.seal_digest
    }

    /// The age file with the data key.
    #[must_use]
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    pub(crate) fn into_parts(self) -> (Header, Vec<PublicKey>, Vec<u8>, Tags, File) {
        (
            self.header,
            self.signers,
            self.index,
            Tags(self.tags),
            self.data,
        )
    }
}

/// The verified tag table.
pub(crate) struct Tags(Vec<u8>);

impl Tags {
    pub(crate) fn at(&self, tag: u64) -> Option<[u8; TAG_BYTES]> {
        let (tags, _) = self.0.as_chunks::<TAG_BYTES>();
        tags.get(usize::try_from(tag).ok()?).copied()
    }
}
