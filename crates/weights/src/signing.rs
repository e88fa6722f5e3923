//! The keys that sign models: ECDSA keys in PEM files, as every OpenSSF signing tool reads them.
//!
//! Signing is by P-256 only; P-384 and P-521 are verified, because other signers use them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, EcdsaKeyPair, EcdsaVerificationAlgorithm, KeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_core::secret::Secret;
use zeroize::Zeroize;

use crate::digest::Digest;

/// Why a key could not be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file could not be read.
    #[error("cannot read the key file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write the key file `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text has no PEM block of the wanted kind.
    #[error("found no PEM block `{wanted}`; this needs a {hint}")]
    NoPem {
        /// The label looked for.
        wanted: &'static str,
        /// What kind of file to give instead.
        hint: &'static str,
    },
    /// A private key that is encrypted.
    #[error(
        "the private key is encrypted; decrypt it first with `openssl pkey -in KEY -out PLAIN`"
    )]
    Encrypted,
    /// A public key on a curve that model signatures do not use.
    #[error("not an uncompressed ECDSA public key on P-256, P-384 or P-521")]
    PublicKey,
    /// A private key that is not P-256.
    #[error(
        "not an ECDSA private key on P-256; make one with `casemate model keygen` or `openssl ecparam -name prime256v1 -genkey -noout`"
    )]
    PrivateKey,
    /// The library refused to make or use a key.
    #[error("the key could not be made or used")]
    Operation,
}

/// A private P-256 key. Its bytes never appear in `Debug`, and are wiped when dropped.
pub struct SigningKey {
    pair: EcdsaKeyPair,
}

/// A public key, as it stands in its PEM file.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    curve: Curve,
}

/// The curves that model signatures use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

/// Makes a new P-256 key.
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate_key() -> Result<SigningKey, SigningKeyError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
        .map_err(|_| SigningKeyError::Operation)?;
    Ok(SigningKey { pair })
}

/// Reads a private key: PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), unencrypted PEM.
///
/// # Errors
/// When the file cannot be read or holds no P-256 private key.
pub fn load_private(path: &Path) -> Result<SigningKey, SigningKeyError> {
    let text = Secret::new(read_bounded(path)?);
    SigningKey::from_pem(text.expose())
}

/// Reads a public key: `PUBLIC KEY` PEM.
///
/// # Errors
/// When the file cannot be read or holds no supported public key.
pub fn load_public(path: &Path) -> Result<PublicKey, SigningKeyError> {
    PublicKey::from_pem(&read_bounded(path)?)
}

/// Reads a public key from a file that is already open; `path` names it in messages.
///
/// # Errors
/// When the file cannot be read or holds no supported public key.
pub fn read_public(file: File, path: &Path) -> Result<PublicKey, SigningKeyError> {
    PublicKey::from_pem(&read_file(file, path)?)
}

/// Writes `text` to a new file that only its owner can read; refuses to replace one.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn save_private(path: &Path, text: &Secret) -> Result<(), SigningKeyError> {
    let failed = |source| SigningKeyError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.expose())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

impl SigningKey {
    /// Reads a private key from PEM text.
    ///
    /// # Errors
    /// When the text holds no unencrypted P-256 private key.
    pub fn from_pem(text: &[u8]) -> Result<Self, SigningKeyError> {
        let blocks = pem::parse_many(text).map_err(|_| NO_PRIVATE_KEY)?;
        if blocks
            .iter()
            .any(|block| block.tag() == "ENCRYPTED PRIVATE KEY")
        {
            return Err(SigningKeyError::Encrypted);
        }
        let block = blocks
            .into_iter()
            .find(|block| matches!(block.tag(), "PRIVATE KEY" | "EC PRIVATE KEY"))
            .ok_or(NO_PRIVATE_KEY)?;
        let der = Secret::new(block.into_contents());
        let pair =
            EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der.expose())
                .map_err(|_| SigningKeyError::PrivateKey)?;
        Ok(Self { pair })
    }

    /// The key as PKCS#8 PEM, to be written by [`save_private`].
    ///
    /// # Errors
    /// When the library cannot encode the key.
    pub fn to_pem(&self) -> Result<Secret, SigningKeyError> {
        let document = self
            .pair
            .to_pkcs8v1()
            .map_err(|_| SigningKeyError::Operation)?;
        let mut text = pem_text("PRIVATE KEY", document.as_ref());
        let secret = Secret::new(text.clone().into_bytes());
        text.zeroize();
        Ok(secret)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut spki = P256_PREFIX.to_vec();
        spki.extend_from_slice(self.pair.public_key().as_ref());
        PublicKey {
            spki,
            curve: Curve::P256,
        }
    }

    /// An ASN.1 signature of `message` with SHA-256.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SigningKeyError::Operation)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl PublicKey {
    /// Reads a public key from PEM text.
    ///
    /// # Errors
    /// When the text holds no supported public key.
    pub fn from_pem(text: &[u8]) -> Result<Self, SigningKeyError> {
        let blocks = pem::parse_many(text).map_err(|_| NO_PUBLIC_KEY)?;
        let block = blocks
            .into_iter()
            .find(|block| block.tag() == "PUBLIC KEY")
            .ok_or(NO_PUBLIC_KEY)?;
        let spki = block.into_contents();
        let curve = [Curve::P256, Curve::P384, Curve::P521]
            .into_iter()
            .find(|curve| curve.point(&spki).is_some())
            .ok_or(SigningKeyError::PublicKey)?;
        Ok(Self { spki, curve })
    }

    /// The key as PEM, spelled as Python's `cryptography` and OpenSSL print it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem_text("PUBLIC KEY", &self.spki)
    }

    /// What model signing calls the hint: SHA-256 of the PEM text, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Digest::of(self.to_pem().as_bytes()).to_string()
    }

    /// Whether `signature` (ASN.1) is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(point) = self.curve.point(&self.spki) else {
            return false;
        };
        UnparsedPublicKey::new(self.curve.algorithm(), point)
            .verify(message, signature)
            .is_ok()
    }
}

impl Curve {
    /// The uncompressed point inside `spki`, when it is a key on this curve and nothing else.
    fn point(self, spki: &[u8]) -> Option<&[u8]> {
        let (prefix, length): (&[u8], usize) = match self {
            Self::P256 => (&P256_PREFIX, 65),
            Self::P384 => (&P384_PREFIX, 97),
            Self::P521 => (&P521_PREFIX, 133),
        };
        let point = spki.strip_prefix(prefix)?;
        (point.len() == length && point.first() == Some(&4)).then_some(point)
    }

    fn algorithm(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
            Self::P521 => &ECDSA_P521_SHA512_ASN1,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(redacted)")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PublicKey({:?} {})",
            self.curve,
            self.fingerprint()
        )
    }
}

fn pem_text(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, character) in STANDARD.encode(der).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, SigningKeyError> {
    let failed = |source| SigningKeyError::Read {
        path: path.to_owned(),
        source,
    };
    read_file(File::open(path).map_err(failed)?, path)
}

fn read_file(file: File, path: &Path) -> Result<Vec<u8>, SigningKeyError> {
    let failed = |source| SigningKeyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::with_capacity(MAX_KEY_FILE_BYTES);
    file.take(MAX_KEY_FILE_BYTES as u64)
        .read_to_end(&mut text)
        .map_err(failed)?;
    Ok(text)
}

const MAX_KEY_FILE_BYTES: usize = 16 * 1024;

const NO_PRIVATE_KEY: SigningKeyError = SigningKeyError::NoPem {
    wanted: "PRIVATE KEY",
    hint: "private key file; `casemate model keygen` makes one",
};
const NO_PUBLIC_KEY: SigningKeyError = SigningKeyError::NoPem {
    wanted: "PUBLIC KEY",
    hint: "public key file; `openssl pkey -in KEY -pubout` prints one",
};

// SubjectPublicKeyInfo up to the point: algorithm id-ecPublicKey, the named curve, an unpadded bit string.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
const P521_PREFIX: [u8; 25] = [
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
    0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
];
