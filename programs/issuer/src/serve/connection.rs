//! One connection: handshake, then HTTP by what the handshake agreed on, all with deadlines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use casemate_identity::svid::VerifiedPeer;
use casemate_identity::tls::authenticated_peer;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::route::{Asker, answer};
use crate::exchange::Door;
use crate::issuer::Issuer;
use crate::rate::Peer;

/// A connection that was accepted and has said nothing yet.
pub(super) struct Connection {
    pub(super) issuer: Arc<Issuer>,
    pub(super) door: Door,
    /// Who is counted for it before it proves who it is; nobody on the Unix socket.
    pub(super) from: Option<Peer>,
}

impl Connection {
    pub(super) async fn serve<S>(self, acceptor: TlsAcceptor, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let bounds = self.issuer.bounds;
        let handshake = Duration::from_millis(bounds.handshake_ms);
        let stream = match tokio::time::timeout(handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::info!(door = ?self.door, reason = %error, "a handshake failed");
                return;
            }
            Err(_) => return,
        };
        let peer = authenticated_peer(stream.get_ref().1);
        let Some(counted) = self.counted(peer.as_ref()) else {
            return;
        };
        let asker = Arc::new(Asker {
            door: self.door,
            peer,
            counted,
        });
        let life = Duration::from_millis(bounds.connection_ms);
        // Whatever is still running then is cut; nothing here takes that long.
        let served = tokio::time::timeout(life, http(self.issuer, asker, stream)).await;
        if let Ok(Err(error)) = served {
            tracing::debug!(reason = %error, "a connection ended early");
        }
    }

    fn counted(&self, peer: Option<&VerifiedPeer>) -> Option<Peer> {
        match self.door {
            Door::Public => self.from.clone(),
            Door::Mesh => peer.map(|peer| Peer::Gate(peer.id.clone())),
        }
    }
}

async fn http<S>(
    issuer: Arc<Issuer>,
    asker: Arc<Asker>,
    stream: TlsStream<S>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let bounds = issuer.bounds;
    let second_version = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (issuer, asker) = (Arc::clone(&issuer), Arc::clone(&asker));
        async move { Ok::<_, std::convert::Infallible>(answer(&issuer, &asker, request).await) }
    });
    let head_bytes = usize::try_from(bounds.header_bytes)
        .unwrap_or(MIN_BUFFER)
        .max(MIN_BUFFER);
    let io = TokioIo::new(stream);
    if second_version {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.streams_per_connection)
            .max_header_list_size(bounds.header_bytes)
            .max_frame_size(FRAME)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * 2)
            .max_send_buf_size(head_bytes * 4)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .keep_alive_interval(Duration::from_millis(bounds.header_ms))
            .keep_alive_timeout(Duration::from_millis(bounds.header_ms))
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(bounds.header_ms))
            .max_headers(MAX_HEADERS)
            .max_buf_size(head_bytes)
            .half_close(false)
            .serve_connection(io, service)
            .await
    }
}

/// How many connections each address holds: nobody may take all of them.
pub(super) struct PerAddress {
    most: usize,
    held: Mutex<HashMap<Peer, usize>>,
}

/// One connection's part of its address's share, given back on drop.
pub(super) struct Share {
    of: Arc<PerAddress>,
    peer: Peer,
}

impl PerAddress {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            held: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn take(of: &Arc<Self>, peer: Peer) -> Option<Share> {
        let mut held = of.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(peer.clone()).or_insert(0);
        if *count >= of.most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Share {
            of: Arc::clone(of),
            peer,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

/// The least that hyper takes.
const MIN_BUFFER: usize = 8192;
const MAX_HEADERS: usize = 64;
const MAX_RESETS: usize = 20;
const FRAME: u32 = 16 * 1024;
const WINDOW: u32 = 64 * 1024;
