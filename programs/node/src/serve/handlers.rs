//! One function per resource of the API: parse, ask the node on a blocking thread, answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use casemate_api::v1;
use serde::de::DeserializeOwned;

use super::{Peer, stream};
use crate::asker::Asker;
use crate::failure::{Code, Failure};
use crate::node::Node;

type Answer<T> = Result<Json<T>, Failure>;

/// What runs here.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = v1::Status)))]
pub(super) async fn status(State(node): State<Arc<Node>>) -> Answer<v1::Status> {
    ask(move || node.status()).await
}

/// Brings an enclosure up. The answer is a stream of `UpLine`, one a line.
#[utoipa::path(post, path = "/v1/enclosures", request_body = v1::UpRequest,
    responses((status = 200, body = v1::UpLine, content_type = "application/jsonl"),
              (status = "4XX", body = v1::ApiError)))]
pub(super) async fn up(
    State(node): State<Arc<Node>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    let Some(user) = peer.user else {
        return Failure::new(Code::NotPermitted, "the kernel does not say who is asking")
            .into_response();
    };
    let asker = Asker::new(user);
    let request: v1::UpRequest = match parse(&body) {
        Ok(request) => request,
        Err(failure) => return failure.into_response(),
    };
    stream::lines(move |lines| {
        let last = match node.up(&request, &asker, &|step| {
            lines.send(&v1::UpLine::Progress(step))
        }) {
            Ok(done) => v1::UpLine::Done(done),
            Err(failure) => v1::UpLine::Failed(failure.to_api()),
        };
        lines.send(&last);
    })
}

/// Takes an enclosure down and says what it left.
#[utoipa::path(delete, path = "/v1/enclosures/{name}",
    params(("name" = String, Path, description = "the enclosure")),
    responses((status = 200, body = v1::DownReport), (status = 404, body = v1::ApiError)))]
pub(super) async fn down(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Answer<v1::DownReport> {
    ask(move || node.down(&name)).await
}

/// Attacks stages from inside. The answer is a stream of `ProbeLine`, one a line.
#[utoipa::path(post, path = "/v1/probe", request_body = v1::ProbeRequest,
    responses((status = 200, body = v1::ProbeLine, content_type = "application/jsonl"),
              (status = "4XX", body = v1::ApiError)))]
pub(super) async fn probe(State(node): State<Arc<Node>>, body: Bytes) -> Response {
    let request: v1::ProbeRequest = match parse(&body) {
        Ok(request) => request,
        Err(failure) => return failure.into_response(),
    };
    stream::lines(move |lines| {
        let last = match node.probe(&request, &|line| lines.send(&line)) {
            Ok(end) => v1::ProbeLine::Done(end),
            Err(failure) => v1::ProbeLine::Failed(failure.to_api()),
        };
        lines.send(&last);
    })
}

/// The whole chain of receipts.
#[utoipa::path(get, path = "/v1/receipts", responses((status = 200, body = v1::ReceiptList)))]
pub(super) async fn receipts(State(node): State<Arc<Node>>) -> Answer<v1::ReceiptList> {
    ask(move || {
        Ok(v1::ReceiptList {
            receipts: node.journal.receipts()?,
        })
    })
    .await
}

/// The key that receipts verify with.
#[utoipa::path(get, path = "/v1/receipt-key", responses((status = 200, body = v1::ReceiptKey)))]
pub(super) async fn receipt_key(State(node): State<Arc<Node>>) -> Answer<v1::ReceiptKey> {
    Ok(Json(v1::ReceiptKey {
        public_key_pem: node.receipt_key.public_pem(),
        key_id: node.receipt_key.id(),
    }))
}

/// A page of events.
#[utoipa::path(get, path = "/v1/events",
    params(("after" = Option<u64>, Query, description = "the number of the last event seen")),
    responses((status = 200, body = v1::EventPage)))]
pub(super) async fn events(
    State(node): State<Arc<Node>>,
    RawQuery(query): RawQuery,
) -> Answer<v1::EventPage> {
    let after = number(query.as_deref(), "after")?.unwrap_or(0);
    ask(move || {
        let found = node.journal.events(after, EVENTS_PER_PAGE)?;
        let next = found.last().map_or(after, |(number, _)| *number);
        let events = found
            .into_iter()
            .map(|(number, event)| v1::NumberedEvent { number, event });
        Ok(v1::EventPage {
            events: events.collect(),
            next,
        })
    })
    .await
}

/// The end of what a stage wrote.
#[utoipa::path(get, path = "/v1/logs/{enclosure}/{stage}",
    params(("enclosure" = String, Path, description = "the enclosure"),
           ("stage" = String, Path, description = "the stage"),
           ("tail" = Option<u32>, Query, description = "how many lines")),
    responses((status = 200, body = v1::Logs), (status = 404, body = v1::ApiError)))]
pub(super) async fn logs(
    State(node): State<Arc<Node>>,
    Path((enclosure, stage)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer<v1::Logs> {
    let tail = number(query.as_deref(), "tail")?
        .unwrap_or(200)
        .min(MAX_LOG_LINES);
    ask(move || {
        node.logs(
            &enclosure,
            &stage,
            usize::try_from(tail).unwrap_or(usize::MAX),
        )
    })
    .await
}

/// What a client needs before its first login.
#[utoipa::path(get, path = "/v1/trust",
    responses((status = 200, body = v1::Trust), (status = 404, body = v1::ApiError)))]
pub(super) async fn trust(State(node): State<Arc<Node>>) -> Answer<v1::Trust> {
    ask(move || node.trust()).await
}

/// Revokes a ticket or all tickets of a subject.
#[utoipa::path(post, path = "/v1/revoke", request_body = v1::RevokeRequest,
    responses((status = 200, body = v1::Revoked), (status = "4XX", body = v1::ApiError)))]
pub(super) async fn revoke(State(node): State<Arc<Node>>, body: Bytes) -> Answer<v1::Revoked> {
    let request: v1::RevokeRequest = parse(&body)?;
    ask(move || node.revoke(&request)).await
}

/// What is on the host and belongs to no running stage.
#[utoipa::path(get, path = "/v1/leftovers", responses((status = 200, body = v1::Leftovers)))]
pub(super) async fn leftovers(State(node): State<Arc<Node>>) -> Answer<v1::Leftovers> {
    ask(move || {
        Ok(v1::Leftovers {
            leftovers: node.leftovers(),
        })
    })
    .await
}

/// This description.
#[utoipa::path(get, path = "/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1, JSON")))]
pub(super) async fn openapi() -> Response {
    Json(super::document()).into_response()
}

/// Everything else.
pub(super) async fn unknown() -> Failure {
    Failure::new(
        Code::RequestMalformed,
        "version 1 of the API has no such resource",
    )
}

/// Runs `question` where it may block.
async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(question).await {
        Ok(answer) => answer.map(Json),
        Err(error) => {
            tracing::error!(error = %error, "handler failed");
            Err(Failure::new(Code::Internal, "the daemon's handler failed"))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(
            Code::RequestMalformed,
            format!("the request's body is not understood: {error}"),
        )
    })
}

/// The one number that a query may have, by name; anything else in it is refused.
fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Failure> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(None);
    };
    query
        .split_once('=')
        .filter(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            let message = format!("the query may only be `{name}=` and a number");
            Failure::new(Code::RequestMalformed, message)
        })
}

const EVENTS_PER_PAGE: u32 = 1000;
const MAX_LOG_LINES: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_with_anything_unknown_is_refused() {
        assert_eq!(number(Some("after=7"), "after").unwrap(), Some(7));
        assert_eq!(number(None, "after").unwrap(), None);
        for bad in [
            "after=-1",
            "after",
            "before=1",
            "after=1&after=2",
            "after=x",
        ] {
            assert!(number(Some(bad), "after").is_err(), "{bad}");
        }
    }
}
