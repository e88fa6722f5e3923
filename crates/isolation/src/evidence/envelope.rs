//! The DSSE envelope around a statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The payload type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Always [`PAYLOAD_TYPE`].
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The statement's canonical bytes in base64.
    pub payload: String,
    /// At least one.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key; a hint, never trusted.
    pub keyid: String,
    /// The signature's bytes in base64.
    pub sig: String,
}

impl Envelope {
    /// Wraps `payload`; `sign` signs the bytes that [`pre_authentication`] makes of it.
    ///
    /// # Errors
    /// What `sign` fails with.
    pub fn seal<E>(
        payload: &[u8],
        keyid: &str,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let signature = sign(&pre_authentication(PAYLOAD_TYPE, payload))?;
        Ok(Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature {
                keyid: keyid.to_owned(),
                sig: STANDARD.encode(signature),
            }],
        })
    }

    /// The payload's bytes, when the type is ours.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<Vec<u8>> {
        if self.payload_type == PAYLOAD_TYPE {
            STANDARD.decode(&self.payload).ok()
        } else {
            None
        }
    }

    /// Whether one of the signatures verifies over `payload`.
    pub fn verifies(&self, payload: &[u8], verifies: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let signed = pre_authentication(&self.payload_type, payload);
        self.signatures
            .iter()
            .filter_map(|signature| STANDARD.decode(&signature.sig).ok())
            .any(|signature| verifies(&signed, &signature))
    }
}

/// The bytes that a DSSE signature is over.
#[must_use]
pub fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend(payload);
    bytes
}
