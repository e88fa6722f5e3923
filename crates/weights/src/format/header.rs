//! The signed statement: which artefact this is, and the digests of its other files.
//!
//! `header.json` is a Sigstore bundle around an in-toto statement with our own predicate. The only
//! spelling that is accepted is the one that is written, so that every byte of the file counts: the
//! payload by its signature, the rest by comparison.

use std::fmt;
use std::str::FromStr;

use casemate_core::name::{ModelVersion, Name};
use serde::{Deserialize, Serialize};

use super::{FORMAT_VERSION, is_chunk_size};
use crate::bundle::{Bundle, BundleError};
use crate::digest::{Digest, hex, parse_hex};
use crate::signing::{PublicKey, SigningKey, SigningKeyError};

/// Why a header was refused.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Not a bundle, or signed by nobody who is trusted.
    #[error("the header's signature is refused")]
    Bundle(#[from] BundleError),
    /// A signed text that is not a header of any version.
    #[error("the header is not a sealed model's statement")]
    Malformed {
        /// Where and what the parser stumbled over.
        source: serde_json::Error,
    },
    /// A header of a version that this program is too old or too new for.
    #[error(
        "the header is of format version {0}; this program reads version {FORMAT_VERSION}; use a matching casemate"
    )]
    Version(u32),
    /// A statement of another type.
    #[error("the header states `{0}`, not a sealed model")]
    Type(String),
    /// The same values in another spelling.
    #[error("the header is not spelled as it was written; a byte of it was changed")]
    Spelling,
    /// A value out of its range.
    #[error("the header's `{field}` is out of range")]
    Range {
        /// Which member.
        field: &'static str,
    },
}

/// 128 random bits that name one sealing: the salt of its keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactId(pub [u8; 16]);

/// What a sealed model says about itself, once its signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The model version.
    pub model: ModelVersion,
    /// The OpenSSF root digest of the plaintext.
    pub root_digest: Digest,
    /// Which sealing.
    pub artifact: ArtifactId,
    /// Counts up with every release of the model; an older one than seen before is refused.
    pub epoch: u64,
    /// Bytes in a chunk.
    pub chunk_size: u32,
    /// What the data key derives to, to tell a wrong key.
    pub key_commitment: Digest,
    /// `key.age`.
    pub key: Part,
    /// `index`.
    pub index: Part,
    /// `tags`.
    pub tags: Part,
    /// Length of `data`.
    pub data_bytes: u64,
}

/// Size and digest of one of the artefact's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

impl Part {
    /// Measures `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
        }
    }
}

impl Header {
    /// The signed text of `header.json`.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, SigningKeyError> {
        Ok(Bundle::sign(self.payload(), key)?.to_json())
    }

    /// Reads and believes a header: signature, spelling and ranges. Gives the key that signed and
    /// the digest of the signed text, which names this sealing.
    ///
    /// # Errors
    /// When any byte of it is not as one of `signers` wrote it.
    pub fn verify<'a>(
        text: &[u8],
        signers: &'a [PublicKey],
    ) -> Result<(Self, &'a PublicKey, Digest), HeaderError> {
        let bundle = Bundle::parse(text)?;
        let (signer, seal) = {
            let (signer, payload) = bundle.verify(signers)?;
            let known = signers
                .iter()
                .find(|key| *key == signer)
                .ok_or(BundleError::NoSigners)?;
            (known, Digest::of(payload))
        };
        let named = bundle.hint() == Some(signer.fingerprint().as_str());
        if !named || bundle.to_json() != text {
            return Err(HeaderError::Spelling);
        }
        Ok((
            Self::parse_payload(bundle.unverified_payload())?,
            signer,
            seal,
        ))
    }

    /// Reads a header without believing it; gives the fingerprint that it claims.
    ///
    /// # Errors
    /// When it is not a header of this version.
    pub fn unverified(text: &[u8]) -> Result<(Self, Option<String>), HeaderError> {
        let bundle = Bundle::parse(text)?;
        let header = Self::parse_payload(bundle.unverified_payload())?;
        Ok((header, bundle.hint().map(str::to_owned)))
    }

    /// Reads the signed text itself.
    ///
    /// # Errors
    /// When it is not the one spelling of a header of this version, with every value in range.
    pub fn parse_payload(payload: &[u8]) -> Result<Self, HeaderError> {
        let malformed = |source| HeaderError::Malformed { source };
        // The version is looked at alone first, so that a later version is named and not "unknown member".
        let peek: Peek = serde_json::from_slice(payload).map_err(malformed)?;
        if peek.predicate_type != PREDICATE_TYPE {
            return Err(HeaderError::Type(
                peek.predicate_type.chars().take(80).collect(),
            ));
        }
        if peek.predicate.format_version != FORMAT_VERSION {
            return Err(HeaderError::Version(peek.predicate.format_version));
        }
        let statement: Statement = serde_json::from_slice(payload).map_err(malformed)?;
        let [subject] = statement.subject.as_slice() else {
            return Err(HeaderError::Range { field: "subject" });
        };
        let predicate = &statement.predicate;
        let version = format!("{}@{}", predicate.model.name, predicate.model.version);
        let model: ModelVersion = version
            .parse()
            .map_err(|_| HeaderError::Range { field: "model" })?;
        if statement.statement_type != STATEMENT_TYPE || subject.name != version {
            return Err(HeaderError::Range { field: "subject" });
        }
        if predicate.cipher != CIPHER {
            return Err(HeaderError::Range { field: "cipher" });
        }
        if !is_chunk_size(predicate.chunk_size) {
            return Err(HeaderError::Range { field: "chunkSize" });
        }
        let header = Self {
            model,
            root_digest: subject.digest.sha256,
            artifact: predicate.artifact_id,
            epoch: predicate.epoch,
            chunk_size: predicate.chunk_size,
            key_commitment: predicate.key_commitment,
            key: predicate.key,
            index: predicate.index,
            tags: predicate.tags,
            data_bytes: predicate.data.size,
        };
        if header.payload() != payload {
            return Err(HeaderError::Spelling);
        }
        Ok(header)
    }

    /// The text that is signed: compact JSON, members in the order of the structures below.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let statement = Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: self.model.to_string(),
                digest: SubjectDigest {
                    sha256: self.root_digest,
                },
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                format_version: FORMAT_VERSION,
                artifact_id: self.artifact,
                model: Model {
                    name: self.model.name.clone(),
                    version: self.model.version.clone(),
                },
                epoch: self.epoch,
                cipher: CIPHER.to_owned(),
                chunk_size: self.chunk_size,
                key_commitment: self.key_commitment,
                key: self.key,
                index: self.index,
                tags: self.tags,
                data: Length {
                    size: self.data_bytes,
                },
            },
        };
        // Strings, numbers and lists always serialise.
        serde_json::to_vec(&statement).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peek {
    predicate_type: String,
    predicate: PeekPredicate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PeekPredicate {
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    sha256: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    format_version: u32,
    artifact_id: ArtifactId,
    model: Model,
    epoch: u64,
    cipher: String,
    chunk_size: u32,
    key_commitment: Digest,
    key: Part,
    index: Part,
    tags: Part,
    data: Length,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: Name,
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Length {
    size: u64,
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ArtifactId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for ArtifactId {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = HeaderError::Range {
            field: "artifactId",
        };
        parse_hex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(refuse)
    }
}

impl TryFrom<String> for ArtifactId {
    type Error = HeaderError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ArtifactId> for String {
    fn from(id: ArtifactId) -> Self {
        id.to_string()
    }
}

/// in-toto's statement, version 1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What the header states.
pub const PREDICATE_TYPE: &str = "https://casemate.dev/sealed-model/v1";
/// The one cipher of this version.
pub const CIPHER: &str = "AES-256-GCM/HKDF-SHA-256";
