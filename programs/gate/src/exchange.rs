//! Gets the Transaction Token for the next stage from the issuer (RFC 8693), once per request and stage.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_api::issuer::{TOKEN_PATH, TokenRefusal, TokenResponse, names};
use casemate_core::admission::Refusal;
use casemate_core::ticket::MAX_TOKEN_BYTES;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;

use crate::flight::{Flight, Onward, Shown};
use crate::gate::{Gate, lock};
use crate::outbound::Neighbour;
use crate::pool::Pool;

/// The token under which `flight` may speak at `next`.
///
/// # Errors
/// [`Refusal::NoFlow`] or [`Refusal::NoTransaction`] when the issuer gives none.
pub async fn token(gate: &Gate, flight: &Flight, next: &Neighbour) -> Result<Arc<str>, Refusal> {
    let now = gate.now();
    let held = lock(&flight.onward).get(&next.stage).cloned();
    if let Some(held) = held.filter(|held| now < held.expires) {
        return Ok(held.token);
    }
    let (Some(issuer), Some(shown)) = (&gate.issuer, &flight.shown) else {
        return Err(Refusal::NoTransaction);
    };
    let form = form(gate, shown, next);
    let answer = timeout(LONGEST, ask(issuer, form))
        .await
        .unwrap_or(Err(Refusal::UpstreamTimeout))?;
    let token: Arc<str> = Arc::from(answer.access_token);
    let usable = Duration::from_secs(answer.expires_in.saturating_sub(MARGIN_SECONDS));
    let held = Onward {
        token: Arc::clone(&token),
        expires: now.plus(usable),
    };
    lock(&flight.onward).insert(next.stage.clone(), held);
    Ok(token)
}

fn form(gate: &Gate, shown: &Shown, next: &Neighbour) -> String {
    let details = serde_json::json!({ "stage": next.stage }).to_string();
    let members = [
        ("grant_type", names::GRANT_TYPE),
        ("requested_token_type", names::TRANSACTION_TOKEN),
        ("subject_token_type", shown.kind),
        ("subject_token", &shown.token),
        ("audience", gate.stage.id.trust_domain().as_str()),
        ("request_details", &details),
    ];
    let mut form = String::with_capacity(512 + shown.token.len());
    for (name, value) in members {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        encode(value, &mut form);
    }
    form
}

/// Writes `text` as `application/x-www-form-urlencoded` asks for it.
fn encode(text: &str, form: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            form.push(char::from(byte));
        } else {
            let hex = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
            form.extend(['%', hex(byte >> 4), hex(byte & 0x0f)]);
        }
    }
}

async fn ask(issuer: &Pool, form: String) -> Result<TokenResponse, Refusal> {
    let mut request = Request::new(Full::new(Bytes::from(form)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(TOKEN_PATH);
    let fields = request.headers_mut();
    fields.insert(HOST, HeaderValue::from_static("issuer"));
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    loop {
        let mut lease = match issuer.reuse().await {
            Some(lease) => lease,
            None => issuer.connect().await.map_err(|error| {
                tracing::error!(%error, "cannot reach the issuer");
                Refusal::UpstreamUnavailable
            })?,
        };
        match lease.sender.try_send_request(request).await {
            Ok(response) => {
                let status = response.status();
                let body = Limited::new(response.into_body(), 2 * MAX_TOKEN_BYTES)
                    .collect()
                    .await;
                let body = body.map_err(|_| Refusal::UpstreamError)?.to_bytes();
                lease.give_back();
                return read(status, &body);
            }
            Err(mut failure) => match failure.take_message() {
                Some(unsent) if lease.reused => request = unsent,
                Some(_) | None => return Err(Refusal::UpstreamUnavailable),
            },
        }
    }
}

fn read(status: StatusCode, body: &[u8]) -> Result<TokenResponse, Refusal> {
    if status == StatusCode::OK {
        let answer: TokenResponse =
            serde_json::from_slice(body).map_err(|_| Refusal::UpstreamError)?;
        return if answer.issued_token_type == names::TRANSACTION_TOKEN {
            Ok(answer)
        } else {
            Err(Refusal::UpstreamError)
        };
    }
    // The issuer is asked too often, or is about to answer again: not the caller's fault, and worth a retry.
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return Err(Refusal::Busy);
    }
    if status.is_server_error() {
        return Err(Refusal::UpstreamError);
    }
    let refusal: Option<TokenRefusal> = serde_json::from_slice(body).ok();
    let error = refusal.map(|refusal| refusal.error).unwrap_or_default();
    tracing::warn!(
        status = status.as_u16(),
        error,
        "the issuer refuses a transaction token"
    );
    Err(if error == "invalid_target" {
        Refusal::NoFlow
    } else {
        Refusal::NoTransaction
    })
}

const LONGEST: Duration = Duration::from_secs(5);
/// A token that is about to expire is not shown any more.
const MARGIN_SECONDS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_that_is_asked_too_often_is_busy_and_refuses_nobody() {
        for status in [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            assert_eq!(read(status, b"{}").err(), Some(Refusal::Busy));
        }
        assert_eq!(
            read(StatusCode::BAD_REQUEST, b"{}").err(),
            Some(Refusal::NoTransaction)
        );
    }
}
