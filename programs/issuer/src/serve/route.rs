//! Four paths, compared byte for byte, and nothing behind any other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_api::issuer::{BUNDLE_PATH, JWKS_PATH, LOGIN_PATH, LoginRequest, TOKEN_PATH};
use casemate_identity::strict_json;
use casemate_identity::svid::VerifiedPeer;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::answer::{Answer, Refusal, bare, json, public};
use crate::exchange::{Door, exchange};
use crate::issuer::Issuer;
use crate::login::login;
use crate::rate::Peer;

/// Who is at the other end of a connection.
pub(super) struct Asker {
    pub(super) door: Door,
    pub(super) peer: Option<VerifiedPeer>,
    pub(super) counted: Peer,
}

/// Answers one request.
pub(super) async fn answer(
    issuer: &Arc<Issuer>,
    asker: &Asker,
    request: Request<Incoming>,
) -> Answer {
    if !issuer.may_ask(&asker.counted) {
        return Refusal::rate().answer();
    }
    if request.uri().query().is_some() {
        return bare(StatusCode::BAD_REQUEST);
    }
    let known = [LOGIN_PATH, TOKEN_PATH, JWKS_PATH, BUNDLE_PATH];
    let path = request.uri().path();
    let Some(path) = known.into_iter().find(|known| *known == path) else {
        return bare(StatusCode::NOT_FOUND);
    };
    let wanted = if path == LOGIN_PATH || path == TOKEN_PATH {
        Method::POST
    } else {
        Method::GET
    };
    if request.method() != wanted {
        let mut answer = bare(StatusCode::METHOD_NOT_ALLOWED);
        let allow = if wanted == Method::POST {
            "POST"
        } else {
            "GET"
        };
        answer
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(allow));
        return answer;
    }
    match path {
        JWKS_PATH => public("application/jwk-set+json", issuer.jwks.clone()),
        BUNDLE_PATH => public(
            "application/pem-certificate-chain",
            issuer.bundle_pem.clone(),
        ),
        LOGIN_PATH => {
            if asker.door != Door::Public {
                return bare(StatusCode::NOT_FOUND);
            }
            match log_in(issuer, asker, request).await {
                Ok(answer) => answer,
                Err(refusal) => refusal.answer(),
            }
        }
        _ => match trade(issuer, asker, request).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.answer(),
        },
    }
}

async fn log_in(
    issuer: &Arc<Issuer>,
    asker: &Asker,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let body = read(issuer, request, "application/json").await?;
    let request: LoginRequest =
        strict_json::parse_as(&body).map_err(|_| Refusal::request("body"))?;
    let response = login(issuer, &asker.counted, &request).await?;
    Ok(json(StatusCode::OK, &response))
}

async fn trade(
    issuer: &Arc<Issuer>,
    asker: &Asker,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let body = read(issuer, request, "application/x-www-form-urlencoded").await?;
    let response = exchange(issuer, asker.door, asker.peer.as_ref(), &body).await?;
    Ok(json(StatusCode::OK, &response))
}

/// The whole body, when it is of the right type, short enough, and comes soon enough.
async fn read(
    issuer: &Issuer,
    request: Request<Incoming>,
    kind: &'static str,
) -> Result<Bytes, Refusal> {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).iter();
    let (Some(found), None) = (types.next(), types.next()) else {
        return Err(Refusal::request("content_type"));
    };
    let essence = found
        .to_str()
        .ok()
        .and_then(|text| text.split(';').next())
        .map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(kind)) {
        return Err(Refusal::request("content_type"));
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::request("content_encoding"));
    }
    let limit = Duration::from_millis(issuer.bounds.body_ms);
    let body = Limited::new(request.into_body(), issuer.bounds.body_bytes).collect();
    match tokio::time::timeout(limit, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Refusal::request("body")),
        Err(_) => Err(Refusal::request("body_too_slow")),
    }
}
