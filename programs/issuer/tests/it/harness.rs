//! Starts the issuer as the daemon would, and talks to it as people, gates and the daemon do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use casemate_api::issuer::{
    Bounds, EnclosurePolicy, FromIssuer, IssueStage, Lifetimes, LoginResponse, Ready, Revocation,
    Settings, StagePolicy, Startup, Svid as IssuedSvid, ToIssuer,
};
use casemate_core::admission::{Caller, InboundFlow};
use casemate_core::enclosure::IdentityProvider;
use casemate_core::event::Event;
use casemate_core::name::Name;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::ticket::Limits;
use casemate_core::time::{Clock as _, SystemClock, UnixTime};
use casemate_identity::authority::Authority;
use casemate_identity::bundle::TrustBundle;
use casemate_identity::jws::SigningKey;
use casemate_identity::svid::{KeyPair, Svid, make_csr};
use casemate_identity::tls::{BundleSource, Peers, SvidSource, client_config, unused_server_name};
use casemate_linux::memory::sealed_file;
use casemate_linux::process::{Child, Command};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_rustls::TlsConnector;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn domain() -> TrustDomain {
    "example.internal".parse().unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn stage(text: &str) -> SpiffeId {
    domain().stage(&name("chat"), &name(text))
}

pub(crate) fn now() -> UnixTime {
    SystemClock.now()
}

/// The pipeline of the example: analysts call redact, redact calls infer.
pub(crate) fn chat(provider: &str) -> EnclosurePolicy {
    let flow = |from| InboundFlow {
        from,
        routes: vec![name("chat")],
        models: vec!["smollm2@1".parse().unwrap()],
        limits: Limits {
            max_tokens: Some(256),
            requests_per_minute: None,
        },
    };
    EnclosurePolicy {
        enclosure: name("chat"),
        identity_providers: vec![IdentityProvider {
            issuer: provider.to_owned(),
            audience: "casemate".to_owned(),
            groups_claim: "groups".to_owned(),
        }],
        stages: vec![
            StagePolicy {
                stage: name("redact"),
                flows: vec![flow(Caller::Group("analysts".to_owned()))],
            },
            StagePolicy {
                stage: name("infer"),
                flows: vec![flow(Caller::Stage(stage("redact")))],
            },
        ],
    }
}

/// A running issuer.
pub(crate) struct Issuer {
    child: Option<Child>,
    control: BufReader<UnixStream>,
    pub(crate) address: SocketAddr,
    pub(crate) mesh: std::path::PathBuf,
    pub(crate) ready: Ready,
    pub(crate) authority: Authority,
    pub(crate) events: Vec<Event>,
    next: AtomicU64,
    _directory: tempfile::TempDir,
}

/// How a test wants its issuer.
pub(crate) struct Start {
    pub(crate) enclosures: Vec<EnclosurePolicy>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) bounds: Bounds,
    pub(crate) roots_pem: Option<String>,
    pub(crate) revocations: Vec<Revocation>,
}

impl Start {
    pub(crate) fn with(provider: &str) -> Self {
        Self {
            enclosures: vec![chat(provider)],
            lifetimes: Lifetimes::default(),
            bounds: Bounds {
                requests_per_minute: 100_000,
                ..Bounds::default()
            },
            roots_pem: None,
            revocations: Vec::new(),
        }
    }

    pub(crate) fn start(self) -> Issuer {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("issuer.sock");
        let authority = Authority::new(domain(), HOUR * 24, now()).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let mesh = UnixListener::bind(&path).unwrap();
        let text = |secret: casemate_core::secret::Secret| {
            String::from_utf8(secret.expose().to_vec()).unwrap()
        };
        let settings = Settings {
            trust_domain: domain(),
            authority_pem: authority.certificate_pem(),
            authority_key_pem: text(authority.private_key_pem()),
            ticket_key_pem: text(SigningKey::generate().unwrap().to_pem()),
            tcp_fd: 5,
            mesh_fd: 6,
            provider_roots_pem: self.roots_pem,
            lifetimes: self.lifetimes,
            bounds: self.bounds,
            enclosures: self.enclosures,
        };
        // Both forms are read: with revocations and without.
        let settings = if self.revocations.is_empty() {
            serde_json::to_vec(&settings)
        } else {
            serde_json::to_vec(&Startup {
                settings,
                revocations: self.revocations,
            })
        };
        let settings = sealed_file("settings", &settings.unwrap()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-issuer"));
        command
            .descriptor(2, log)
            .descriptor(3, settings)
            .descriptor(4, theirs)
            .descriptor(5, tcp)
            .descriptor(6, mesh)
            .confined();
        // As the daemon does it, where that is possible.
        if is_root() {
            command.identity(520_001, 520_001, &[520_000]);
        }
        let child = command.spawn().unwrap();
        drop(command);
        ours.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut control = BufReader::new(ours);
        let mut line = String::new();
        control.read_line(&mut line).unwrap();
        let log = directory.path().join("log");
        let Ok(FromIssuer::Ready(ready)) = serde_json::from_str(&line) else {
            panic!(
                "not ready: {line:?} {}",
                std::fs::read_to_string(log).unwrap()
            );
        };
        Issuer {
            child: Some(child),
            control,
            address,
            mesh: path,
            ready,
            authority,
            events: Vec::new(),
            next: AtomicU64::new(1),
            _directory: directory,
        }
    }
}

impl Issuer {
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// Gives an order and waits for what it answers; events on the way are kept.
    pub(crate) fn order(&mut self, order: &ToIssuer) -> FromIssuer {
        let mut line = serde_json::to_string(order).unwrap();
        line.push('\n');
        self.control.get_mut().write_all(line.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert!(
                self.control.read_line(&mut line).unwrap() > 0,
                "the issuer is gone"
            );
            match serde_json::from_str(&line).unwrap() {
                FromIssuer::Event(event) => self.events.push(*event),
                answer => return answer,
            }
        }
    }

    /// The next event of `kind`, kept or read.
    pub(crate) fn event(&mut self, kind: &str) -> Event {
        if let Some(at) = self.events.iter().position(|event| event.kind == kind) {
            return self.events.remove(at);
        }
        loop {
            let mut line = String::new();
            assert!(
                self.control.read_line(&mut line).unwrap() > 0,
                "no event {kind}"
            );
            match serde_json::from_str(&line).unwrap() {
                FromIssuer::Event(event) if event.kind == kind => return *event,
                FromIssuer::Event(event) => self.events.push(*event),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn stage_svid(&mut self, id: &SpiffeId) -> Svid {
        let key = KeyPair::generate().unwrap();
        let csr_pem = make_csr(&key).unwrap();
        let order = IssueStage {
            id: self.number(),
            spiffe_id: id.clone(),
            csr_pem,
        };
        match self.order(&ToIssuer::IssueStage(order)) {
            FromIssuer::Svid(IssuedSvid { chain_pem, .. }) => {
                Svid::from_pem(&chain_pem, key).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn bundle(&self) -> Arc<BundleSource> {
        BundleSource::new(TrustBundle::from_pem(domain(), &self.ready.bundle_pem).unwrap())
    }

    fn connector(&self, svid: Option<Svid>, alpn: &[u8]) -> TlsConnector {
        let source = svid.map(|svid| {
            let source = SvidSource::empty();
            source.replace(svid).unwrap();
            source
        });
        let expected = Peers::only(domain().issuer());
        let clock = Arc::new(SystemClock);
        let config = client_config(source, self.bundle(), expected, clock, &[alpn]).unwrap();
        TlsConnector::from(Arc::new(config))
    }

    /// Connects over TCP, as a person.
    pub(crate) async fn connect(&self, svid: Option<Svid>) -> Client {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let tls = self.connector(svid, b"http/1.1");
        Client::over(tls.connect(unused_server_name(), stream).await.unwrap()).await
    }

    /// A TLS stream on which HTTP/2 was agreed.
    pub(crate) async fn raw_h2(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let tls = self.connector(None, b"h2");
        tls.connect(unused_server_name(), stream).await.unwrap()
    }

    /// Connects over the Unix socket, as a gate.
    pub(crate) async fn connect_mesh(&self, svid: Option<Svid>) -> std::io::Result<Client> {
        let stream = tokio::net::UnixStream::connect(&self.mesh).await?;
        let tls = self.connector(svid, b"http/1.1");
        Ok(Client::over(tls.connect(unused_server_name(), stream).await?).await)
    }

    /// Logs in over TCP; the certificate comes with its key.
    pub(crate) async fn login(&self, id_token: &str) -> (LoginResponse, Svid) {
        let key = KeyPair::generate().unwrap();
        let mut client = self.connect(None).await;
        let body = serde_json::json!({ "id_token": id_token, "csr_pem": make_csr(&key).unwrap() });
        let (status, answer) = client.login(&body).await;
        assert_eq!(status, 200, "{answer}");
        let response: LoginResponse = serde_json::from_value(answer).unwrap();
        let svid = Svid::from_pem(&response.svid_pem, key).unwrap();
        (response, svid)
    }

    /// Closes the control channel and waits for the end.
    pub(crate) fn stop(mut self) -> casemate_linux::process::Exit {
        let child = self.child.take().unwrap();
        self.control
            .get_mut()
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        child
            .wait_for(Duration::from_secs(10))
            .unwrap()
            .expect("the issuer must end")
    }

    pub(crate) fn alive(&self) -> bool {
        self.child.as_ref().unwrap().try_wait().unwrap().is_none()
    }

    /// What the kernel says about the process.
    pub(crate) fn process_status(&self) -> String {
        let id = self.child.as_ref().unwrap().id();
        std::fs::read_to_string(format!("/proc/{id}/status")).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self._directory.path().join("log")).unwrap()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            child.kill().ok();
        }
    }
}

/// One HTTP/1.1 connection.
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn over<S>(stream: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> (u16, http::HeaderMap, Bytes) {
        let mut request = hyper::Request::builder().method(method).uri(path);
        request = request.header("host", "issuer");
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        (
            head.status.as_u16(),
            head.headers,
            body.collect().await.unwrap().to_bytes(),
        )
    }

    pub(crate) async fn login(&mut self, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let (status, _, body) = self
            .send("POST", "/v1/login", "application/json", body)
            .await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn token(&mut self, fields: &[(&str, &str)]) -> (u16, Value) {
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        let (status, headers, body) = self.send("POST", "/token", kind, form).await;
        assert_eq!(headers["cache-control"], "no-store");
        (status, serde_json::from_slice(&body).unwrap())
    }
}

/// The fields of an exchange of `token` for a ticket at the stage `audience`.
pub(crate) fn ticket_form<'a>(token: &'a str, audience: &'a str) -> Vec<(&'a str, &'a str)> {
    use casemate_api::issuer::names;
    vec![
        ("grant_type", names::GRANT_TYPE),
        ("subject_token", token),
        ("subject_token_type", names::ID_TOKEN),
        ("requested_token_type", names::ACCESS_TOKEN),
        ("audience", audience),
    ]
}

/// The fields of an exchange of `ticket` for a Transaction Token for the stage `next`.
pub(crate) fn transaction_form<'a>(ticket: &'a str, details: &'a str) -> Vec<(&'a str, &'a str)> {
    use casemate_api::issuer::names;
    vec![
        ("grant_type", names::GRANT_TYPE),
        ("subject_token", ticket),
        ("subject_token_type", names::ACCESS_TOKEN),
        ("requested_token_type", names::TRANSACTION_TOKEN),
        ("audience", "example.internal"),
        ("request_details", details),
    ]
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t0"))
}

/// Waits until `condition` holds.
pub(crate) async fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
