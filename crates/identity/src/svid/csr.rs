//! Certificate requests (PKCS#10): nothing but a public key and the proof that its holder asks.
//!
//! Subject, names and extensions of a request are never read: the authority decides all of them.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::key::{KeyError, KeyPair, p256_point};
use crate::der::{self, BIT_STRING, DerError, INTEGER, SEQUENCE};
use crate::encoding::{sha256, to_base64url};

/// Why a certificate request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRequestError {
    /// Too long, or not one `CERTIFICATE REQUEST` block.
    #[error("not a PEM certificate request")]
    Pem,
    /// Not a PKCS#10 structure.
    #[error("not a PKCS#10 request: {0}")]
    Form(&'static str),
    /// The key or the signature is not ECDSA on P-256 with SHA-256.
    #[error("the request's key is not P-256 with SHA-256")]
    Algorithm,
    /// The signature does not prove possession of the key.
    #[error("the request is not signed by its own key")]
    Signature,
}

impl From<DerError> for ReadRequestError {
    fn from(error: DerError) -> Self {
        Self::Form(error.0)
    }
}

/// A public key whose holder proved possession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    point: Vec<u8>,
    thumbprint: String,
}

impl CertificateRequest {
    /// Reads a request in PEM and checks its proof of possession.
    ///
    /// # Errors
    /// When it is not exactly a P-256 request signed by its own key.
    pub fn from_pem(text: &str) -> Result<Self, ReadRequestError> {
        if text.len() > MAX_REQUEST_BYTES {
            return Err(ReadRequestError::Pem);
        }
        let block = pem::parse(text).map_err(|_| ReadRequestError::Pem)?;
        if block.tag() != "CERTIFICATE REQUEST" {
            return Err(ReadRequestError::Pem);
        }
        Self::from_der(block.contents())
    }

    /// Reads a request in DER and checks its proof of possession.
    ///
    /// # Errors
    /// As [`CertificateRequest::from_pem`].
    pub fn from_der(bytes: &[u8]) -> Result<Self, ReadRequestError> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(ReadRequestError::Form("size"));
        }
        let mut request = der::only(bytes, SEQUENCE, "request")?;
        let info = request.element("request info")?;
        let algorithm = request.element("signature algorithm")?;
        let signature = der::whole_bits(request.read(BIT_STRING, "signature")?, "signature")?;
        request.finish("end of request")?;
        if algorithm.encoded != ECDSA_WITH_SHA256 {
            return Err(ReadRequestError::Algorithm);
        }
        if info.tag != SEQUENCE {
            return Err(ReadRequestError::Form("request info"));
        }
        let mut inside = der::Reader::new(info.content);
        if inside.read(INTEGER, "version")? != [0] {
            return Err(ReadRequestError::Form("version"));
        }
        inside.read(SEQUENCE, "subject")?;
        let key = inside.element("public key")?;
        inside.optional(der::context(0, true), "attributes")?;
        inside.finish("end of request info")?;
        let point = p256_point(key.encoded).ok_or(ReadRequestError::Algorithm)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(info.encoded, signature)
            .map_err(|_| ReadRequestError::Signature)?;
        Ok(Self {
            point: point.to_vec(),
            thumbprint: to_base64url(&sha256(key.encoded)),
        })
    }

    /// Unpadded base64url of the SHA-256 of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_thumbprint(&self) -> &str {
        &self.thumbprint
    }
}

impl rcgen::PublicKeyData for CertificateRequest {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A request for a certificate over `key`, in PEM. It names nobody: the authority knows who asks.
///
/// # Errors
/// When signing fails.
pub fn make_csr(key: &KeyPair) -> Result<String, KeyError> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let request = parameters
        .serialize_request(key)
        .map_err(|_| KeyError::Sign)?;
    request.pem().map_err(|_| KeyError::Sign)
}

/// AlgorithmIdentifier of ecdsa-with-SHA256, which has no parameters.
const ECDSA_WITH_SHA256: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];
const MAX_REQUEST_BYTES: usize = 16 * 1024;
