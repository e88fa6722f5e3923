//! The data key, wrapped for people and machines that may open a model: a standard age file.
//!
//! `age -d -i IDENTITY key.age` gives the same 32 bytes. Unwrapping takes a [`VerifiedModel`], so
//! that no key leaves for a model of which nobody trusted signed the header, and compares the key
//! with the header's commitment, so that a wrong key is named as such.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use casemate_core::secret::{Secret, SecretKey};
use zeroize::Zeroize;

use crate::artifact::{open_regular, read_whole};
use crate::format::keys::ArtifactKeys;
use crate::verify::VerifiedModel;

/// Why a key was not wrapped or released.
#[derive(Debug, thiserror::Error)]
pub enum KeyReleaseError {
    /// A recipient that is not one.
    #[error(
        "`{0}` is not an age recipient (`age1...`); `casemate model keygen --age` or `age-keygen` makes one"
    )]
    Recipient(String),
    /// No recipient, so that nobody could open the model.
    #[error(
        "no recipient was named, so nobody could open the model; name one with `--recipient age1...`"
    )]
    NoRecipients,
    /// age could not encrypt.
    #[error("the data key could not be wrapped")]
    Wrap(#[source] std::io::Error),
    /// The identity file could not be read.
    #[error("cannot read the age identity file `{path}`")]
    ReadIdentity {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The identity file holds no identity.
    #[error("`{0}` holds no `AGE-SECRET-KEY-1...` line")]
    NoIdentity(PathBuf),
    /// An encrypted identity file.
    #[error("`{0}` is encrypted with a passphrase; decrypt it first with `age -d`")]
    EncryptedIdentity(PathBuf),
    /// The wrapped key was not made for this identity.
    #[error(
        "the identity does not open this model's key; use one of the recipients that it was sealed for"
    )]
    WrongIdentity,
    /// The wrapped key is damaged.
    #[error("the wrapped key is damaged: {0}")]
    Damaged(String),
    /// The key cannot be kept.
    #[error(
        "cannot lock a page of memory for the key; raise the limit on locked memory (`ulimit -l`)"
    )]
    Memory(#[source] std::io::Error),
    /// A key of another model.
    #[error("the key is not the one that this model was sealed with")]
    WrongKey,
}

/// Whom a model is sealed for: an age X25519 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(age::x25519::Recipient);

/// Who opens a model: age X25519 secret keys, wiped when dropped.
pub struct Identity(Vec<age::x25519::Identity>);

impl FromStr for Recipient {
    type Err = KeyReleaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || KeyReleaseError::Recipient(text.chars().take(80).collect());
        text.trim().parse().map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Recipient({})", self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Identity(redacted)")
    }
}

/// Makes a new identity: the text of its file, as `age-keygen` writes it, and its public half.
#[must_use]
pub fn generate_identity() -> (Secret, Recipient) {
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient(identity.to_public());
    let secret = identity.to_string();
    let text = format!("# public key: {recipient}\n{}\n", secret.expose_secret());
    (Secret::new(text.into_bytes()), recipient)
}

impl Identity {
    /// Reads an unencrypted age identity file.
    ///
    /// # Errors
    /// When it cannot be read, is encrypted, or holds no X25519 identity.
    pub fn load(path: &Path) -> Result<Self, KeyReleaseError> {
        let failed = |source| KeyReleaseError::ReadIdentity {
            path: path.to_owned(),
            source,
        };
        Self::read(File::open(path).map_err(failed)?, path)
    }

    /// Reads an unencrypted age identity file that is already open; `path` names it in messages.
    ///
    /// # Errors
    /// When it cannot be read, is encrypted, or holds no X25519 identity.
    pub fn read(file: File, path: &Path) -> Result<Self, KeyReleaseError> {
        let failed = |source| KeyReleaseError::ReadIdentity {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::with_capacity(MAX_IDENTITY_BYTES);
        let taken = file.take(MAX_IDENTITY_BYTES as u64).read_to_end(&mut bytes);
        let text = Secret::new(bytes);
        taken.map_err(failed)?;
        if text.expose().starts_with(b"age-encryption.org/")
            || text.expose().starts_with(b"-----BEGIN AGE ENCRYPTED FILE")
        {
            return Err(KeyReleaseError::EncryptedIdentity(path.to_owned()));
        }
        Self::parse(text.expose()).ok_or_else(|| KeyReleaseError::NoIdentity(path.to_owned()))
    }

    /// Reads the text of an identity file; nothing when it has no X25519 identity.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let keys: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter_map(|line| line.parse().ok())
            .collect();
        (!keys.is_empty()).then_some(Self(keys))
    }
}

/// Wraps `data_key` for every recipient.
///
/// # Errors
/// When there is no recipient, or age fails.
pub fn wrap(data_key: &SecretKey, recipients: &[Recipient]) -> Result<Vec<u8>, KeyReleaseError> {
    let to = recipients
        .iter()
        .map(|recipient| &recipient.0 as &dyn age::Recipient);
    let encryptor =
        age::Encryptor::with_recipients(to).map_err(|_| KeyReleaseError::NoRecipients)?;
    let mut wrapped = Vec::new();
    let mut writer = encryptor
        .wrap_output(&mut wrapped)
        .map_err(KeyReleaseError::Wrap)?;
    writer
        .write_all(data_key.expose())
        .map_err(KeyReleaseError::Wrap)?;
    writer.finish().map_err(KeyReleaseError::Wrap)?;
    Ok(wrapped)
}

/// Unwraps the data key of `model` with the identities in `identity_file`.
///
/// # Errors
/// When the file holds no identity that opens this model, or the wrapped key is damaged.
pub fn unwrap(model: &VerifiedModel, identity_file: &Path) -> Result<SecretKey, KeyReleaseError> {
    unwrap_with(model, &Identity::load(identity_file)?)
}

/// Unwraps the data key of `model` with `identity`.
///
/// # Errors
/// When the identity does not open this model, or the wrapped key is damaged.
pub fn unwrap_with(
    model: &VerifiedModel,
    identity: &Identity,
) -> Result<SecretKey, KeyReleaseError> {
    let damaged = |error: age::DecryptError| match error {
        age::DecryptError::NoMatchingKeys => KeyReleaseError::WrongIdentity,
        other => KeyReleaseError::Damaged(other.to_string()),
    };
    let decryptor =
        age::Decryptor::new_buffered(BufReader::new(model.wrapped_key())).map_err(damaged)?;
    let identities = identity.0.iter().map(|key| key as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).map_err(damaged)?;
    let mut bytes = [0; 32];
    let mut beyond = [0; 1];
    let read = reader
        .read_exact(&mut bytes)
        .and_then(|()| reader.read(&mut beyond))
        .map_err(|error| KeyReleaseError::Damaged(error.to_string()));
    let key = SecretKey::new(bytes);
    bytes.zeroize();
    if read? != 0 {
        return Err(KeyReleaseError::Damaged(
            "it holds more than a key".to_owned(),
        ));
    }
    let keys = ArtifactKeys::new(&key, model.header().artifact).map_err(KeyReleaseError::Memory)?;
    if keys.commitment() == model.header().key_commitment {
        Ok(key)
    } else {
        Err(KeyReleaseError::WrongKey)
    }
}

/// Reads a file of recipients, one a line, as `age -R` does.
///
/// # Errors
/// When it cannot be read or a line is not a recipient.
pub fn load_recipients(path: &Path) -> Result<Vec<Recipient>, KeyReleaseError> {
    let failed = |source| KeyReleaseError::ReadIdentity {
        path: path.to_owned(),
        source,
    };
    let file = open_regular(path).map_err(failed)?;
    let bytes = read_whole(&file, MAX_IDENTITY_BYTES as u64).map_err(failed)?;
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::parse)
        .collect()
}

const MAX_IDENTITY_BYTES: usize = 64 * 1024;
