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
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningKey::generate().unwrap();
        let jwks = JwkSet::of_points([key.public_point()]).to_json();
        let discovery =
            json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") }).to_string();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, discovery, jwks) =
                    (Arc::clone(&shared), discovery.clone(), jwks.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer =
                        answer(Arc::clone(&state), request, discovery.clone(), jwks.clone());
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
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
