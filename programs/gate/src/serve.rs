//! From request to decision: gathers the facts, asks [`casemate_core::admission`], does what it says.

use std::sync::Arc;

use bytes::Bytes;
use casemate_api::gate::ListenerKind;
use casemate_core::admission::{self, Admitted, BodyFault, Call, Credential, Peer, Refusal};
use casemate_core::event::{Outcome, Severity, kind};
use casemate_core::ticket::{TRANSACTION_HEADER, TicketClaims, TransactionClaims};
use casemate_identity::ticket::{TicketError, VerifiedTicket, VerifiedTransaction};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::flight::Shown;
use crate::forward::{self, Passage};
use crate::gate::{Caller, Connection, Gate, count};
use crate::{body, head, problem};

/// Answers one request.
pub async fn serve(
    gate: Arc<Gate>,
    connection: Arc<Connection>,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let _running = connection.begin();
    let (parts, body) = request.into_parts();
    if let Some(refusal) = connection.verdict().filter(|_| is_stand_in(&parts)) {
        gate.refused(refusal, Some(&caller), None);
        return problem::answer(refusal, &gate.by);
    }
    match decide(&gate, &connection, &caller, &parts, body).await {
        Ok(answer) => answer,
        Err(refusal) => {
            gate.refused(refusal, Some(&caller), Some(&parts));
            problem::answer(refusal, &gate.by)
        }
    }
}

/// Whether this is the request that [`crate::strict`] puts in the place of one it refused.
fn is_stand_in(parts: &http::request::Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.uri.path() == "/"
        && parts
            .headers
            .get(HOST)
            .is_some_and(|host| host == "refused")
}

async fn decide(
    gate: &Arc<Gate>,
    connection: &Arc<Connection>,
    caller: &Caller,
    parts: &http::request::Parts,
    body: Incoming,
) -> Result<Response<Answer>, Refusal> {
    check_fields(gate, parts)?;
    let now = gate.now();
    let standing = gate.standing();
    let held = held(gate, caller.kind, &parts.headers)?;
    let peer = Peer {
        id: &caller.peer.id,
        thumbprint: &caller.peer.thumbprint,
        expires: caller.peer.not_after,
    };
    let call = Call {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
    };
    let entitled = admission::entitle(
        &gate.stage,
        &standing,
        &mut gate.rates(),
        peer,
        held.credential(),
        call,
        now,
    )?;
    if entitled.takes_body() {
        check_media_type(&parts.headers)?;
    }
    // What is read is held in memory, so it counts from here on.
    let place = gate.places.take(&connection.places)?;
    let bytes = body::read(body, &gate.bounds).await?;
    let Admitted { permit, body } = entitled.admit(&bytes, gate.bounds.body_bytes)?;
    let body = match body {
        std::borrow::Cow::Borrowed(_) => Bytes::clone(&bytes),
        std::borrow::Cow::Owned(changed) => Bytes::from(changed),
    };
    // Reading the body may have taken a while.
    permit.still_valid(&gate.standing(), gate.now())?;
    let mut event = gate
        .event(kind::REQUEST_ADMITTED, Severity::Info)
        .about(permit.subject().to_string())
        .decided(Outcome::Allowed, "admitted", &gate.by)
        .fact("token", permit.token_id())
        .fact("route", format!("{} {}", call.method, call.path))
        .fact("class", permit.class().as_str());
    if let Some(model) = permit.model() {
        event = event.fact("model", model.to_string());
    }
    gate.audit.record(event).map_err(|_| Refusal::AuditFull)?;
    count(&gate.counters.admitted);
    let passage = Passage {
        method: parts.method.clone(),
        path: path_only(&parts.uri)?,
        body,
        accept: accept(&parts.headers),
        connection: Arc::clone(connection),
        shown: (!gate.neighbours.is_empty())
            .then(|| held.shown(&parts.headers))
            .flatten(),
    };
    forward::forward(Arc::clone(gate), permit, place, passage).await
}

/// A token whose signature was verified.
enum Held {
    Ticket(Arc<VerifiedTicket>),
    Transaction(Arc<VerifiedTransaction>),
}

impl Held {
    fn credential(&self) -> Credential<'_> {
        match self {
            Self::Ticket(ticket) => {
                let claims: &TicketClaims = ticket.claims();
                Credential::Ticket(claims)
            }
            Self::Transaction(token) => {
                let claims: &TransactionClaims = token.claims();
                Credential::Transaction(claims)
            }
        }
    }

    /// The token as it came, to be exchanged for the next stage's.
    fn shown(&self, fields: &HeaderMap) -> Option<Shown> {
        use casemate_api::issuer::names;
        let (token, kind) = match self {
            Self::Ticket(_) => (bearer(fields).ok()?, names::ACCESS_TOKEN),
            Self::Transaction(_) => (transaction(fields).ok()?, names::TRANSACTION_TOKEN),
        };
        Some(Shown {
            token: Arc::from(token),
            kind,
        })
    }
}

/// The token that is expected at this listener, verified.
fn held(gate: &Gate, kind: ListenerKind, fields: &HeaderMap) -> Result<Held, Refusal> {
    let now = gate.now();
    match kind {
        ListenerKind::Exposed => {
            let token = bearer(fields)?;
            gate.verifier
                .verify_ticket(token, now)
                .map(Held::Ticket)
                .map_err(refuse_token)
        }
        ListenerKind::Mesh => {
            let token = transaction(fields)?;
            gate.verifier
                .verify_transaction(token, now)
                .map(Held::Transaction)
                .map_err(refuse_token)
        }
    }
}

fn bearer(fields: &HeaderMap) -> Result<&str, Refusal> {
    let value = fields.get(AUTHORIZATION).ok_or(Refusal::NoTicket)?;
    let value = value.to_str().map_err(|_| Refusal::TicketMalformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::TicketMalformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token)
    } else {
        Err(Refusal::NoTicket)
    }
}

fn transaction(fields: &HeaderMap) -> Result<&str, Refusal> {
    let value = fields.get(TRANSACTION_HEADER).ok_or(Refusal::NoTicket)?;
    value.to_str().map_err(|_| Refusal::TicketMalformed)
}

const fn refuse_token(error: TicketError) -> Refusal {
    match error {
        TicketError::Malformed(_) => Refusal::TicketMalformed,
        TicketError::Signature => Refusal::TicketSignature,
        TicketError::Expired | TicketError::NotYetValid => Refusal::TicketExpired,
        TicketError::WrongAudience => Refusal::TicketWrongAudience,
        TicketError::Revoked => Refusal::TicketRevoked,
    }
}

/// What [`head`] holds HTTP/1 to already, for HTTP/2: a field that decides is there once.
fn check_fields(gate: &Gate, parts: &http::request::Parts) -> Result<(), Refusal> {
    let fields = &parts.headers;
    if parts.version == Version::HTTP_11 {
        return Ok(());
    }
    if fields.len() > gate.bounds.header_fields {
        return Err(Refusal::HeadersTooLarge);
    }
    let twice = |name: &&'static str| fields.get_all(*name).iter().nth(1).is_some();
    if head::ONCE.iter().any(twice) {
        return Err(Refusal::RequestMalformed(
            "a field that decides is given twice",
        ));
    }
    Ok(())
}

/// A body is JSON, and says so, and is not compressed.
pub fn check_media_type(fields: &HeaderMap) -> Result<(), Refusal> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !fields.get(CONTENT_ENCODING).is_none_or(plain) {
        return Err(Refusal::BodyMalformed(BodyFault::MediaType));
    }
    let sent = fields
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let mut parts = sent.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json"));
    if json && parts.all(|part| part.eq_ignore_ascii_case(b"charset=utf-8")) {
        Ok(())
    } else {
        Err(Refusal::BodyMalformed(BodyFault::MediaType))
    }
}

/// Which of the three values of `accept` comes closest to what the caller sent.
pub fn accept(fields: &HeaderMap) -> HeaderValue {
    let sent = fields
        .get(ACCEPT)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    HeaderValue::from_static(if sent.eq_ignore_ascii_case(b"text/event-stream") {
        "text/event-stream"
    } else if sent.eq_ignore_ascii_case(b"application/json") {
        "application/json"
    } else {
        "*/*"
    })
}

/// The path and the query, without scheme and authority.
pub fn path_only(uri: &Uri) -> Result<Uri, Refusal> {
    if uri.scheme().is_none() {
        return Ok(uri.clone());
    }
    let path = uri.path_and_query().cloned().ok_or(Refusal::RouteDenied)?;
    Ok(Uri::from(path))
}

impl Gate {
    /// Records a refusal, by itself or, when there are many like it, as one more.
    pub fn refused(
        &self,
        refusal: Refusal,
        caller: Option<&Caller>,
        parts: Option<&http::request::Parts>,
    ) {
        count(&self.counters.refused);
        if !self.noise.passes(refusal.code(), self.ticks()) {
            return;
        }
        let mut event = self
            .event(kind::REQUEST_REFUSED, Severity::Warning)
            .decided(Outcome::Refused, refusal.code(), &self.by);
        if let Some(caller) = caller {
            event = event.about(caller.peer.id.to_string());
        }
        if let Some(parts) = parts {
            event = event.fact("route", format!("{} {}", parts.method, parts.uri.path()));
        }
        if let Some(detail) = refusal.detail() {
            event = event.fact("detail", detail);
        }
        self.audit.note(event);
    }
}
