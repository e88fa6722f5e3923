//! For tests: a realm with its authority, people who logged in, and servers with real identities.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::{SystemClock, UnixTime};
use casemate_identity::authority::Authority;
use casemate_identity::svid::{CertificateRequest, KeyPair, Svid, make_csr};
use casemate_identity::tls::{BundleSource, ClientAuth, Peers, SvidSource, server_config};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::commands::{Context, now};
use crate::home::{Home, Login, SecretText};
use crate::output::Output;

/// A trust domain and a person's directory.
pub(crate) struct Scene {
    pub(crate) authority: Authority,
    pub(crate) domain: TrustDomain,
    pub(crate) home: Home,
    pub(crate) output: Output,
    directory: tempfile::TempDir,
}

/// A request as a server saw it, with its whole body.
pub(crate) struct Seen {
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let domain: TrustDomain = "example.internal".parse().expect("a domain");
        let day = Duration::from_secs(86_400);
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            authority: Authority::new(domain.clone(), day, now()).expect("an authority"),
            home: Home::new(Some(directory.path().join("home"))).expect("a home"),
            output: Output::new(true),
            domain,
            directory,
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        let socket = PathBuf::from("/nowhere/casemated.sock");
        Context {
            output: &self.output,
            socket,
            home: self.home.clone(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn stage(&self) -> SpiffeId {
        let name = |text: &str| text.parse().expect("a name");
        self.domain.stage(&name("chat"), &name("redact"))
    }

    pub(crate) fn bundle_pem(&self) -> String {
        self.authority.bundle().expect("a bundle").to_pem()
    }

    /// A certificate of `id` over `key`.
    pub(crate) fn chain_pem(&self, id: &SpiffeId, csr: &str) -> String {
        let request = CertificateRequest::from_pem(csr).expect("a request");
        let hour = Duration::from_secs(3600);
        self.authority
            .issue(&request, id, hour, now())
            .expect("is issued")
            .chain_pem()
    }

    /// A login of Ada's, as `casemate login` keeps it.
    pub(crate) fn log_in(&self, issuer_url: &str) -> Login {
        let id = self.domain.user("idp", "ada").expect("an id");
        let key = KeyPair::generate().expect("a key");
        let chain_pem = self.chain_pem(&id, &make_csr(&key).expect("a request"));
        let key_pem = String::from_utf8(key.to_pem().expose().to_vec()).expect("is text");
        let login = Login {
            spiffe_id: id,
            trust_domain: self.domain.clone(),
            issuer_url: issuer_url.to_owned(),
            bundle_pem: self.bundle_pem(),
            chain_pem,
            key_pem: SecretText::new(key_pem),
            id_token: SecretText::new("id.to.ken".to_owned()),
            groups: vec!["analysts".to_owned()],
            expires: UnixTime(now().0 + 3600),
        };
        self.home.keep_login(&login).expect("is kept");
        login
    }

    /// A server that shows itself as `id` and answers with `answer`; its address.
    pub(crate) async fn serve(
        &self,
        id: &SpiffeId,
        clients: ClientAuth,
        answer: impl Fn(Seen) -> Response<Full<Bytes>> + Clone + Send + 'static,
    ) -> SocketAddr {
        let key = KeyPair::generate().expect("a key");
        let chain = self.chain_pem(id, &make_csr(&key).expect("a request"));
        let source = SvidSource::empty();
        source
            .replace(Svid::from_pem(&chain, key).expect("an SVID"))
            .expect("is shown");
        let bundle = BundleSource::new(self.authority.bundle().expect("a bundle"));
        let config = server_config(
            source,
            bundle,
            clients,
            Arc::new(SystemClock),
            &[b"h2", b"http/1.1"],
        );
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("settings")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(socket).await else {
                    continue;
                };
                let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let answer = answer.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        Ok::<_, hyper::Error>(answer(Seen { head, body }))
                    }
                });
                let io = TokioIo::new(stream);
                if two {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(async move { builder.serve_connection(io, service).await.ok() });
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(async move { builder.serve_connection(io, service).await.ok() });
                }
            }
        });
        address
    }
}

/// Anybody of the realm, with a certificate.
pub(crate) fn members() -> ClientAuth {
    ClientAuth::Required(Peers::Members)
}
