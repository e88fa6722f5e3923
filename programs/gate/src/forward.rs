//! From permit to answer: the only place from which something reaches the stage's server.
//!
//! The request that is sent is our own. Of the caller's it has the method and the path that were decided
//! on, the body that was decided on, and one of three values of `accept`; nothing else. What comes back
//! is passed on without the server's header fields, but for the few that the client needs, and without
//! its words when it failed.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use casemate_api::gate::{REFUSAL_FIELD, TRANSACTION_FIELD};
use casemate_core::admission::{Permit, Refusal};
use casemate_core::ticket::TRANSACTION_HEADER;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::answer::{Answer, Passing};
use crate::flight::{FlightGuard, Hold, Shown};
use crate::gate::{Connection, Gate};
use crate::place::Place;
use crate::pool::{Lease, Pool};
use crate::problem;

/// What is forwarded: decided on, and in our own words.
#[derive(Debug)]
pub struct Passage {
    /// The method.
    pub method: Method,
    /// The path, canonical.
    pub path: Uri,
    /// The body, with the bounds that were missing.
    pub body: Bytes,
    /// What the caller takes.
    pub accept: HeaderValue,
    /// The connection it came over.
    pub connection: Arc<Connection>,
    /// The token that it came with.
    pub shown: Option<Shown>,
}

/// Forwards an admitted request to the stage's server, in the place it has. The permit is used up.
///
/// # Errors
/// What to answer when there is no answer.
pub async fn forward(
    gate: Arc<Gate>,
    permit: Permit,
    place: Place,
    passage: Passage,
) -> Result<Response<Answer>, Refusal> {
    let Passage {
        method,
        path,
        body,
        accept,
        connection,
        shown,
    } = passage;
    // Only a stage that may call others gets a handle to show for it.
    let (handle, shown) = if gate.neighbours.is_empty() {
        (None, None)
    } else {
        let handle = casemate_identity::ticket::fresh_id().map_err(|_| Refusal::Busy)?;
        (Some(handle), shown)
    };
    let hold = Hold::Permit(Box::new(permit));
    let guard = FlightGuard::start(&gate, hold, place, Arc::clone(&connection), shown, handle);
    let mut request = request(method, path, body, accept);
    if let Some(handle) = &guard.handle {
        let handle = HeaderValue::from_str(handle).map_err(|_| Refusal::Busy)?;
        request
            .headers_mut()
            .insert(HeaderName::from_static(TRANSACTION_FIELD), handle);
    }
    carry(
        Arc::clone(&gate),
        &gate.upstream,
        guard,
        connection,
        request,
        Trust::Server,
    )
    .await
}

/// Forwards a call of the stage to the gate of another one, under the Transaction Token `token`. It runs
/// no longer than the admitted request that `guard` branches from.
///
/// # Errors
/// What to answer when there is no answer.
pub async fn onward(
    gate: Arc<Gate>,
    pool: &Pool,
    guard: FlightGuard,
    passage: Passage,
    token: &str,
) -> Result<Response<Answer>, Refusal> {
    let Passage {
        method,
        path,
        body,
        accept,
        connection,
        ..
    } = passage;
    let mut request = request(method, path, body, accept);
    let token = HeaderValue::from_str(token).map_err(|_| Refusal::UpstreamError)?;
    request
        .headers_mut()
        .insert(HeaderName::from_static(TRANSACTION_HEADER), token);
    carry(gate, pool, guard, connection, request, Trust::Gate).await
}

/// How far the other side's words are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// A server, which may say anything.
    Server,
    /// Another gate, whose refusals are ours.
    Gate,
}

fn request(method: Method, path: Uri, body: Bytes, accept: HeaderValue) -> Request<Full<Bytes>> {
    let has_body = !body.is_empty();
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path;
    let fields = request.headers_mut();
    // One constant: which host was asked for decides nothing, and must not be the client's choice.
    fields.insert(HOST, HeaderValue::from_static("127.0.0.1"));
    fields.insert(ACCEPT, accept);
    if has_body {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
}

async fn carry(
    gate: Arc<Gate>,
    pool: &Pool,
    guard: FlightGuard,
    connection: Arc<Connection>,
    request: Request<Full<Bytes>>,
    trust: Trust,
) -> Result<Response<Answer>, Refusal> {
    let running = connection.begin();
    let (response, lease) = {
        let mut exchange = pin!(exchange(pool, request));
        poll_fn(|context| {
            if let Some(refusal) = guard.flight.cut(context) {
                return Poll::Ready(Err(refusal));
            }
            exchange.as_mut().poll(context)
        })
        .await?
    };
    guard.flight.answering(gate.ticks());
    let (mut head, body) = response.into_parts();
    let status = head.status;
    let refused = head
        .headers
        .remove(REFUSAL_FIELD)
        .filter(|_| trust == Trust::Gate);
    if withheld(status, &head.headers) && refused.is_none() {
        // The connection is dropped with the answer: its words are not even read.
        let status = if status.is_server_error() {
            status.as_u16()
        } else {
            502
        };
        return Ok(problem::answer_with_status(
            Refusal::UpstreamError,
            status,
            &gate.by,
        ));
    }
    let media = media_type(&head.headers);
    let event_stream = media == "text/event-stream";
    let passing = Passing::new(
        gate,
        guard,
        running,
        lease,
        body,
        status.as_u16(),
        event_stream,
    );
    let mut answer = Response::new(Answer::Passing(passing));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if let Some(seconds) = head.headers.remove(RETRY_AFTER)
        && seconds.as_bytes().iter().all(u8::is_ascii_digit)
    {
        fields.insert(RETRY_AFTER, seconds);
    }
    if let Some(code) = refused {
        fields.insert(HeaderName::from_static(REFUSAL_FIELD), code);
    }
    Ok(answer)
}

/// Sends the request over a connection of `pool`. One that the server had closed meanwhile, and that
/// took no byte, is replaced by a new one.
async fn exchange(
    pool: &Pool,
    mut request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Lease), Refusal> {
    loop {
        let mut lease = match pool.reuse().await {
            Some(lease) => lease,
            None => pool.connect().await.map_err(|error| {
                tracing::debug!(%error, "cannot connect");
                Refusal::UpstreamUnavailable
            })?,
        };
        match lease.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, lease)),
            Err(mut failure) => match failure.take_message() {
                Some(unsent) if lease.reused => request = unsent,
                Some(_) | None => {
                    tracing::debug!(error = %failure.error(), "no answer");
                    return Err(Refusal::UpstreamUnavailable);
                }
            },
        }
    }
}

/// Whether the server's words stay here: it failed, or answers with something no client asked for. A
/// refusal of the request (4xx) is passed on when it is JSON, because the caller must learn what was
/// wrong with it.
fn withheld(status: StatusCode, fields: &HeaderMap) -> bool {
    if status.is_success() {
        return false;
    }
    !(status.is_client_error() && media_type(fields).ends_with("json"))
}

/// The media type, when it is one of those that are passed on.
fn media_type(fields: &HeaderMap) -> &'static str {
    let sent = fields
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let sent = sent
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    MEDIA_TYPES
        .into_iter()
        .find(|known| sent.eq_ignore_ascii_case(known.as_bytes()))
        .unwrap_or("application/octet-stream")
}

const MEDIA_TYPES: [&str; 5] = [
    "application/json",
    "text/event-stream",
    "application/problem+json",
    "application/x-ndjson",
    "text/plain",
];
