//! From a listening socket to requests: TLS, who is there, and HTTP with every bound set.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use casemate_api::gate::{Bounds, ListenerKind};
use casemate_core::admission::Door;
use casemate_identity::tls::authenticated_peer;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::answer::Answer;
use crate::gate::{Caller, Connection, ConnectionGuard, Gate, Order};
use crate::room::Origin;
use crate::serve::serve;
use crate::strict::Strict;

/// Accepts clients with tickets until the task is dropped.
///
/// # Errors
/// When the socket cannot be watched.
pub async fn exposed(gate: Arc<Gate>, door: std::net::TcpListener) -> io::Result<()> {
    let door = TcpListener::from_std(door)?;
    loop {
        match door.accept().await {
            Ok((stream, address)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set no-delay");
                }
                let origin = Origin::unknown(address.ip());
                admit_stream(&gate, stream, ListenerKind::Exposed, origin);
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Accepts gates of other stages until the task is dropped.
///
/// # Errors
/// When the socket cannot be watched.
pub async fn mesh(gate: Arc<Gate>, door: std::os::unix::net::UnixListener) -> io::Result<()> {
    let door = UnixListener::from_std(door)?;
    loop {
        match door.accept().await {
            Ok((stream, _)) => {
                admit_stream(&gate, stream, ListenerKind::Mesh, Origin::Mesh);
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Out of descriptors or memory: what is open must end first, and asking again at once would not help.
pub async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn admit_stream<Io>(gate: &Arc<Gate>, stream: Io, kind: ListenerKind, origin: Origin)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // One too many is closed unanswered: an answer would need the handshake that costs the most.
    let Some(mut guard) = gate.connect(origin) else {
        gate.handshake_failed("too many connections from there".to_owned());
        return;
    };
    let gate = Arc::clone(gate);
    tokio::spawn(async move {
        let longest = Duration::from_millis(gate.bounds.handshake_ms);
        let tls = match kind {
            ListenerKind::Exposed => &gate.exposed_tls,
            ListenerKind::Mesh => &gate.mesh_tls,
        };
        let acceptor = TlsAcceptor::from(Arc::clone(tls));
        let reason = match tokio::time::timeout(longest, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => match authenticated_peer(stream.get_ref().1) {
                Some(peer) => {
                    let known = kind == ListenerKind::Mesh
                        || guard.becomes(Origin::Client(peer.id.clone()));
                    if known {
                        return connection(gate, guard, stream, Caller { peer, kind }).await;
                    }
                    format!("too many connections of {}", peer.id)
                }
                None => "no certificate".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the handshake took too long".to_owned(),
        };
        gate.handshake_failed(reason);
    });
}

async fn connection<Io>(
    gate: Arc<Gate>,
    guard: ConnectionGuard,
    stream: TlsStream<Io>,
    caller: Caller,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let caller = Arc::new(caller);
    let service = {
        let (gate, connection) = (Arc::clone(&gate), Arc::clone(&guard.connection));
        Serve(move |request| {
            serve(
                Arc::clone(&gate),
                Arc::clone(&connection),
                Arc::clone(&caller),
                request,
            )
        })
    };
    if second {
        drive_http2(&guard.connection, stream, service, &gate.bounds).await;
    } else {
        drive_http1(&guard.connection, stream, service, &gate.bounds).await;
    }
}

/// Serves HTTP/1.1 on `io` until its end. What hyper would let pass is held back before it.
pub async fn drive_http1<Io, F, R>(
    connection: &Arc<Connection>,
    io: Io,
    service: Serve<F>,
    bounds: &Bounds,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Response<Answer>> + Send + 'static,
{
    let head = usize::try_from(bounds.header_bytes).unwrap_or(usize::MAX);
    let io = Strict::new(io, Arc::clone(connection), head, bounds.header_fields);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The sweeper keeps the time of heads and of idle connections.
        .header_read_timeout(None)
        .max_buf_size(head.max(MIN_BUFFER) + MIN_BUFFER)
        .max_headers(bounds.header_fields + 1)
        .serve_connection(TokioIo::new(io), service);
    drive(connection, served, |served| served.graceful_shutdown()).await;
}

async fn drive_http2<Io, F, R>(
    connection: &Arc<Connection>,
    io: Io,
    service: Serve<F>,
    bounds: &Bounds,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Response<Answer>> + Send + 'static,
{
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams_per_connection)
        .max_header_list_size(bounds.header_bytes)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .adaptive_window(false)
        .max_frame_size(16 * 1024)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(io), service);
    drive(connection, served, |served| served.graceful_shutdown()).await;
}

/// Polls a connection to its end, or to the end that it was ordered.
async fn drive<C, E>(connection: &Connection, served: C, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut served = pin!(served);
    let mut finishing = false;
    poll_fn(|context| {
        match connection.order(context) {
            Order::Close => return Poll::Ready(()),
            Order::Finish if !finishing => {
                finishing = true;
                finish(served.as_mut());
            }
            Order::Finish | Order::Serve => {}
        }
        served.as_mut().poll(context).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        })
    })
    .await;
}

/// A function as hyper's service, which never fails: a refusal is an answer.
#[derive(Debug)]
pub struct Serve<F>(pub F);

impl<F, R> Service<Request<Incoming>> for Serve<F>
where
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Response<Answer>> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async { Ok(answer.await) })
    }
}

impl Gate {
    /// Refuses new calls, and ends every connection after what runs on it.
    pub fn drain(&self) {
        self.change(|standing| standing.door = Door::Draining);
        for connection in self.connections() {
            connection.give(Order::Finish);
        }
    }
}

const MIN_BUFFER: usize = 8 * 1024;
const WINDOW: u32 = 64 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
