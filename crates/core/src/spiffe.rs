//! SPIFFE identities, exactly as the SPIFFE-ID specification writes them (sections 2.1 to 2.4).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Why a text is not a SPIFFE ID or a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpiffeError {
    /// Longer than 2048 bytes, or the trust domain longer than 255.
    #[error("SPIFFE ID is too long: {0} bytes")]
    TooLong(usize),
    /// Does not start with `spiffe://`.
    #[error("SPIFFE ID must start with `spiffe://`")]
    Scheme,
    /// The trust domain is empty or has a character outside `a-z 0-9 . - _`.
    #[error("trust domain `{0}` must be 1 to 255 of a-z, 0-9, `.`, `-`, `_`")]
    TrustDomain(String),
    /// A path segment is empty, `.`, `..`, or has a character outside `[A-Za-z0-9._-]`.
    #[error("SPIFFE ID has a bad path segment `{0}`")]
    Segment(String),
}

/// The trust domain part: the name of one certificate authority's realm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The trust domain's name, without a scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity of the whole trust domain: no path. Only signing certificates carry it.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        SpiffeId {
            trust_domain: self.clone(),
            path: String::new(),
        }
    }

    /// The identity of one stage of one enclosure.
    #[must_use]
    pub fn stage(&self, enclosure: &Name, stage: &Name) -> SpiffeId {
        SpiffeId {
            trust_domain: self.clone(),
            path: format!("/enclosure/{enclosure}/stage/{stage}"),
        }
    }

    /// The identity of this node's issuer.
    #[must_use]
    pub fn issuer(&self) -> SpiffeId {
        SpiffeId {
            trust_domain: self.clone(),
            path: "/issuer".to_owned(),
        }
    }

    /// The identity of a person: `/user/<provider>/<subject>`, both already reduced to legal segments.
    ///
    /// # Errors
    /// When either part is not a legal path segment.
    pub fn user(&self, provider: &str, subject: &str) -> Result<SpiffeId, ParseSpiffeError> {
        format!("spiffe://{}/user/{provider}/{subject}", self.0).parse()
    }
}

impl FromStr for TrustDomain {
    type Err = ParseSpiffeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if (1..=255).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseSpiffeError::TrustDomain(
                text.chars().take(255).collect(),
            ))
        }
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = ParseSpiffeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A SPIFFE ID: `spiffe://trust-domain/path`. Equal ids are equal byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    path: String,
}

impl SpiffeId {
    /// The trust domain this identity belongs to.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path: empty, or `/segment/...`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Enclosure and stage, when this is the identity of a stage.
    #[must_use]
    pub fn as_stage(&self) -> Option<(Name, Name)> {
        let rest = self.path.strip_prefix("/enclosure/")?;
        let (enclosure, stage) = rest.split_once("/stage/")?;
        Some((enclosure.parse().ok()?, stage.parse().ok()?))
    }
}

impl FromStr for SpiffeId {
    type Err = ParseSpiffeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 2048 {
            return Err(ParseSpiffeError::TooLong(text.len()));
        }
        // Scheme and trust domain compare without case in the specification; we issue and accept
        // the lower-case form only, so that equality is equality of bytes.
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(ParseSpiffeError::Scheme)?;
        let (domain, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let trust_domain = domain.parse()?;
        for segment in path.split('/').skip(1) {
            let legal =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if segment.is_empty()
                || segment == "."
                || segment == ".."
                || !segment.bytes().all(legal)
            {
                return Err(ParseSpiffeError::Segment(
                    segment.chars().take(64).collect(),
                ));
            }
        }
        Ok(Self {
            trust_domain,
            path: path.to_owned(),
        })
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = ParseSpiffeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "spiffe://{}{}", self.trust_domain, self.path)
    }
}
