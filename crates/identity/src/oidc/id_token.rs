//! ID tokens of a corporate login (OpenID Connect Core section 3.1.3.7), judged against one
//! configured provider and one of its keys.

use casemate_core::time::UnixTime;
use serde_json::{Map, Value};

use super::IssuerUrl;
use crate::encoding::{from_base64url, sha256};
use crate::jwks::{Algorithm, Jwk, MAX_ID_BYTES};
use crate::strict_json;

/// Why an ID token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// Longer than [`MAX_ID_TOKEN_BYTES`].
    #[error("the ID token is longer than {MAX_ID_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not three parts of canonical base64url around strict JSON objects.
    #[error("the ID token is not a compact JWS")]
    Form,
    /// `alg` is neither RS256 nor ES256, or not the algorithm of the key.
    #[error("the ID token's algorithm is not accepted")]
    Algorithm,
    /// `typ` says that it is another kind of token.
    #[error("the token is not an ID token")]
    Type,
    /// The header has `crit`, or a key of its own, or a `kid` that is none.
    #[error("the ID token's header has an unacceptable `{0}`")]
    Header(&'static str),
    /// The signature does not verify.
    #[error("the ID token's signature is wrong")]
    Signature,
    /// A claim is missing or is not what it must be.
    #[error("the ID token's claim `{0}` is missing or malformed")]
    Claim(&'static str),
    /// `iss` is not the configured issuer.
    #[error("the ID token is of another issuer")]
    Issuer,
    /// `aud` does not name us, or `azp` names somebody else.
    #[error("the ID token is for another audience")]
    Audience,
    /// At or after `exp`.
    #[error("the ID token has expired")]
    Expired,
    /// `iat` or `nbf` lies in the future, beyond what clocks differ by.
    #[error("the ID token is from the future")]
    NotYetValid,
    /// Issued longer ago than any login is worth.
    #[error("the ID token was issued too long ago")]
    TooOld,
    /// `nonce` is not the one that the login was started with.
    #[error("the ID token's nonce is not the expected one")]
    Nonce,
}

/// What a token says about itself, before anything of it is believed: which key to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The `iss` claim, unverified: only good for choosing among configured issuers.
    pub issuer: String,
    /// The `kid` header; a provider with one key only may leave it out.
    pub key_id: Option<String>,
}

/// Reads which configured issuer and key a token should be judged by.
///
/// # Errors
/// When it cannot be an ID token of the profile at all.
pub fn hint(token: &str) -> Result<Hint, IdTokenError> {
    let parsed = Parsed::read(token)?;
    let issuer = parsed
        .claims
        .get("iss")
        .and_then(Value::as_str)
        .ok_or(IdTokenError::Issuer)?;
    Ok(Hint {
        issuer: issuer.to_owned(),
        key_id: parsed.key_id,
    })
}

/// What a provider must say for its tokens to count.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The configured issuer.
    pub issuer: &'a IssuerUrl,
    /// Our client id at the provider.
    pub audience: &'a str,
    /// The claim that lists the groups.
    pub groups_claim: &'a str,
    /// The nonce that the login was started with, when we know it.
    pub nonce: Option<&'a str>,
}

/// Proof of a corporate login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLogin {
    issuer: IssuerUrl,
    subject: String,
    groups: Vec<String>,
    issued: UnixTime,
    expires: UnixTime,
    digest: [u8; 32],
}

impl VerifiedLogin {
    /// Who vouches for it.
    #[must_use]
    pub const fn issuer(&self) -> &IssuerUrl {
        &self.issuer
    }

    /// The subject, as the issuer calls it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The groups, as the issuer calls them.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// When the provider says that it issued the token.
    #[must_use]
    pub const fn issued(&self) -> UnixTime {
        self.issued
    }

    /// Which token this was: the same for every spelling of it that verifies.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The second from which the token is refused.
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }
}

/// Judges `token` by one provider and the key that its `kid` names there.
///
/// # Errors
/// The first rule that it breaks; the signature is checked before any claim.
pub fn verify(
    token: &str,
    key: &Jwk,
    expected: &Expected<'_>,
    now: UnixTime,
) -> Result<VerifiedLogin, IdTokenError> {
    let Parsed {
        algorithm,
        key_id,
        claims,
        signed,
        signature,
    } = Parsed::read(token)?;
    // The key says which algorithm it is for; the header only gets to agree.
    if algorithm != key.algorithm() {
        return Err(IdTokenError::Algorithm);
    }
    let named = key_id.is_none_or(|id| id == key.id());
    if !named || !key.verifies(signed.as_bytes(), &signature) {
        return Err(IdTokenError::Signature);
    }
    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer.as_str()) {
        return Err(IdTokenError::Issuer);
    }
    check_audience(&claims, expected.audience)?;
    let (issued, expires) = check_times(&claims, now)?;
    if let Some(nonce) = expected.nonce {
        let found = claims
            .get("nonce")
            .and_then(Value::as_str)
            .ok_or(IdTokenError::Nonce)?;
        let equal =
            aws_lc_rs::constant_time::verify_slices_are_equal(found.as_bytes(), nonce.as_bytes());
        equal.map_err(|_| IdTokenError::Nonce)?;
    }
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|subject| (1..=255).contains(&subject.len()))
        .filter(|subject| !subject.chars().any(char::is_control))
        .ok_or(IdTokenError::Claim("sub"))?;
    Ok(VerifiedLogin {
        issuer: expected.issuer.clone(),
        subject: subject.to_owned(),
        groups: read_groups(&claims, expected.groups_claim)?,
        issued,
        expires,
        digest: digest(algorithm, signed, &signature),
    })
}

struct Parsed<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parsed<'a> {
    fn read(token: &'a str) -> Result<Self, IdTokenError> {
        if token.len() > MAX_ID_TOKEN_BYTES {
            return Err(IdTokenError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdTokenError::Form);
        };
        let signed = token
            .get(..header.len() + 1 + payload.len())
            .ok_or(IdTokenError::Form)?;
        let signature = from_base64url(signature).ok_or(IdTokenError::Form)?;
        let header = read_object(header)?;
        for name in REFUSED_MEMBERS {
            if header.contains_key(*name) {
                return Err(IdTokenError::Header(name));
            }
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::from_name)
            .ok_or(IdTokenError::Algorithm)?;
        match header.get("typ") {
            None => {}
            // RFC 7519 5.1 recommends upper case and compares media types without case.
            Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
            Some(_) => return Err(IdTokenError::Type),
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if (1..=MAX_ID_BYTES).contains(&id.len()) => Some(id.clone()),
            Some(_) => return Err(IdTokenError::Header("kid")),
        };
        Ok(Self {
            algorithm,
            key_id,
            claims: read_object(payload)?,
            signed,
            signature,
        })
    }
}

fn read_object(part: &str) -> Result<Map<String, Value>, IdTokenError> {
    let bytes = from_base64url(part).ok_or(IdTokenError::Form)?;
    match strict_json::parse(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(IdTokenError::Form),
    }
}

fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), IdTokenError> {
    let several = match claims.get("aud") {
        Some(Value::String(only)) if only == audience => false,
        Some(Value::String(_)) => return Err(IdTokenError::Audience),
        Some(Value::Array(list)) => {
            let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            let names = names.ok_or(IdTokenError::Claim("aud"))?;
            if !names.contains(&audience) {
                return Err(IdTokenError::Audience);
            }
            names.len() > 1
        }
        Some(_) | None => return Err(IdTokenError::Claim("aud")),
    };
    match claims.get("azp") {
        Some(Value::String(party)) if party == audience => Ok(()),
        Some(Value::String(_)) => Err(IdTokenError::Audience),
        Some(_) => Err(IdTokenError::Claim("azp")),
        // For several audiences the authorized party must be said, and be us.
        None if several => Err(IdTokenError::Audience),
        None => Ok(()),
    }
}

/// Whole non-negative seconds and nothing else: no text, fraction, exponent or sign. A claim that
/// cannot be read is an error, never an absent claim.
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, IdTokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if seconds <= LAST_DATE => Ok(Some(seconds)),
            Some(_) | None => Err(IdTokenError::Claim(name)),
        },
    }
}

/// When it was issued, and the second from which it is refused.
fn check_times(
    claims: &Map<String, Value>,
    now: UnixTime,
) -> Result<(UnixTime, UnixTime), IdTokenError> {
    let expires = date(claims, "exp")?.ok_or(IdTokenError::Claim("exp"))?;
    let issued = date(claims, "iat")?.ok_or(IdTokenError::Claim("iat"))?;
    let not_before = date(claims, "nbf")?;
    if now.0 >= expires {
        return Err(IdTokenError::Expired);
    }
    let latest = now.0.saturating_add(CLOCK_DIFFERENCE);
    if issued > latest || not_before.is_some_and(|from| from > latest) {
        return Err(IdTokenError::NotYetValid);
    }
    if now.0 - issued.min(now.0) > MAX_AGE {
        return Err(IdTokenError::TooOld);
    }
    // Whatever `exp` says, a token that is too old is refused.
    let too_old = issued.saturating_add(MAX_AGE + 1);
    Ok((UnixTime(issued), UnixTime(expires.min(too_old))))
}

/// Of an ES256 signature only the first half counts: whoever has `(r, s)` can also write `(r, -s)`,
/// which verifies as well, but only the signer can make another `r`. RS256 has one spelling.
fn digest(algorithm: Algorithm, signed: &str, signature: &[u8]) -> [u8; 32] {
    let fixed = match algorithm {
        Algorithm::Es256 => signature.get(..32).unwrap_or(signature),
        Algorithm::Rs256 => signature,
    };
    sha256(&[signed.as_bytes(), b".", fixed].concat())
}

fn read_groups(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, IdTokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(Vec::new());
    };
    let list = value.as_array().ok_or(IdTokenError::Claim("groups"))?;
    if list.len() > MAX_GROUPS {
        return Err(IdTokenError::Claim("groups"));
    }
    let readable = |group: &Value| {
        let text = group.as_str()?;
        let fits = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    };
    list.iter()
        .map(readable)
        .collect::<Option<_>>()
        .ok_or(IdTokenError::Claim("groups"))
}

/// The longest ID token that is looked at; those with many groups are long.
pub const MAX_ID_TOKEN_BYTES: usize = 16 * 1024;
/// Header members that ask for processing we do not do, or bring a key along.
const REFUSED_MEMBERS: &[&str] = &["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"];
/// How far a provider's clock may be ahead of ours; `exp` gets no such grace.
const CLOCK_DIFFERENCE: u64 = 60;
const MAX_AGE: u64 = 24 * 60 * 60;
const MAX_GROUPS: usize = 256;
/// 9999-12-31: beyond it a date is a mistake.
const LAST_DATE: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
