//! A small identity provider of our own, for tokens that a real one would never sign.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use casemate_identity::jwks::JwkSet;
use casemate_identity::jws::{SigningKey, sign_es256};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::harness::now;

pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) key: SigningKey,
    pub(crate) state: Arc<State>,
}

/// What the provider answers, changeable while it runs.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) discoveries: AtomicUsize,
    pub(crate) key_sets: AtomicUsize,
    pub(crate) down: AtomicBool,
    pub(crate) hang: AtomicBool,
    /// Instead of the right discovery document.
    pub(crate) discovery: Mutex<Option<String>>,
    /// Instead of the right key set.
    pub(crate) jwks: Mutex<Option<String>>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        Self::start_at("http://127.0.0.1", None).await
    }

    /// A provider that calls itself `place`, with TLS when it is given some.
    pub(crate) async fn start_at(place: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("{place}:{}", listener.local_addr().unwrap().port());
        let key = SigningKey::generate().unwrap();
        let jwks = JwkSet::of_points([key.public_point()]).to_json();
        let discovery =
            json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") }).to_string();
        let state = Arc::new(State::default());
        let served = (Arc::clone(&state), discovery, jwks);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = served.clone();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, served).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, served).await;
                            }
                        }
                    }
                });
            }
        });
        Self { issuer, key, state }
    }

    pub(crate) fn claims(&self, subject: &str) -> Value {
        json!({
            "iss": self.issuer, "sub": subject, "aud": "casemate", "groups": ["analysts"],
            "iat": now().0 - 1, "exp": now().0 + 3600,
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        sign_es256(&self.key, "JWT", claims.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn id_token(&self, subject: &str) -> String {
        self.sign(&self.claims(subject))
    }
}

async fn serve<S>(stream: S, (state, discovery, jwks): (Arc<State>, String, String))
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(Arc::clone(&state), request, discovery.clone(), jwks.clone());
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    http.serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

/// TLS of a web server called `name`, and the root that vouches for it.
pub(crate) fn web_tls(name: &str) -> (TlsAcceptor, String) {
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![leaf.der().clone()], private.into())
    .unwrap();
    (TlsAcceptor::from(Arc::new(config)), root.pem())
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
    discovery: String,
    jwks: String,
) -> Response<Full<Bytes>> {
    let (counter, body) = match request.uri().path() {
        "/.well-known/openid-configuration" => (
            &state.discoveries,
            state.discovery.lock().unwrap().clone().unwrap_or(discovery),
        ),
        "/jwks" => (
            &state.key_sets,
            state.jwks.lock().unwrap().clone().unwrap_or(jwks),
        ),
        other => panic!("{other}"),
    };
    counter.fetch_add(1, Ordering::SeqCst);
    if state.hang.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if state.down.load(Ordering::SeqCst) {
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
    }
    response
}
