//! What the issuer answers: tokens, documents, and refusals as OAuth spells them.

use bytes::Bytes;
use casemate_api::issuer::TokenRefusal;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a request was refused. Every text is ours: nothing that a peer sent comes back, and no
/// reason says more about a token than its holder may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// The code of RFC 6749 section 5.2 or RFC 8693 section 2.2.2.
    error: &'static str,
    /// Ours, stable, for events and for people.
    pub(crate) code: &'static str,
}

impl Refusal {
    const fn new(status: StatusCode, error: &'static str, code: &'static str) -> Self {
        Self {
            status,
            error,
            code,
        }
    }

    /// The request is malformed, or a token in it is invalid or not acceptable.
    pub(crate) const fn request(code: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", code)
    }

    /// Nobody may have this audience or resource from here.
    pub(crate) const fn target(code: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_target", code)
    }

    /// More was asked for than may be granted.
    pub(crate) const fn scope(code: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", code)
    }

    /// The connection proves no identity that counts.
    pub(crate) const fn client(code: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code)
    }

    /// This client may not ask for this kind of token here.
    pub(crate) const fn unauthorized(code: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", code)
    }

    /// Another grant than token exchange.
    pub(crate) const fn grant_type() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            "grant_type",
        )
    }

    /// It cannot be decided now.
    pub(crate) const fn unavailable(code: &'static str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            code,
        )
    }

    /// Too often.
    pub(crate) const fn rate() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "rate_limited",
        )
    }

    pub(crate) fn answer(self) -> Answer {
        let body = TokenRefusal {
            error: self.error.to_owned(),
            error_description: Some(self.code.to_owned()),
        };
        let mut answer = json(self.status, &body);
        if self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::SERVICE_UNAVAILABLE
        {
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }
}

/// A JSON answer that nobody may store.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // These are plain structures; should one ever fail to serialize, the answer is a refusal.
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut answer = document(status, "application/json", bytes);
            let headers = answer.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            answer
        }
        Err(_) => bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A public document.
pub(crate) fn public(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = document(StatusCode::OK, kind, body);
    answer.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    answer
}

/// A status without a body.
pub(crate) fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn document(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}
