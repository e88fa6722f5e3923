//! Fetches the keys of corporate identity providers: the only calls that the issuer makes.
//!
//! Where to is configuration, never a token. `https` under the given roots, or `http` to loopback;
//! no redirect is followed, and time and size are bounded. When to fetch is decided elsewhere
//! ([`casemate_identity::oidc::KeyStore`]); an allowed fetch runs to its end in a task of its own,
//! whoever stops waiting for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use casemate_core::event::{Severity, kind};
use casemate_core::time::SystemClock;
use casemate_identity::jwks::{Jwk, JwkSet, JwksError, MAX_SET_BYTES};
use casemate_identity::oidc::{
    Discovery, FetchPermit, IssuerUrl, KeyStore, Lookup, NoKey, ReadDiscoveryError, Tick,
};
use casemate_identity::tls::web_client_config;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::issuer::Issuer;

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the URL has no host or port")]
    Url,
    #[error("the host name cannot be resolved to an allowed address")]
    Resolve,
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("no root certificates for https")]
    NoRoots,
    #[error("the exchange failed")]
    Http(#[source] hyper::Error),
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer is too long or broke off")]
    Body,
    #[error("it took too long")]
    Timeout,
    #[error("the discovery document is refused")]
    Discovery(#[from] ReadDiscoveryError),
    #[error("the key set is refused")]
    Keys(#[from] JwksError),
    #[error("the key set has no usable key")]
    NoKeys,
}

/// The keys of all providers, and how to call them.
pub(crate) struct Providers {
    store: Mutex<KeyStore>,
    /// Counts finished fetches, so that whoever waits for one can.
    finished: watch::Sender<u64>,
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
}

impl Providers {
    pub(crate) fn new(roots_pem: &str, limit_ms: u64) -> Self {
        let tls = web_client_config(roots_pem, Arc::new(SystemClock), &[b"http/1.1"]);
        Self {
            store: Mutex::new(KeyStore::new(Tick::default())),
            finished: watch::Sender::new(0),
            tls: tls.ok().map(Arc::new),
            limit: Duration::from_millis(limit_ms),
        }
    }

    pub(crate) fn configure(&self, issuers: impl IntoIterator<Item = IssuerUrl>, now: Tick) {
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .configure(issuers, now);
    }

    fn lookup(&self, issuer: &IssuerUrl, key_id: Option<&str>, now: Tick) -> Lookup {
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lookup(issuer, key_id, now)
    }
}

/// The key `key_id` of `provider`, fetched when that is needed and allowed.
pub(crate) async fn key(
    issuer: &Arc<Issuer>,
    provider: &IssuerUrl,
    key_id: Option<&str>,
) -> Result<Jwk, NoKey> {
    for _ in 0..MAX_LOOKUPS {
        // Subscribed before looking, so that a fetch that ends in between is not missed.
        let mut finished = issuer.providers.finished.subscribe();
        match issuer.providers.lookup(provider, key_id, issuer.tick()) {
            Lookup::Key(key) => return Ok(key),
            Lookup::KeyAndFetch(key, permit) => {
                tokio::spawn(renew(Arc::clone(issuer), permit, None));
                return Ok(key);
            }
            Lookup::None(reason) => return Err(reason),
            Lookup::Fetch(permit) => {
                let wanted = key_id.map(str::to_owned);
                tokio::spawn(renew(Arc::clone(issuer), permit, wanted));
            }
            Lookup::Wait => {}
        }
        let wait = tokio::time::timeout(issuer.providers.limit * 2, finished.changed());
        if !matches!(wait.await, Ok(Ok(()))) {
            return Err(NoKey::CoolingDown);
        }
    }
    Err(NoKey::CoolingDown)
}

/// Fetches, reports, and wakes whoever waits.
async fn renew(issuer: Arc<Issuer>, permit: FetchPermit, wanted: Option<String>) {
    let providers = &issuer.providers;
    let whose = permit.issuer().clone();
    let result = match tokio::time::timeout(providers.limit, fetch(providers, &whose)).await {
        Ok(result) => result,
        Err(_) => Err(FetchError::Timeout),
    };
    if let Err(error) = &result {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            reason = format!("{reason}: {next}");
            cause = next.source();
        }
        let event = issuer
            .event(kind::PROVIDER_UNAVAILABLE, Severity::Warning)
            .about(whose.as_str())
            .fact("reason", reason);
        issuer.tell(event);
    }
    let now = issuer.tick();
    let mut store = providers
        .store
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    store.fetched(permit, wanted.as_deref(), result.ok(), now);
    drop(store);
    providers
        .finished
        .send_modify(|count| *count = count.wrapping_add(1));
}

async fn fetch(providers: &Providers, issuer: &IssuerUrl) -> Result<JwkSet, FetchError> {
    let discovery_url = Url::parse(&issuer.discovery_url()).map_err(|_| FetchError::Url)?;
    let document = get(providers, &discovery_url, Discovery::MAX_BYTES).await?;
    let discovery = Discovery::read(issuer, &document)?;
    let set = JwkSet::parse(&get(providers, &discovery.jwks_uri, MAX_SET_BYTES).await?)?;
    if set.is_empty() {
        Err(FetchError::NoKeys)
    } else {
        Ok(set)
    }
}

async fn get(providers: &Providers, url: &Url, limit: usize) -> Result<Bytes, FetchError> {
    let plain = url.scheme() == "http";
    let stream = connect(url, plain).await?;
    if plain {
        return exchange(stream, url, limit).await;
    }
    let tls = providers.tls.as_ref().ok_or(FetchError::NoRoots)?;
    let host = match url.host().ok_or(FetchError::Url)? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| FetchError::Url)?,
        Host::Ipv4(address) => ServerName::IpAddress(address.into()),
        Host::Ipv6(address) => ServerName::IpAddress(address.into()),
    };
    let connector = TlsConnector::from(Arc::clone(tls));
    let stream = connector
        .connect(host, stream)
        .await
        .map_err(FetchError::Connect)?;
    exchange(stream, url, limit).await
}

async fn connect(url: &Url, plain: bool) -> Result<TcpStream, FetchError> {
    let port = url.port_or_known_default().ok_or(FetchError::Url)?;
    let addresses: Vec<SocketAddr> = match url.host().ok_or(FetchError::Url)? {
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
        Host::Domain(name) => tokio::net::lookup_host((name, port))
            .await
            .map_err(|_| FetchError::Resolve)?
            // Whatever the name says: without TLS the other end must be this host.
            .filter(|address| !plain || address.ip().is_loopback())
            .take(MAX_ADDRESSES)
            .collect(),
    };
    let mut last = FetchError::Resolve;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = FetchError::Connect(error),
        }
    }
    Err(last)
}

async fn exchange<S>(stream: S, url: &Url, limit: usize) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    let authority = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(FetchError::Url),
    };
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "casemate-issuer")
        .header(header::CONNECTION, "close")
        .body(Empty::new())?;
    let ask = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(FetchError::Http)?;
        // A redirect is a status like any other here: it would let the provider choose the place.
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), limit).collect().await;
        Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
    };
    // The connection is driven here and dropped here: no task outlives the request.
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        biased;
        result = &mut ask => result,
        ended = &mut connection => {
            ended.map_err(FetchError::Http)?;
            ask.await
        }
    }
}

const MAX_LOOKUPS: usize = 4;
const MAX_ADDRESSES: usize = 4;
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
