//! The encrypted index: which files the model has, and the OpenSSF signature over them.
//!
//! Its plaintext is compact JSON followed by spaces up to a page, so that its length tells little.
//! The digests of the files stand once, in the signed statement; the two lists must name the same
//! files in the same order, so that nothing can be in one and not in the other.

use serde::{Deserialize, Serialize};

use super::header::Header;
use super::layout::{Layout, LayoutError};
use super::path::{ModelPath, ModelPathError, check_all};
use super::{MAX_FILES, MAX_INDEX_BYTES, PAGE};
use crate::bundle::{Bundle, BundleError};
use crate::digest::Digest;
use crate::oms::{Manifest, StatementError};
use crate::signing::PublicKey;

/// Why an index was refused.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not JSON of the shape of an index.
    #[error("the index is malformed")]
    Malformed {
        /// Where and what the parser stumbled over.
        source: serde_json::Error,
    },
    /// The same values in another spelling.
    #[error("the index is not spelled as it was written")]
    Spelling,
    /// None or too many files.
    #[error("the index lists {0} files; 1 to {MAX_FILES} are allowed")]
    Count(usize),
    /// A name that is refused.
    #[error("the index has a bad file name")]
    Path(#[from] ModelPathError),
    /// Sizes beyond the limits.
    #[error("the index has impossible sizes")]
    Layout(#[from] LayoutError),
    /// A signature that nobody trusted made.
    #[error("the model's OpenSSF signature is refused")]
    Bundle(#[from] BundleError),
    /// A statement that is not understood.
    #[error("the model's OpenSSF signature states something that is not understood")]
    Statement(#[from] StatementError),
    /// The signature is over other files.
    #[error("the index and the OpenSSF signature do not list the same files")]
    Files,
    /// The signature is over another model than the header names.
    #[error("the OpenSSF signature's root digest is {signed}, but the header says {header}")]
    RootDigest {
        /// In the statement.
        signed: Digest,
        /// In the header.
        header: Digest,
    },
    /// The files do not fill `data` and `tags`.
    #[error("the index's sizes do not match the header's")]
    Sizes,
}

/// One file of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: ModelPath,
    /// Its length.
    pub size: u64,
    /// Whether it may be executed, where the view is mounted so.
    pub executable: bool,
    /// SHA-256 of its bytes, as signed.
    pub sha256: Digest,
}

/// A decrypted and believed index.
#[derive(Clone, Debug)]
pub struct Index {
    /// The files, sorted by the bytes of their paths.
    pub entries: Vec<Entry>,
    /// Where their chunks lie.
    pub layout: Layout,
    /// The OpenSSF signature, for whoever wants it beside the plaintext.
    pub signature: Bundle,
}

/// What the sealer writes down for one file.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its path.
    pub path: ModelPath,
    /// Its length.
    pub size: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

impl Index {
    /// Reads a decrypted index and believes it when it agrees with the header and with a signature
    /// over the plaintext by one of `signers`.
    ///
    /// # Errors
    /// When anything in it is out of range or contradicts the header or the signature.
    pub fn parse(text: &[u8], header: &Header, signers: &[PublicKey]) -> Result<Self, IndexError> {
        let file: IndexFile =
            serde_json::from_slice(text).map_err(|source| IndexError::Malformed { source })?;
        if file.files.is_empty() || file.files.len() > MAX_FILES {
            return Err(IndexError::Count(file.files.len()));
        }
        if file.text() != text {
            return Err(IndexError::Spelling);
        }
        let mut listed = Vec::with_capacity(file.files.len());
        for entry in &file.files {
            let path = ModelPath::parse(&entry.path)?;
            listed.push(Listed {
                path,
                size: entry.size,
                executable: entry.executable,
            });
        }
        check_all(listed.iter().map(|entry| &entry.path))?;
        let layout = Layout::of(listed.iter().map(|entry| entry.size), header.chunk_size)?;
        if layout.data_bytes != header.data_bytes || layout.tags_bytes != header.tags.size {
            return Err(IndexError::Sizes);
        }
        let signature = Bundle::parse(file.signature.as_bytes())?;
        let manifest = Manifest::parse(signature.verify(signers)?.1)?;
        let signed = manifest.root_digest();
        if signed != header.root_digest {
            return Err(IndexError::RootDigest {
                signed,
                header: header.root_digest,
            });
        }
        let same = manifest.resources.len() == listed.len()
            && manifest
                .resources
                .iter()
                .zip(&listed)
                .all(|((name, _), entry)| name == entry.path.as_str());
        if !same || manifest.shard_size.is_some() || manifest.follow_symlinks {
            return Err(IndexError::Files);
        }
        let entries = listed
            .into_iter()
            .zip(&manifest.resources)
            .map(|(entry, (_, sha256))| Entry {
                path: entry.path,
                size: entry.size,
                executable: entry.executable,
                sha256: *sha256,
            })
            .collect();
        Ok(Self {
            entries,
            layout,
            signature,
        })
    }

    /// The text of an index, ready to be encrypted; nothing when it would be too long.
    #[must_use]
    pub fn text(listed: &[Listed], signature: &Bundle) -> Option<Vec<u8>> {
        let files = listed
            .iter()
            .map(|entry| FileEntry {
                path: entry.path.to_string(),
                size: entry.size,
                executable: entry.executable,
            })
            .collect();
        let signature = String::from_utf8(signature.to_json()).ok()?;
        let text = IndexFile { files, signature }.text();
        (text.len() as u64 + 16 <= MAX_INDEX_BYTES).then_some(text)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexFile {
    files: Vec<FileEntry>,
    /// The bundle as text, since its bytes are what other tools are given.
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    path: String,
    size: u64,
    executable: bool,
}

impl IndexFile {
    fn text(&self) -> Vec<u8> {
        // Strings, numbers and lists always serialise.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        let page = usize::try_from(PAGE).unwrap_or(4096);
        text.resize(text.len().next_multiple_of(page), b' ');
        text
    }
}
