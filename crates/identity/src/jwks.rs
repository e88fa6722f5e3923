//! JWK Sets (RFC 7517), read strictly and written by us.
//!
//! An entry of a kind we do not know is ignored, as the standard asks; an entry that claims to be of
//! a kind we know and is malformed, weak or private refuses the whole set.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use serde_json::{Map, Value, json};

use crate::encoding::{from_base64url, sha256, to_base64url};
use crate::strict_json;
use crate::svid::p256_on_curve;

/// Why a JWK Set was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Longer than [`MAX_SET_BYTES`].
    #[error("the key set has {0} bytes")]
    TooLong(usize),
    /// Not a JSON object with an array `keys`, or a member named twice.
    #[error("not a JWK Set")]
    Form,
    /// More keys than [`MAX_KEYS`].
    #[error("the key set has {0} keys")]
    TooMany(usize),
    /// An entry with private or secret key material in it.
    #[error("the key set publishes a private key")]
    Private,
    /// Two entries with the same `kid`.
    #[error("two keys of the set have the same id")]
    DuplicateId,
    /// A coordinate of the wrong width, or a point off the curve.
    #[error("an EC key of the set is malformed")]
    Ec,
    /// Not canonical, weaker than 2048 bits, longer than 8192, or with an unfit exponent.
    #[error("an RSA key of the set is malformed or weak")]
    Rsa,
    /// A `kid` that is empty or longer than [`MAX_ID_BYTES`].
    #[error("a key id of the set is empty or too long")]
    Id,
}

/// The signature algorithms that we accept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The algorithm with this JOSE name, when it is one of ours.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// One public key for signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    id: String,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// The uncompressed point.
    P256(Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl Jwk {
    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The one algorithm that this key is for; the key decides, never the token.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::P256(_) => Algorithm::Es256,
            Material::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Whether `signature` over `message` verifies.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::P256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .is_ok_and(|key| key.verify_sig(message, signature).is_ok()),
            Material::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok(),
        }
    }
}

/// A set of public keys, each with an id of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

impl JwkSet {
    /// Reads a JWK Set. Entries without `kid`, of unknown type, or for encryption are left out.
    ///
    /// # Errors
    /// When the set is malformed, publishes a private key, or has an unfit key.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        if bytes.len() > MAX_SET_BYTES {
            return Err(JwksError::TooLong(bytes.len()));
        }
        let set = strict_json::parse(bytes).map_err(|_| JwksError::Form)?;
        let entries = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(JwksError::Form)?;
        if entries.len() > MAX_KEYS {
            return Err(JwksError::TooMany(entries.len()));
        }
        let mut keys: Vec<Jwk> = Vec::new();
        for entry in entries {
            let members = entry.as_object().ok_or(JwksError::Form)?;
            let Some(key) = read_key(members)? else {
                continue;
            };
            if keys.iter().any(|known| known.id == key.id) {
                return Err(JwksError::DuplicateId);
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// A set of P-256 keys, by their uncompressed points; the id of each is its thumbprint.
    /// Anything that is no point on the curve is left out.
    pub fn of_points<'a>(points: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let keys = points
            .into_iter()
            .filter(|point| p256_on_curve(point))
            .map(|point| Jwk {
                id: thumbprint_of_point(point),
                material: Material::P256(point.to_vec()),
            });
        Self {
            keys: keys.collect(),
        }
    }

    /// The set as JSON, with `use: sig` and `alg` on every key.
    #[must_use]
    pub fn to_json(&self) -> String {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|key| match &key.material {
                Material::P256(point) => {
                    let (x, y) = coordinates(point);
                    json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
                        "kid": key.id, "x": x, "y": y })
                }
                Material::Rsa { modulus, exponent } => {
                    json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": key.id,
                        "n": to_base64url(modulus), "e": to_base64url(exponent) })
                }
            })
            .collect();
        json!({ "keys": keys }).to_string()
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key, when there is exactly one.
    #[must_use]
    pub const fn only(&self) -> Option<&Jwk> {
        match self.keys.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether there is no key that we could use.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn es256_points(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.keys.iter().filter_map(|key| match &key.material {
            Material::P256(point) => Some((key.id.as_str(), point.as_slice())),
            Material::Rsa { .. } => None,
        })
    }
}

/// Nothing when the entry is not for us; an error when it is and is wrong.
fn read_key(members: &Map<String, Value>) -> Result<Option<Jwk>, JwksError> {
    let text = |name: &str| -> Result<Option<&str>, JwksError> {
        match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(JwksError::Form),
        }
    };
    let kind = text("kty")?;
    if PRIVATE_MEMBERS
        .iter()
        .any(|name| members.contains_key(*name))
    {
        return Err(JwksError::Private);
    }
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(None);
    }
    if let Some(operations) = members.get("key_ops") {
        let list = operations.as_array().ok_or(JwksError::Form)?;
        if !list.iter().any(|operation| operation == "verify") {
            return Ok(None);
        }
    }
    let Some(id) = text("kid")? else {
        return Ok(None);
    };
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(JwksError::Id);
    }
    let declared = text("alg")?;
    let material = match kind {
        Some("EC") if text("crv")? == Some("P-256") => {
            if declared.is_some_and(|name| name != "ES256") {
                return Ok(None);
            }
            let coordinate = |name: &str| -> Result<Vec<u8>, JwksError> {
                let bytes = text(name)?.and_then(from_base64url).ok_or(JwksError::Ec)?;
                if bytes.len() == 32 {
                    Ok(bytes)
                } else {
                    Err(JwksError::Ec)
                }
            };
            let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
            if !p256_on_curve(&point) {
                return Err(JwksError::Ec);
            }
            Material::P256(point)
        }
        Some("RSA") => {
            if declared.is_some_and(|name| name != "RS256") {
                return Ok(None);
            }
            let number = |name: &str| text(name)?.and_then(from_base64url).ok_or(JwksError::Rsa);
            read_rsa(number("n")?, number("e")?)?
        }
        Some(_) | None => return Ok(None),
    };
    Ok(Some(Jwk {
        id: id.to_owned(),
        material,
    }))
}

fn read_rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Material, JwksError> {
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let leading = |number: &[u8]| number.first().copied().unwrap_or(0);
    let bits = (modulus.len() * 8).saturating_sub(leading(&modulus).leading_zeros() as usize);
    let fit = leading(&modulus) != 0
        && odd(&modulus)
        && (2048..=8192).contains(&bits)
        && leading(&exponent) != 0
        && odd(&exponent)
        && (1..=4).contains(&exponent.len())
        && exponent != [1];
    if fit {
        Ok(Material::Rsa { modulus, exponent })
    } else {
        Err(JwksError::Rsa)
    }
}

fn coordinates(point: &[u8]) -> (String, String) {
    let half = |range: std::ops::Range<usize>| to_base64url(point.get(range).unwrap_or_default());
    (half(1..33), half(33..65))
}

/// The RFC 7638 thumbprint of a P-256 key.
pub(crate) fn thumbprint_of_point(point: &[u8]) -> String {
    let (x, y) = coordinates(point);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    to_base64url(&sha256(canonical.as_bytes()))
}

/// The most bytes of a JWK Set that we read.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// The most keys a set may have.
pub const MAX_KEYS: usize = 64;
/// The longest `kid`.
pub const MAX_ID_BYTES: usize = 256;
/// RFC 7518 6.2.2, 6.3.2 and 6.4: nothing of this belongs into a public set.
const PRIVATE_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[cfg(test)]
mod tests;
