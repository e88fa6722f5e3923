//! The stage's own calls to other stages: the gate adds the identity and the token that the stage lacks.
//!
//! The stage connects to a loopback port and passes on the handle of the request it is working on. A
//! call without one, or with one of a request that has ended, goes nowhere: a stage has no right of its
//! own to call anybody.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use casemate_api::gate::TRANSACTION_FIELD;
use casemate_core::admission::Refusal;
use casemate_core::name::Name;
use casemate_core::route::CanonicalPath;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::answer::Answer;
use crate::flight::{FlightGuard, Hold};
use crate::forward::{self, Passage};
use crate::gate::{Connection, Gate};
use crate::listen::{Serve, drive_http1, pause};
use crate::pool::Pool;
use crate::room::Origin;
use crate::serve::{accept, check_media_type, path_only};
use crate::{body, exchange, problem};

/// Another stage that this stage may call.
#[derive(Debug)]
pub struct Neighbour {
    /// The other stage.
    pub stage: Name,
    /// Where the gate listens for its own stage.
    pub listen: SocketAddr,
    /// Connections to the other stage's gate.
    pub pool: Pool,
}

/// Accepts the stage's calls to the neighbour number `index`, until the task is dropped.
///
/// # Errors
/// When the socket cannot be watched.
pub async fn listen(gate: Arc<Gate>, index: usize, door: std::net::TcpListener) -> io::Result<()> {
    let door = TcpListener::from_std(door)?;
    loop {
        let stream = match door.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set no-delay");
        }
        let Some(guard) = gate.connect(Origin::Inner) else {
            continue;
        };
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            let service = {
                let (gate, connection) = (Arc::clone(&gate), Arc::clone(&guard.connection));
                Serve(move |request| {
                    answer(Arc::clone(&gate), Arc::clone(&connection), index, request)
                })
            };
            drive_http1(&guard.connection, stream, service, &gate.bounds).await;
        });
    }
}

async fn answer(
    gate: Arc<Gate>,
    connection: Arc<Connection>,
    index: usize,
    request: Request<Incoming>,
) -> Response<Answer> {
    let _running = connection.begin();
    let stand_in = request.version() == Version::HTTP_11 && request.uri().path() == "/";
    let answered = match connection.verdict().filter(|_| stand_in) {
        Some(refusal) => Err(refusal),
        None => call(&gate, connection, index, request).await,
    };
    answered.unwrap_or_else(|refusal| {
        gate.refused(refusal, None, None);
        problem::answer(refusal, &gate.by)
    })
}

async fn call(
    gate: &Arc<Gate>,
    connection: Arc<Connection>,
    index: usize,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let neighbour = gate.neighbours.get(index).ok_or(Refusal::NoFlow)?;
    let (parts, body) = request.into_parts();
    let handle = parts
        .headers
        .get(TRANSACTION_FIELD)
        .map(HeaderValue::to_str);
    let parent = match handle {
        Some(Ok(handle)) => gate.flights.find(handle),
        Some(Err(_)) | None => None,
    };
    let parent = parent.ok_or(Refusal::NoTransaction)?;
    CanonicalPath::parse(parts.uri.path()).map_err(Refusal::PathNotCanonical)?;
    if parts.method == Method::POST {
        check_media_type(&parts.headers)?;
    }
    let place = gate.places.take(&parent.branches)?;
    let bytes = body::read(body, &gate.bounds).await?;
    let hold = Hold::Branch(Arc::clone(&parent));
    let guard = FlightGuard::start(gate, hold, place, Arc::clone(&connection), None, None);
    let token = {
        let mut token = pin!(exchange::token(gate, &parent, neighbour));
        poll_fn(|context| match guard.flight.cut(context) {
            Some(refusal) => Poll::Ready(Err(refusal)),
            None => token.as_mut().poll(context),
        })
        .await?
    };
    let passage = Passage {
        path: path_only(&parts.uri)?,
        accept: accept(&parts.headers),
        method: parts.method,
        body: bytes,
        connection,
        shown: None,
    };
    forward::onward(Arc::clone(gate), &neighbour.pool, guard, passage, &token).await
}
