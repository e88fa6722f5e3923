//! Sigstore bundles of version 0.3 that carry one DSSE envelope signed by a plain key.
//!
//! Both signatures of a sealed model have this shape: the OpenSSF one over the plaintext and ours
//! over the sealed artefact. Certificates and transparency logs are refused by name: this project
//! trusts keys that it was given. Whoever wants one spelling only compares with [`Bundle::to_json`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::signing::{PublicKey, SigningKey, SigningKeyError};

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not JSON of the shape of a bundle.
    #[error("not a Sigstore bundle")]
    Malformed {
        /// Where and what the parser stumbled over.
        source: serde_json::Error,
    },
    /// A bundle of another version or kind.
    #[error("the bundle's media type is `{0}`; only `{MEDIA_TYPE}` is understood")]
    MediaType(String),
    /// Base64 that does not decode.
    #[error("the bundle's `{0}` is not base64")]
    Base64(&'static str),
    /// A certificate where a key was expected.
    #[error(
        "the bundle was signed with a certificate; only signatures by a plain key are understood"
    )]
    Certificate,
    /// No signature, or several.
    #[error("the bundle has {0} signatures; exactly one is expected")]
    Signatures(usize),
    /// An envelope around something else.
    #[error("the bundle's payload is `{0}`; only `{PAYLOAD_TYPE}` is understood")]
    PayloadType(String),
    /// No trusted key, so that nothing can be believed.
    #[error("no public key was given to verify with; name one with `--signer FILE`")]
    NoSigners,
    /// Signed by somebody who is not trusted.
    #[error("signed by the key {hint}, which is not one of the {known} trusted keys")]
    UnknownSigner {
        /// The fingerprint in the bundle.
        hint: String,
        /// How many keys are trusted.
        known: usize,
    },
    /// The signature is not that of the key it names.
    #[error("the signature does not match: the signed text or the signature was changed")]
    BadSignature,
}

/// One signed payload, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    payload: Vec<u8>,
    signature: Vec<u8>,
    hint: Option<String>,
}

impl Bundle {
    /// Signs `payload`, an in-toto statement.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(payload: Vec<u8>, key: &SigningKey) -> Result<Self, SigningKeyError> {
        let signature = key.sign(&authenticated_encoding(&payload))?;
        Ok(Self {
            payload,
            signature,
            hint: Some(key.public().fingerprint()),
        })
    }

    /// Reads a bundle. What it says is not believed before [`Bundle::verify`].
    ///
    /// # Errors
    /// When it is not a bundle of version 0.3 with one DSSE signature by a plain key.
    pub fn parse(text: &[u8]) -> Result<Self, BundleError> {
        let file: BundleFile =
            serde_json::from_slice(text).map_err(|source| BundleError::Malformed { source })?;
        if file.media_type != MEDIA_TYPE {
            return Err(BundleError::MediaType(
                file.media_type.chars().take(80).collect(),
            ));
        }
        if file.verification_material.x509_certificate_chain.is_some()
            || file.verification_material.certificate.is_some()
        {
            return Err(BundleError::Certificate);
        }
        let envelope = file.dsse_envelope;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(BundleError::PayloadType(
                envelope.payload_type.chars().take(80).collect(),
            ));
        }
        let [signature] = envelope.signatures.as_slice() else {
            return Err(BundleError::Signatures(envelope.signatures.len()));
        };
        let decode =
            |text: &str, what| STANDARD.decode(text).map_err(|_| BundleError::Base64(what));
        Ok(Self {
            payload: decode(&envelope.payload, "payload")?,
            signature: decode(&signature.sig, "sig")?,
            hint: file
                .verification_material
                .public_key
                .and_then(|key| key.hint)
                .filter(|hint| !hint.is_empty()),
        })
    }

    /// The bundle as compact JSON: the only spelling of it that this project writes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let file = BundleFile {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: VerificationMaterial {
                public_key: Some(PublicKeyIdentifier {
                    hint: self.hint.clone(),
                }),
                x509_certificate_chain: None,
                certificate: None,
                tlog_entries: Some(Vec::new()),
            },
            dsse_envelope: Envelope {
                payload: STANDARD.encode(&self.payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![Signature {
                    sig: STANDARD.encode(&self.signature),
                    keyid: Some(String::new()),
                }],
            },
        };
        // Strings and lists always serialise.
        serde_json::to_vec(&file).unwrap_or_default()
    }

    /// The payload, when one of `signers` signed it.
    ///
    /// # Errors
    /// When no key is trusted, the bundle names another key, or the signature does not match.
    pub fn verify<'a>(
        &'a self,
        signers: &'a [PublicKey],
    ) -> Result<(&'a PublicKey, &'a [u8]), BundleError> {
        if signers.is_empty() {
            return Err(BundleError::NoSigners);
        }
        let unknown = || BundleError::UnknownSigner {
            hint: self
                .hint
                .clone()
                .unwrap_or_else(|| "that it does not name".to_owned()),
            known: signers.len(),
        };
        let message = authenticated_encoding(&self.payload);
        let verifies = |signer: &&PublicKey| signer.verifies(&message, &self.signature);
        let signer = match &self.hint {
            Some(hint) => {
                let named = signers
                    .iter()
                    .find(|signer| signer.fingerprint() == *hint)
                    .ok_or_else(unknown)?;
                verifies(&named)
                    .then_some(named)
                    .ok_or(BundleError::BadSignature)?
            }
            // Signers before version 1.0 of the specification left the hint out.
            None => signers.iter().find(verifies).ok_or_else(unknown)?,
        };
        Ok((signer, &self.payload))
    }

    /// The payload without any proof of who wrote it, for [`crate::inspect`].
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The fingerprint of the key that the bundle says it was signed by.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// DSSE's pre-authentication encoding: what is really signed.
fn authenticated_encoding(payload: &[u8]) -> Vec<u8> {
    let mut message = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    )
    .into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Other members are ignored, as the specification of bundles asks; ours are compared byte for byte.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleFile {
    media_type: String,
    verification_material: VerificationMaterial,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationMaterial {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<PublicKeyIdentifier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<serde_json::Value>,
    #[serde(default)]
    tlog_entries: Option<Vec<serde_json::Value>>,
}

#[derive(Serialize, Deserialize)]
struct PublicKeyIdentifier {
    #[serde(default)]
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: Option<String>,
}

/// The media type of the bundles that are read and written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The payload type of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
