//! Corporate logins (OpenID Connect), without any input or output of its own.
//!
//! A program asks [`KeyStore::lookup`] for the key of a token; when the answer is a permit to fetch,
//! it fetches two documents, reads them with [`Discovery::read`] and [`crate::jwks::JwkSet::parse`],
//! and reports back. [`id_token::verify`] then judges the token. Nothing in a token chooses where we
//! connect to: only a configured issuer does.

mod discovery;
pub mod id_token;
mod keys;

use std::time::Duration;

use casemate_core::spiffe::{ParseSpiffeError, SpiffeId, TrustDomain};
use url::{Host, Url};

pub use discovery::{Discovery, ReadDiscoveryError};
pub use keys::{
    ABSENT_FOR, ATTEMPT_LIMIT, COOLDOWN, FetchPermit, KeyStore, Lookup, MAX_ABSENT, NoKey,
    REFRESH_AFTER, STALE_LIMIT,
};

use crate::encoding::{sha256, to_base64url};

/// A point on a clock that only goes forward, such as the time since the program started.
///
/// How often we fetch must not depend on the wall clock: jumping, it would lock out or flood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub Duration);

impl Tick {
    const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Why an issuer URL is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerUrlError {
    /// Not a URL, or longer than 512 bytes.
    #[error("the issuer is not a URL")]
    Form,
    /// Neither `https`, nor `http` to a loopback address.
    #[error("the issuer must use https; http is for loopback addresses only")]
    Scheme,
    /// It carries a user, a query or a fragment.
    #[error("the issuer must have no user, query or fragment")]
    Parts,
}

/// The issuer of a corporate login: compared byte for byte with `iss`, and the only place from where
/// its keys may come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerUrl {
    text: String,
    host: String,
}

impl IssuerUrl {
    /// Reads a configured issuer.
    ///
    /// # Errors
    /// When keys could not be fetched from it safely.
    pub fn parse(text: &str) -> Result<Self, IssuerUrlError> {
        if text.len() > 512 {
            return Err(IssuerUrlError::Form);
        }
        let url = Url::parse(text).map_err(|_| IssuerUrlError::Form)?;
        check_location(&url)?;
        let host = url.host_str().ok_or(IssuerUrlError::Form)?.to_owned();
        Ok(Self {
            text: text.to_owned(),
            host,
        })
    }

    /// The issuer as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the discovery document is (OpenID Connect Discovery section 4).
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!(
            "{}/.well-known/openid-configuration",
            self.text.trim_end_matches('/')
        )
    }

    /// Whether the issuer is on this host, where `http` is no risk.
    fn is_plain(&self) -> bool {
        self.text.starts_with("http:")
    }

    /// The identity of this issuer's subject `subject` in `trust_domain`.
    ///
    /// Two subjects never share one: the issuer's hash is part of it, and a subject that does not
    /// fit a path segment, or could be taken for a hash, becomes its hash.
    ///
    /// # Errors
    /// When the host's name does not fit a path segment even so.
    pub fn user(
        &self,
        trust_domain: &TrustDomain,
        subject: &str,
    ) -> Result<SpiffeId, ParseSpiffeError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let host: String = self
            .host
            .chars()
            .map(|character| {
                if u8::try_from(character).is_ok_and(legal) {
                    character
                } else {
                    '_'
                }
            })
            .take(100)
            .collect();
        let digest = sha256(self.text.as_bytes());
        let short: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let fits = (1..=64).contains(&subject.len())
            && subject.bytes().all(legal)
            && !matches!(subject, "." | "..")
            && !subject.starts_with(HASHED_SUBJECT);
        let segment = if fits {
            subject.to_owned()
        } else {
            format!(
                "{HASHED_SUBJECT}{}",
                to_base64url(&sha256(subject.as_bytes()))
            )
        };
        trust_domain.user(&format!("{host}-{short}"), &segment)
    }
}

/// Marks a subject that stands as its hash.
const HASHED_SUBJECT: &str = "x-";

/// `https`, or `http` to this very host; nothing that hides a second meaning in the URL.
fn check_location(url: &Url) -> Result<(), IssuerUrlError> {
    let plain_allowed = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(IssuerUrlError::Form),
    };
    match url.scheme() {
        "https" => {}
        "http" if plain_allowed => {}
        _ => return Err(IssuerUrlError::Scheme),
    }
    let bare = url.username().is_empty() && url.password().is_none();
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return Err(IssuerUrlError::Parts);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
