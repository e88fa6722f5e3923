//! One mutually authenticated connection: to the issuer, or to a stage's gate.
//!
//! The server is known by its SPIFFE ID and the trust bundle, never by a host name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_core::spiffe::SpiffeId;
use casemate_core::time::SystemClock;
use casemate_identity::bundle::TrustBundle;
use casemate_identity::svid::{KeyPair, Svid};
use casemate_identity::tls::{self, BundleSource, Peers, SvidSource};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::exit::Failure;
use crate::home::Login;

/// Which version of HTTP to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1
    #[default]
    One,
    /// HTTP/2
    Two,
}

/// Whom to connect to, and as whom.
#[derive(Debug)]
pub(crate) struct Peer<'a> {
    /// `https://host:port`; the path plays no part.
    pub(crate) url: &'a Url,
    /// Who must answer.
    pub(crate) expected: SpiffeId,
    /// Who vouches for it.
    pub(crate) bundle: TrustBundle,
    /// Whose certificate is shown.
    pub(crate) login: Option<&'a Login>,
    /// Which HTTP.
    pub(crate) version: Version,
}

/// A connection that takes requests.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    authority: String,
    peer: SpiffeId,
}

#[derive(Debug)]
enum Sender {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// Reads the URL of a server of ours.
pub(crate) fn server_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| {
        Failure::usage(format!("`{text}` is not a URL"))
            .because(&error)
            .fix("write https://HOST:PORT")
    })?;
    if url.scheme() != "https" || url.host().is_none() || !url.username().is_empty() {
        return Err(Failure::usage(format!("`{text}` is not https://HOST:PORT"))
            .fix("a stage and the issuer are only spoken to over TLS"));
    }
    Ok(url)
}

impl Peer<'_> {
    /// Connects, proves who is there, and shows who asks.
    pub(crate) async fn connect(self) -> Result<Connection, Failure> {
        let alpn: &[u8] = match self.version {
            Version::One => b"http/1.1",
            Version::Two => b"h2",
        };
        let svids = self.login.map(source_of).transpose()?;
        let config = tls::client_config(
            svids,
            BundleSource::new(self.bundle),
            Peers::only(self.expected.clone()),
            Arc::new(SystemClock),
            &[alpn],
        )
        .map_err(|error| Failure::ours("cannot set TLS up", error))?;
        let authority = authority_of(self.url)?;
        let connecting = TcpStream::connect(&authority);
        let socket = within(CONNECT, "connecting", connecting)
            .await?
            .map_err(|error| {
                Failure::unclear(format!("cannot reach `{authority}`")).because(&error)
            })?;
        // Tokens of an answer are small and each one matters.
        socket
            .set_nodelay(true)
            .map_err(|error| Failure::ours("cannot set up the connection", error))?;
        let handshake =
            TlsConnector::from(Arc::new(config)).connect(tls::unused_server_name(), socket);
        let stream = within(CONNECT, "the TLS handshake", handshake)
            .await?
            .map_err(|error| {
                Failure::found(format!(
                    "`{authority}` is not `{}`, or does not accept you",
                    self.expected
                ))
                .because(&error)
            })?;
        let (_, session) = stream.get_ref();
        // The handshake accepted nobody else; asked again, so that a mistake there is not ours too.
        let peer = tls::authenticated_peer(session).map(|peer| peer.id);
        if peer.as_ref() != Some(&self.expected) {
            return Err(Failure::found(format!(
                "`{authority}` is not `{}`",
                self.expected
            )));
        }
        let stream = TokioIo::new(stream);
        let broken =
            |error| Failure::found(format!("`{authority}` broke off")).because(&tls_cause(&error));
        let sender = match self.version {
            Version::One => {
                let (sender, connection) = hyper::client::conn::http1::handshake(stream)
                    .await
                    .map_err(broken)?;
                // Ends with the connection; its error also reaches whoever reads the answer.
                tokio::spawn(async move { connection.await.ok() });
                Sender::One(sender)
            }
            Version::Two => {
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                        .await
                        .map_err(broken)?;
                tokio::spawn(async move { connection.await.ok() });
                Sender::Two(sender)
            }
        };
        Ok(Connection {
            sender,
            authority,
            peer: self.expected,
        })
    }
}

impl Connection {
    /// Who is at the other end.
    pub(crate) const fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// Sends one request to `path` and gives the head of the answer.
    pub(crate) async fn send(
        &mut self,
        mut builder: http::request::Builder,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, Failure> {
        let malformed = |error| {
            Failure::usage(format!("`{path}` cannot be asked for"))
                .because(&error)
                .fix("start the path with `/` and write spaces as %20")
        };
        builder = match &self.sender {
            Sender::One(_) => builder
                .uri(path)
                .header(http::header::HOST, &self.authority),
            Sender::Two(_) => builder.uri(format!("https://{}{path}", self.authority)),
        };
        let request: Request<Full<Bytes>> = builder
            .body(Full::new(Bytes::from(body)))
            .map_err(malformed)?;
        let response = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        };
        response.map_err(|error| {
            Failure::found(format!("`{}` ended the connection", self.peer))
                .because(&tls_cause(&error))
        })
    }
}

/// The whole body of an answer, when it is no longer than `most` bytes.
pub(crate) async fn collect(response: Response<Incoming>, most: usize) -> Result<Bytes, Failure> {
    Limited::new(response.into_body(), most)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .map_err(|error| {
            Failure::unclear("the answer broke off or is too long").because(error.as_ref())
        })
}

fn source_of(login: &Login) -> Result<Arc<SvidSource>, Failure> {
    let again = "log in again: casemate login --token-file FILE";
    let key = KeyPair::from_pem(login.key_pem.expose())
        .map_err(|error| Failure::ours("the key of your login cannot be used", error).fix(again))?;
    let svid = Svid::from_pem(&login.chain_pem, key).map_err(|error| {
        Failure::ours("the certificate of your login cannot be used", error).fix(again)
    })?;
    let source = SvidSource::empty();
    source.replace(svid).map_err(|error| {
        Failure::ours("the certificate of your login cannot be used", error).fix(again)
    })?;
    Ok(source)
}

fn authority_of(url: &Url) -> Result<String, Failure> {
    let host = url
        .host_str()
        .ok_or_else(|| Failure::usage(format!("`{url}` names no host")))?;
    let port = url.port_or_known_default().unwrap_or(443);
    Ok(format!("{host}:{port}"))
}

async fn within<F: Future>(limit: Duration, what: &str, future: F) -> Result<F::Output, Failure> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| Failure::unclear(format!("{what} took longer than {} s", limit.as_secs())))
}

/// A refusal inside TLS, which hyper wraps more than once: a TLS 1.3 server refuses a client's
/// certificate only after the client has begun to speak.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TlsCause(String);

fn tls_cause(error: &hyper::Error) -> TlsCause {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref());
        let tls = inner
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .or_else(|| cause.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return TlsCause(format!("it refused the TLS handshake: {alert:?}"));
        }
        next = cause.source();
    }
    TlsCause(error.to_string())
}

const CONNECT: Duration = Duration::from_secs(10);
