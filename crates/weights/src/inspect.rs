//! Looks at a sealed model without believing it: what it says, and what is plainly wrong with it.

use std::path::Path;

use serde::Serialize;

use crate::artifact::{SealedFiles, read_whole};
use crate::digest::Digest;
use crate::format::header::{Header, HeaderError};
use crate::format::{FORMAT_VERSION, HEADER_FILE, MAX_HEADER_BYTES, MAX_KEY_BYTES};
use crate::verify::VerifyModelError;

/// What a sealed model says about itself. Nothing of it is proven: `verify` does that.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// The format's version.
    pub format_version: u32,
    /// The model version.
    pub model: String,
    /// The OpenSSF root digest of the plaintext.
    pub root_digest: Digest,
    /// SHA-256 of the signed statement.
    pub seal_digest: Digest,
    /// The id of this sealing.
    pub artifact: String,
    /// Which release of the model.
    pub epoch: u64,
    /// Bytes in a chunk.
    pub chunk_size: u32,
    /// Length of the ciphertext.
    pub data_bytes: u64,
    /// Chunks in all files.
    pub chunks: u64,
    /// Fingerprint of the key that the header claims to be signed by.
    pub claimed_signer: Option<String>,
    /// The kinds of recipients of the wrapped key, such as `X25519`; age does not say who they are.
    pub recipients: Vec<String>,
    /// Files whose length is not the one in the header.
    pub wrong_lengths: Vec<&'static str>,
}

/// Reads the header of the sealed model at `directory`.
///
/// # Errors
/// When it is not a sealed model of this version.
pub fn inspect(directory: &Path) -> Result<Inspection, VerifyModelError> {
    let files = SealedFiles::open(directory)?;
    let read = |source| VerifyModelError::Read {
        name: HEADER_FILE,
        source,
    };
    let text = read_whole(&files.header, MAX_HEADER_BYTES).map_err(read)?;
    let (header, claimed_signer) = Header::unverified(&text).map_err(one_header)?;
    let wrapped = read_whole(&files.key, MAX_KEY_BYTES).map_err(read)?;
    let lengths = [
        (crate::format::KEY_FILE, &files.key, header.key.size),
        (crate::format::INDEX_FILE, &files.index, header.index.size),
        (crate::format::TAGS_FILE, &files.tags, header.tags.size),
        (crate::format::DATA_FILE, &files.data, header.data_bytes),
    ];
    let wrong_lengths = lengths
        .into_iter()
        .filter(|(_, file, size)| file.metadata().map(|meta| meta.len()).ok() != Some(*size))
        .map(|(name, _, _)| name)
        .collect();
    Ok(Inspection {
        format_version: FORMAT_VERSION,
        model: header.model.to_string(),
        root_digest: header.root_digest,
        seal_digest: Digest::of(&header.payload()),
        artifact: header.artifact.to_string(),
        epoch: header.epoch,
        chunk_size: header.chunk_size,
        data_bytes: header.data_bytes,
        chunks: header.tags.size / crate::format::TAG_BYTES as u64,
        claimed_signer,
        recipients: recipient_kinds(&wrapped),
        wrong_lengths,
    })
}

fn one_header(error: HeaderError) -> VerifyModelError {
    VerifyModelError::Header(error)
}

/// The types of an age header's stanzas: lines `-> TYPE ARGUMENTS` before the `---` line.
fn recipient_kinds(age_file: &[u8]) -> Vec<String> {
    age_file
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.starts_with(b"---"))
        .filter_map(|line| line.strip_prefix(b"-> "))
        .map(|line| {
            let kind: Vec<u8> = line
                .iter()
                .copied()
                .take_while(|byte| byte.is_ascii_graphic())
                .take(40)
                .collect();
            String::from_utf8_lossy(&kind).into_owned()
        })
        // A stanza that age adds so that readers get used to unknown ones; nobody is behind it.
        .filter(|kind| !kind.ends_with("-grease"))
        .collect()
}
