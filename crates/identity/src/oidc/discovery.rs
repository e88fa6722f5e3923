//! The discovery document of an OpenID provider: of all it says, where the keys are.

use serde_json::Value;
use url::Url;

use super::{IssuerUrl, IssuerUrlError, check_location};
use crate::strict_json::{self, StrictJsonError};

/// Why a discovery document was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadDiscoveryError {
    /// Longer than [`Discovery::MAX_BYTES`].
    #[error("the discovery document has {0} bytes")]
    TooLong(usize),
    /// Not one strict JSON object.
    #[error("the discovery document is not strict JSON")]
    Json(#[from] StrictJsonError),
    /// `issuer` is not the configured one.
    #[error("the discovery document is of another issuer")]
    OtherIssuer,
    /// `jwks_uri` is missing or not a text.
    #[error("the discovery document names no keys")]
    NoKeys,
    /// `jwks_uri` is not a place that we would connect to.
    #[error("the discovery document's keys are at a place that is not allowed")]
    KeysPlace(#[source] IssuerUrlError),
    /// It signs with nothing that we verify.
    #[error("the provider signs neither with RS256 nor with ES256")]
    Algorithms,
}

/// What we take from a discovery document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where the key set is.
    pub jwks_uri: Url,
}

impl Discovery {
    /// The most bytes that are read.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Reads the document that was fetched for `issuer`.
    ///
    /// # Errors
    /// When it is of another issuer, or its keys are at a place that we do not connect to.
    pub fn read(issuer: &IssuerUrl, bytes: &[u8]) -> Result<Self, ReadDiscoveryError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(ReadDiscoveryError::TooLong(bytes.len()));
        }
        let document = strict_json::parse(bytes)?;
        // Byte for byte, as section 4.3 wants it: a provider that vouches for another one's name
        // would otherwise lend it its keys.
        if document.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
            return Err(ReadDiscoveryError::OtherIssuer);
        }
        let text = document
            .get("jwks_uri")
            .and_then(Value::as_str)
            .ok_or(ReadDiscoveryError::NoKeys)?;
        let place = |error| ReadDiscoveryError::KeysPlace(error);
        if text.len() > 2048 {
            return Err(place(IssuerUrlError::Form));
        }
        let mut jwks_uri = Url::parse(text).map_err(|_| place(IssuerUrlError::Form))?;
        // Some providers put a version into the query; everything else is as for the issuer.
        let query = jwks_uri.query().map(str::to_owned);
        jwks_uri.set_query(None);
        check_location(&jwks_uri).map_err(place)?;
        jwks_uri.set_query(query.as_deref());
        // A public provider must not send us to services of this host, nor down to http.
        if jwks_uri.scheme() == "http" && !issuer.is_plain() {
            return Err(place(IssuerUrlError::Scheme));
        }
        if let Some(list) = document.get("id_token_signing_alg_values_supported") {
            let known = |name: &Value| name == "RS256" || name == "ES256";
            if !list.as_array().is_some_and(|names| names.iter().any(known)) {
                return Err(ReadDiscoveryError::Algorithms);
            }
        }
        Ok(Self { jwks_uri })
    }
}
