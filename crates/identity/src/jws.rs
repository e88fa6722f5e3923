//! JSON Web Signatures in one fixed profile: compact, ES256, three header members.
//!
//! The header never chooses anything. It must say `alg: ES256`, exactly the `typ` that the caller
//! asks for, and a `kid` that we hold; any further member (`crit`, `jwk`, `jku`, `x5u`, `b64`, ...)
//! refuses, as does a second spelling of the same token. (RFC 7515, RFC 8725 sections 3.1 to 3.12.)

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use casemate_core::secret::Secret;
use casemate_core::ticket::MAX_TOKEN_BYTES;
use serde_json::Value;

use crate::encoding::{from_base64url, to_base64url};
use crate::jwks::{JwkSet, thumbprint_of_point};
use crate::strict_json;
use crate::svid::{KeyError, KeyPair};

/// Why a token was refused before its claims were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than any token of ours.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not three parts of canonical base64url.
    #[error("the token is not a compact JWS")]
    Form,
    /// The header or the payload is not one JSON object without duplicates.
    #[error("the token's header or payload is not strict JSON")]
    Json,
    /// The header has a member beside `alg`, `kid` and `typ`, or one of those is missing.
    #[error("the token's header has other members than alg, kid and typ")]
    Header,
    /// The header's `alg` is not `ES256`.
    #[error("the token's algorithm is not ES256")]
    Algorithm,
    /// The header's `typ` is another one than is accepted here.
    #[error("the token is of another type")]
    Type,
    /// No key of ours has the header's `kid`.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature is wrong")]
    Signature,
}

/// A private key that signs tokens, with the id that its verifiers know it by.
pub struct SigningKey {
    id: String,
    pair: KeyPair,
}

impl SigningKey {
    /// A new key; its id is its RFC 7638 thumbprint.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::new(KeyPair::generate()?))
    }

    /// Uses `pair` for tokens; its id is its RFC 7638 thumbprint.
    #[must_use]
    pub fn new(pair: KeyPair) -> Self {
        Self {
            id: thumbprint_of_point(pair.public_point()),
            pair,
        }
    }

    /// Reads a `PRIVATE KEY` PEM block.
    ///
    /// # Errors
    /// When it is not a P-256 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Ok(Self::new(KeyPair::from_pem(text)?))
    }

    /// The private key as a PEM block: to be sealed, or handed to the issuer.
    #[must_use]
    pub fn to_pem(&self) -> Secret {
        self.pair.to_pem()
    }

    /// The key's id, the `kid` of what it signs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public point, uncompressed.
    #[must_use]
    pub fn public_point(&self) -> &[u8] {
        self.pair.public_point()
    }

    /// ECDSA-SHA256 over `message`, as 64 bytes: for receipts and other things that are no token.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign_fixed(message)
    }

    /// The public half alone.
    #[must_use]
    pub fn verifying_keys(&self) -> VerifyingKeys {
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.public_point());
        VerifyingKeys {
            keys: parsed
                .map(|key| vec![(self.id.clone(), Arc::new(key))])
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The public keys of the trust domain's issuer, by id. No keys verify nothing.
#[derive(Clone, Debug, Default)]
pub struct VerifyingKeys {
    keys: Vec<(String, Arc<ParsedPublicKey>)>,
}

impl VerifyingKeys {
    /// The EC keys of a JWK Set that are for signatures.
    #[must_use]
    pub fn from_jwks(set: &JwkSet) -> Self {
        let keys = set.es256_points().filter_map(|(id, point)| {
            let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
            Some((id.to_owned(), Arc::new(key)))
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none, so that nothing verifies.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn find(&self, id: &str) -> Option<&ParsedPublicKey> {
        self.keys
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, key)| key.as_ref())
    }
}

/// Signs the JSON text `claims` as a token of type `typ`.
///
/// # Errors
/// When the library fails.
pub fn sign_es256(key: &SigningKey, typ: &str, claims: &[u8]) -> Result<String, KeyError> {
    let header = serde_json::json!({ "alg": "ES256", "kid": key.id, "typ": typ }).to_string();
    let mut token = to_base64url(header.as_bytes());
    token.push('.');
    token.push_str(&to_base64url(claims));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&to_base64url(&signature));
    Ok(token)
}

/// Verifies `token` as a token of exactly the type `typ`, and returns its claims as JSON.
///
/// # Errors
/// When the token is not exactly of the profile, or no key of `keys` signed it.
pub fn verify_es256(typ: &str, token: &str, keys: &VerifyingKeys) -> Result<Value, JwsError> {
    let Parts {
        signed,
        header,
        payload,
        signature,
    } = Parts::split(token)?;
    let header = from_base64url(header).ok_or(JwsError::Form)?;
    let Value::Object(header) = strict_json::parse(&header).map_err(|_| JwsError::Json)? else {
        return Err(JwsError::Json);
    };
    let (Some(Value::String(alg)), Some(Value::String(kid)), Some(Value::String(found)), 3) = (
        header.get("alg"),
        header.get("kid"),
        header.get("typ"),
        header.len(),
    ) else {
        return Err(JwsError::Header);
    };
    if alg != "ES256" {
        return Err(JwsError::Algorithm);
    }
    if found != typ {
        return Err(JwsError::Type);
    }
    let key = keys.find(kid).ok_or(JwsError::UnknownKey)?;
    let signature = from_base64url(signature).ok_or(JwsError::Form)?;
    if signature.len() != 64 {
        return Err(JwsError::Signature);
    }
    key.verify_sig(signed.as_bytes(), &signature)
        .map_err(|_| JwsError::Signature)?;
    let payload = from_base64url(payload).ok_or(JwsError::Form)?;
    let claims = strict_json::parse(&payload).map_err(|_| JwsError::Json)?;
    if claims.is_object() {
        Ok(claims)
    } else {
        Err(JwsError::Json)
    }
}

/// Verifies a bare ES256 signature over `message` with a `PUBLIC KEY` PEM block's key.
#[must_use]
pub fn verify_detached(public_pem: &str, message: &[u8], signature: &[u8]) -> bool {
    let Ok(block) = pem::parse(public_pem) else {
        return false;
    };
    let Some(point) = crate::svid::p256_point(block.contents()) else {
        return false;
    };
    block.tag() == "PUBLIC KEY"
        && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
}

/// A compact JWS cut at its two dots.
pub(crate) struct Parts<'a> {
    pub(crate) signed: &'a str,
    pub(crate) header: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Form)?;
        if payload.contains('.') || header.is_empty() || payload.is_empty() || signature.is_empty()
        {
            return Err(JwsError::Form);
        }
        Ok(Self {
            signed,
            header,
            payload,
            signature,
        })
    }
}

#[cfg(test)]
mod tests;
