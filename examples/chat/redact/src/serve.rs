//! Takes a chat request, masks it, passes it on, and passes the answer back as it comes.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{mask, tell};

/// The field that belongs to the gate: it says on whose behalf this stage calls the next one.
const TRANSACTION: HeaderName = HeaderName::from_static("casemate-transaction");
/// The field by which a gate says why it refused.
const REFUSAL: HeaderName = HeaderName::from_static("casemate-refusal");
const CHAT: &str = "/v1/chat/completions";
const MAX_BODY: usize = 1024 * 1024;

type Body = BoxBody<Bytes, hyper::Error>;

/// Where the next stage is reached.
#[derive(Debug)]
pub(crate) struct Next {
    authority: String,
}

impl Next {
    /// Reads `http://host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let uri: Uri = text.parse()?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let authority = authority.ok_or("the next stage's address is not http://host:port")?;
        Ok(Self {
            authority: authority.to_string(),
        })
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

pub(crate) async fn serve(
    next: Arc<Next>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let answer = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => Ok(answer(StatusCode::OK, &json!({"status": "ok"}))),
        (&Method::POST, CHAT) => chat(&next, request).await,
        _ => Err((StatusCode::NOT_FOUND, "there is nothing here".to_owned())),
    };
    Ok(answer.unwrap_or_else(|(status, message)| {
        tell(&format!("{status}: {message}"));
        answer_error(status, &message)
    }))
}

type Fault = (StatusCode, String);

async fn chat(next: &Next, request: Request<Incoming>) -> Result<Response<Body>, Fault> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?
        .to_bytes();
    let mut body: Value = serde_json::from_slice(&body)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let masked = mask::request(&mut body);
    if masked > 0 {
        tell(&format!("masked {masked} in a request"));
    }
    let mut onward = Request::new(Full::new(Bytes::from(body.to_string())));
    *onward.method_mut() = Method::POST;
    *onward.uri_mut() = Uri::from_static(CHAT);
    let fields = onward.headers_mut();
    let host = HeaderValue::from_str(&next.authority);
    fields.insert(
        HOST,
        host.unwrap_or_else(|_| HeaderValue::from_static("next")),
    );
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for name in [ACCEPT, TRANSACTION] {
        if let Some(value) = parts.headers.get(&name) {
            fields.insert(name, value.clone());
        }
    }
    let response = send(next, onward)
        .await
        .map_err(|error| (StatusCode::BAD_GATEWAY, error))?;
    let (head, body) = response.into_parts();
    // The body is passed on piece by piece; when the caller goes, dropping it closes the way onward.
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = head.status;
    for name in [CONTENT_TYPE, REFUSAL] {
        if let Some(value) = head.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    Ok(answer)
}

async fn send(next: &Next, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
    let told = |error: &dyn std::fmt::Display| format!("the next stage cannot be reached: {error}");
    let stream = TcpStream::connect(&next.authority)
        .await
        .map_err(|error| told(&error))?;
    stream.set_nodelay(true).map_err(|error| told(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| told(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tell(&format!("the way to the next stage ended: {error}"));
        }
    });
    sender
        .send_request(request)
        .await
        .map_err(|error| told(&error))
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn answer_error(status: StatusCode, message: &str) -> Response<Body> {
    answer(
        status,
        &json!({"error": {"message": message, "code": status.as_u16()}}),
    )
}
