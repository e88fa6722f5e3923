//! Connections of the gate to a server: its own stage's, another gate's, the issuer's.
//!
//! A connection goes back to the pool only when its answer was read to the end; dropped before that, it
//! is closed at once, so that the server learns that nobody listens any more.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use casemate_identity::tls::unused_server_name;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::gate::lock;

/// Where a pool's connections lead.
#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Mesh {
        socket: PathBuf,
        tls: Arc<rustls::ClientConfig>,
    },
}

/// Connections to one place.
#[derive(Debug)]
pub struct Pool {
    place: Place,
    idle: Arc<Mutex<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    task: Task,
    since: Instant,
}

/// Ends a connection's task, and so the connection, when dropped.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection, taken for one request.
#[derive(Debug)]
pub struct Lease {
    /// Sends the request.
    pub sender: SendRequest<Full<Bytes>>,
    /// Whether it was used before, and the server may have closed it meanwhile.
    pub reused: bool,
    task: Task,
    home: Arc<Mutex<Vec<Idle>>>,
}

impl Pool {
    /// Plain connections to `address`.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            place: Place::Tcp(address),
            idle: Arc::default(),
        }
    }

    /// Connections to the Unix socket `socket`, under TLS.
    #[must_use]
    pub fn mesh(socket: PathBuf, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            place: Place::Mesh { socket, tls },
            idle: Arc::default(),
        }
    }

    /// A connection that was used before, when there is one.
    pub async fn reuse(&self) -> Option<Lease> {
        loop {
            let Idle {
                mut sender,
                task,
                since,
            } = lock(&self.idle).pop()?;
            if since.elapsed() < MAX_IDLE && sender.ready().await.is_ok() {
                return Some(Lease {
                    sender,
                    task,
                    reused: true,
                    home: Arc::clone(&self.idle),
                });
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// When it cannot be made within a few seconds.
    pub async fn connect(&self) -> io::Result<Lease> {
        let connecting = tokio::time::timeout(CONNECT, async {
            match &self.place {
                Place::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    self.open(stream).await
                }
                Place::Mesh { socket, tls } => {
                    let stream = UnixStream::connect(socket).await?;
                    let connector = TlsConnector::from(Arc::clone(tls));
                    self.open(connector.connect(unused_server_name(), stream).await?)
                        .await
                }
            }
        });
        connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open<Io>(&self, io: Io) -> io::Result<Lease>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_headers(100)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a server ended");
            }
        });
        let task = Task(task.abort_handle());
        Ok(Lease {
            sender,
            task,
            reused: false,
            home: Arc::clone(&self.idle),
        })
    }

    /// Closes what has been idle for too long.
    pub fn prune(&self) {
        lock(&self.idle).retain(|idle| idle.since.elapsed() < MAX_IDLE && !idle.sender.is_closed());
    }

    /// Closes what is idle: the certificate behind it is not the current one any more.
    pub fn clear(&self) {
        lock(&self.idle).clear();
    }
}

impl Lease {
    /// Gives the connection back; its answer was read to the end.
    pub fn give_back(self) {
        let Self {
            sender, task, home, ..
        } = self;
        let mut idle = lock(&home);
        if idle.len() < MAX_IDLE_CONNECTIONS && !sender.is_closed() {
            idle.push(Idle {
                sender,
                task,
                since: Instant::now(),
            });
        }
    }
}

const CONNECT: Duration = Duration::from_secs(5);
const MAX_IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE_CONNECTIONS: usize = 64;
const BUFFER: usize = 64 * 1024;
