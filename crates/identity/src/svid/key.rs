//! A P-256 private key: made here, used here, wiped on drop.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use casemate_core::secret::Secret;

/// Why a private key could not be made or read. Never says anything about the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness, or the library failed.
    #[error("cannot generate a key")]
    Generate,
    /// Not a PKCS#8 P-256 private key.
    #[error("not a PKCS#8 private key on P-256")]
    Read,
    /// The library failed to sign.
    #[error("cannot sign")]
    Sign,
}

/// An EC P-256 key pair for ECDSA with SHA-256.
pub struct KeyPair {
    // One key in the two signature forms: DER for X.509 and TLS, fixed width for JWS.
    der: EcdsaKeyPair,
    fixed: EcdsaKeyPair,
    pkcs8: Secret,
}

impl KeyPair {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn generate() -> Result<Self, KeyError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(|_| KeyError::Generate)?;
        Self::from_pkcs8(document.as_ref()).map_err(|_| KeyError::Generate)
    }

    /// Reads PKCS#8 DER.
    ///
    /// # Errors
    /// When it is not a P-256 private key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8);
        let fixed = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
        Ok(Self {
            der: der.map_err(|_| KeyError::Read)?,
            fixed: fixed.map_err(|_| KeyError::Read)?,
            pkcs8: Secret::new(pkcs8.to_vec()),
        })
    }

    /// Reads a `PRIVATE KEY` PEM block.
    ///
    /// # Errors
    /// When there is not exactly that, on P-256.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::parse(text).map_err(|_| KeyError::Read)?;
        if block.tag() != "PRIVATE KEY" {
            return Err(KeyError::Read);
        }
        let bytes = Secret::new(block.into_contents());
        Self::from_pkcs8(bytes.expose())
    }

    /// The private key as a `PRIVATE KEY` PEM block.
    #[must_use]
    pub fn to_pem(&self) -> Secret {
        let block = pem::Pem::new("PRIVATE KEY", self.pkcs8.expose());
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Secret::new(pem::encode_config(&block, config).into_bytes())
    }

    /// The private key as PKCS#8 DER.
    #[must_use]
    pub const fn pkcs8(&self) -> &Secret {
        &self.pkcs8
    }

    /// The public point, uncompressed: 65 bytes.
    #[must_use]
    pub fn public_point(&self) -> &[u8] {
        self.der.public_key().as_ref()
    }

    /// The public key as SubjectPublicKeyInfo DER.
    #[must_use]
    pub fn public_key_info(&self) -> Vec<u8> {
        [P256_INFO_PREFIX, self.public_point()].concat()
    }

    /// The public key as a `PUBLIC KEY` PEM block.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let block = pem::Pem::new("PUBLIC KEY", self.public_key_info());
        pem::encode_config(
            &block,
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// ECDSA-SHA256 as 64 bytes `r || s`, the form of JWS.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.fixed.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeyError::Sign)?.as_ref().to_vec())
    }

    /// ECDSA-SHA256 in DER, the form of X.509.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.der.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeyError::Sign)?.as_ref().to_vec())
    }

    /// A second handle on the same key.
    ///
    /// # Errors
    /// Never for a key that was read once.
    pub fn duplicate(&self) -> Result<Self, KeyError> {
        Self::from_pkcs8(self.pkcs8.expose())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPair(redacted)")
    }
}

impl rcgen::PublicKeyData for KeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.public_point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_der(message)
            .map_err(|_| rcgen::Error::RingUnspecified)
    }
}

/// The point inside a SubjectPublicKeyInfo, when that is a P-256 key on the curve.
pub(crate) fn p256_point(public_key_info: &[u8]) -> Option<&[u8]> {
    let point = public_key_info.strip_prefix(P256_INFO_PREFIX)?;
    p256_on_curve(point).then_some(point)
}

/// Whether `point` is an uncompressed point on P-256.
pub(crate) fn p256_on_curve(point: &[u8]) -> bool {
    point.len() == 65
        && point.first() == Some(&4)
        && aws_lc_rs::signature::ParsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
            point,
        )
        .is_ok()
}

/// SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 65 bytes } up to the point.
const P256_INFO_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
