//! A refusal as an answer: RFC 9457 problem details, and the code in a header field.

use bytes::Bytes;
use casemate_api::gate::REFUSAL_FIELD;
use casemate_core::admission::Refusal;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::answer::Answer;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    code: &'a str,
    by: &'a str,
}

/// The answer that says `refusal`, decided by `by`.
#[must_use]
pub fn answer(refusal: Refusal, by: &str) -> Response<Answer> {
    answer_with_status(refusal, refusal.status(), by)
}

/// As [`answer`], with another status: that of a server whose words are withheld.
#[must_use]
pub fn answer_with_status(refusal: Refusal, status: u16, by: &str) -> Response<Answer> {
    let detail = refusal.detail();
    let kind = format!("urn:casemate:refusal:{}", refusal.code());
    let problem = Problem {
        r#type: &kind,
        title: refusal.title(),
        status,
        detail: detail.as_deref(),
        code: refusal.code(),
        by,
    };
    // Five short texts always serialise.
    let text = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = Response::new(Answer::whole(Bytes::from(text)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let fields = answer.headers_mut();
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        HeaderName::from_static(REFUSAL_FIELD),
        HeaderValue::from_static(refusal.code()),
    );
    match status {
        401 => {
            fields.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer error=\"invalid_token\""),
            );
        }
        429 => {
            fields.insert(RETRY_AFTER, HeaderValue::from_static("60"));
        }
        _ => {}
    }
    if ends_connection(refusal) {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Whether what comes next on the connection cannot be trusted or is not wanted.
const fn ends_connection(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::RequestMalformed(_)
            | Refusal::RequestTimeout
            | Refusal::HeadersTooLarge
            | Refusal::BodyTooLarge
            | Refusal::Draining
    )
}
