//! The node's secrets: one key that seals the others, and the key that signs receipts.
//!
//! `node.key` is 32 random bytes that only root reads; every other secret at rest is sealed under it for
//! its own file name (`identity::authority::seal_key`).
//! This protects backups and copied disks that lack `node.key`, and nothing against root: the
//! assurance grade of this node is `software`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use casemate_core::secret::{Secret, SecretKey};
use casemate_identity::authority::{SealKeyError, seal_key, unseal_key};
use sha2::{Digest as _, Sha256};

/// Why a secret of the node could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepKeyError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a node key: it has {len} bytes and not 32")]
    NodeKeyLength { path: PathBuf, len: usize },
    #[error("cannot seal `{path}`")]
    Seal { path: PathBuf, source: SealKeyError },
    #[error("cannot open `{path}`")]
    Unseal { path: PathBuf, source: SealKeyError },
    #[error("`{path}` does not hold a P-256 key")]
    ReceiptKey { path: PathBuf },
    #[error("the random number generator failed")]
    Random,
}

/// The key that seals the node's other secrets.
#[derive(Debug)]
pub(crate) struct NodeKey(SecretKey);

impl NodeKey {
    /// Reads `node.key` in `state`, or makes it when there is none.
    pub(crate) fn open(state: &Path) -> Result<Self, KeepKeyError> {
        let path = state.join("node.key");
        if !path.exists() {
            let mut bytes = [0; 32];
            fill(&mut bytes).map_err(|_| KeepKeyError::Random)?;
            let written = write_new(&path, &bytes);
            zeroize::Zeroize::zeroize(&mut bytes);
            written.map_err(|source| KeepKeyError::Write {
                path: path.clone(),
                source,
            })?;
        }
        let stored = read_secret(&path)?;
        let bytes: [u8; 32] =
            stored
                .expose()
                .try_into()
                .map_err(|_| KeepKeyError::NodeKeyLength {
                    path: path.clone(),
                    len: stored.expose().len(),
                })?;
        Ok(Self(SecretKey::new(bytes)))
    }

    /// Seals `secret` into `path`, replacing what was there only when the new file is complete.
    pub(crate) fn seal(&self, path: &Path, secret: &Secret) -> Result<(), KeepKeyError> {
        let sealed = seal_key(&self.0, &purpose(path), secret.expose()).map_err(|source| {
            KeepKeyError::Seal {
                path: path.to_owned(),
                source,
            }
        })?;
        let write = || -> io::Result<()> {
            let beside = path.with_extension("new");
            fs::remove_file(&beside).or_else(absent_is_fine)?;
            write_new(&beside, &sealed)?;
            fs::rename(&beside, path)
        };
        write().map_err(|source| KeepKeyError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Opens what [`Self::seal`] wrote; `None` when there is no such file.
    pub(crate) fn unseal(&self, path: &Path) -> Result<Option<Secret>, KeepKeyError> {
        if !path.exists() {
            return Ok(None);
        }
        unseal_key(&self.0, &purpose(path), read_secret(path)?.expose())
            .map(Some)
            .map_err(|source| KeepKeyError::Unseal {
                path: path.to_owned(),
                source,
            })
    }
}

/// The ES256 key that signs receipts and evidence.
pub(crate) struct ReceiptKey {
    pair: EcdsaKeyPair,
    public_der: Vec<u8>,
}

impl std::fmt::Debug for ReceiptKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ReceiptKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl ReceiptKey {
    /// Opens the sealed receipt key in `state`, or makes one.
    pub(crate) fn open(state: &Path, node: &NodeKey) -> Result<Self, KeepKeyError> {
        let path = state.join("receipt-key.sealed");
        let secret = match node.unseal(&path)? {
            Some(secret) => secret,
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &SystemRandom::new(),
                )
                .map_err(|_| KeepKeyError::Random)?;
                let secret = Secret::new(made.as_ref().to_vec());
                node.seal(&path, &secret)?;
                secret
            }
        };
        let bad = || KeepKeyError::ReceiptKey { path: path.clone() };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret.expose())
            .map_err(|_| bad())?;
        let public_der = pair
            .public_key()
            .as_der()
            .map_err(|_| bad())?
            .as_ref()
            .to_vec();
        Ok(Self { pair, public_der })
    }

    /// The raw ES256 signature (`r || s`) of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeepKeyError> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| KeepKeyError::Random)
    }

    /// The public half, SubjectPublicKeyInfo in PEM.
    pub(crate) fn public_pem(&self) -> String {
        pem::encode_config(
            &pem::Pem::new("PUBLIC KEY", self.public_der.clone()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// Lower-case hex SHA-256 of the public half's DER form.
    pub(crate) fn id(&self) -> String {
        hex(&Sha256::digest(&self.public_der))
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
}

/// Random bytes for nonces and names, as lower-case hex.
pub(crate) fn random_hex<const N: usize>() -> Result<String, KeepKeyError> {
    let mut bytes = [0; N];
    fill(&mut bytes).map_err(|_| KeepKeyError::Random)?;
    Ok(hex(&bytes))
}

/// A file is sealed for its name, so that one cannot stand in for another.
fn purpose(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("node/{name}")
}

fn read_secret(path: &Path) -> Result<Secret, KeepKeyError> {
    let read = || -> io::Result<Vec<u8>> {
        // Sized before reading, so that growing leaves no copies behind.
        let mut bytes = Vec::with_capacity(MAX_SECRET_BYTES);
        let limit = u64::try_from(MAX_SECRET_BYTES).unwrap_or(u64::MAX);
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read()
        .map(Secret::new)
        .map_err(|source| KeepKeyError::Read {
            path: path.to_owned(),
            source,
        })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

const MAX_SECRET_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
