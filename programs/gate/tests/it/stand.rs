//! A gate on a stand: the real program, a throw-away authority, and a daemon that does what a test says.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use casemate_api::gate::{
    Bounds, FromGate, Listener, ListenerKind, Outbound, Settings, Svid as SvidLine, ToGate,
};
use casemate_core::admission::{Caller, InboundFlow};
use casemate_core::name::Name;
use casemate_core::profile::{self, Profile};
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::ticket::{
    Confirmation, GRANT_TYPE, Grant, Limits, TicketClaims, TransactionClaims,
};
use casemate_core::time::{Clock, SystemClock, UnixTime};
use casemate_identity::authority::Authority;
use casemate_identity::jws::SigningKey;
use casemate_identity::svid::{CertificateRequest, KeyPair, Svid, make_csr};
use casemate_identity::ticket::{TicketSigner, fresh_id};
use casemate_identity::tls::{self, BundleSource, Peers, SvidSource, unused_server_name};
use casemate_linux::memory::sealed_file;
use casemate_linux::process::{Child, Command};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub(crate) const MODEL: &str = "smol@1";

/// The authority of one trust domain.
pub(crate) struct Realm {
    pub(crate) domain: TrustDomain,
    pub(crate) authority: Authority,
    pub(crate) signer: TicketSigner,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(crate) fn now() -> UnixTime {
    SystemClock.now()
}

impl Realm {
    pub(crate) fn new() -> Arc<Self> {
        let domain: TrustDomain = "example.internal".parse().expect("a trust domain");
        let day = Duration::from_secs(24 * 3600);
        Arc::new(Self {
            authority: Authority::new(domain.clone(), day, now()).expect("an authority"),
            signer: TicketSigner::new(SigningKey::generate().expect("a key")),
            domain,
        })
    }

    pub(crate) fn stage(&self, stage: &str) -> SpiffeId {
        self.domain.stage(&name("chat"), &name(stage))
    }

    pub(crate) fn issue(&self, csr_pem: &str, id: &SpiffeId, lifetime: Duration) -> String {
        let request = CertificateRequest::from_pem(csr_pem).expect("a request");
        let issued = self
            .authority
            .issue(&request, id, lifetime, now())
            .expect("a certificate");
        issued.chain_pem()
    }

    pub(crate) fn svid(&self, id: &SpiffeId, lifetime: Duration) -> Svid {
        let key = KeyPair::generate().expect("a key");
        let chain = self.issue(&make_csr(&key).expect("a request"), id, lifetime);
        Svid::from_pem(&chain, key).expect("an SVID")
    }

    /// A client that is `/user/idp/<who>`.
    pub(crate) fn client(self: &Arc<Self>, who: &str) -> Client {
        let id = self.domain.user("idp", who).expect("a user");
        self.client_of(&id)
    }

    pub(crate) fn client_of(self: &Arc<Self>, id: &SpiffeId) -> Client {
        let svids = SvidSource::empty();
        svids
            .replace(self.svid(id, Duration::from_secs(3600)))
            .expect("an SVID");
        Client {
            realm: Arc::clone(self),
            id: id.clone(),
            svids: Some(svids),
        }
    }

    pub(crate) fn bundle(&self) -> Arc<BundleSource> {
        BundleSource::new(self.authority.bundle().expect("a bundle"))
    }

    fn jwks(&self) -> serde_json::Value {
        serde_json::from_str(&self.signer.jwks().to_json()).expect("keys")
    }
}

/// Somebody who calls a gate.
pub(crate) struct Client {
    pub(crate) realm: Arc<Realm>,
    pub(crate) id: SpiffeId,
    pub(crate) svids: Option<Arc<SvidSource>>,
}

impl Client {
    pub(crate) fn thumbprint(&self) -> String {
        let svid = self
            .svids
            .as_ref()
            .and_then(|svids| svids.current())
            .expect("an SVID");
        svid.thumbprint().to_owned()
    }

    /// The claims of a ticket for the stage `infer` with everything granted.
    pub(crate) fn claims(&self, stage: &str) -> TicketClaims {
        TicketClaims {
            iss: self.realm.domain.issuer(),
            sub: self.id.clone(),
            aud: self.realm.stage(stage),
            client_id: self.id.clone(),
            iat: now().minus(Duration::from_secs(10)),
            exp: now().plus(Duration::from_secs(300)),
            jti: fresh_id().expect("an id"),
            cnf: Confirmation {
                thumbprint: self.thumbprint(),
            },
            groups: vec!["analysts".to_owned()],
            authorization_details: vec![grant(stage)],
        }
    }

    pub(crate) fn ticket(&self, stage: &str) -> String {
        self.sign(&self.claims(stage))
    }

    pub(crate) fn sign(&self, claims: &TicketClaims) -> String {
        self.realm.signer.sign_ticket(claims).expect("a ticket")
    }

    pub(crate) fn tls(&self, stage: &str, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let peers = Peers::only(self.realm.stage(stage));
        let clock = Arc::new(SystemClock);
        let config =
            tls::client_config(self.svids.clone(), self.realm.bundle(), peers, clock, alpn);
        Arc::new(config.expect("TLS settings"))
    }

    /// A connection to the gate of `infer` at `address`.
    pub(crate) fn connect(&self, address: SocketAddr) -> Connection {
        self.connect_to(address, "infer")
    }

    pub(crate) fn connect_to(&self, address: SocketAddr, stage: &str) -> Connection {
        let stream = TcpStream::connect(address).expect("a connection");
        self.secure(stream, stage)
    }

    pub(crate) fn secure(&self, stream: TcpStream, stage: &str) -> Connection {
        stream.set_nodelay(true).expect("no delay");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let tls = ClientConnection::new(self.tls(stage, &[b"http/1.1"]), unused_server_name());
        Connection {
            stream: StreamOwned::new(tls.expect("a client"), stream),
            rest: Vec::new(),
        }
    }
}

pub(crate) fn grant(stage: &str) -> Grant {
    Grant {
        kind: GRANT_TYPE.to_owned(),
        stage: name(stage),
        routes: vec![name("chat"), name("health")],
        models: vec![MODEL.parse().expect("a model")],
        limits: Limits::default(),
    }
}

/// One TLS connection on which bytes are written as they are.
pub(crate) struct Connection {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    rest: Vec<u8>,
}

/// An answer, as read from the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The sizes of the chunks, when it came in chunks.
    pub(crate) chunks: Vec<Vec<u8>>,
    /// It ended as announced.
    pub(crate) complete: bool,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn code(&self) -> &str {
        self.field("casemate-refusal").unwrap_or("")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Connection {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Reply {
        if self.write(bytes).is_err() {
            // The gate may have closed after an early refusal, which can still be read.
        }
        self.read().unwrap_or_default()
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.rest.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.rest[..end]).into_owned();
                self.rest.drain(..end + 2);
                return Ok(line);
            }
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.rest.len() < count {
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.rest.drain(..count).collect())
    }

    /// Reads status line and fields.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        let mut reply = Reply::default();
        let line = self.line()?;
        reply.status = line
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(reply);
            }
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            reply
                .fields
                .push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// Reads one chunk; empty at the end.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let data = self.exactly(size)?;
        self.exactly(2)?;
        Ok(data)
    }

    /// Reads one whole answer, or what there is of it.
    pub(crate) fn read(&mut self) -> io::Result<Reply> {
        let mut reply = self.head()?;
        while reply.status == 100 {
            reply = self.head()?;
        }
        if reply.field("transfer-encoding") == Some("chunked") {
            while let Ok(chunk) = self.chunk() {
                if chunk.is_empty() {
                    reply.complete = true;
                    break;
                }
                reply.body.extend_from_slice(&chunk);
                reply.chunks.push(chunk);
            }
        } else {
            let length = reply
                .field("content-length")
                .and_then(|text| text.parse().ok());
            let length: usize = length.unwrap_or(0);
            if let Ok(body) = self.exactly(length) {
                reply.body = body;
                reply.complete = true;
            }
        }
        Ok(reply)
    }
}

/// A request with a JSON body, as a client library would send it.
pub(crate) fn post(path: &str, ticket: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {ticket}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn get(path: &str, ticket: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {ticket}\r\n\r\n")
        .into_bytes()
}

pub(crate) const CHAT: &str = "/v1/chat/completions";

pub(crate) fn question() -> String {
    format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"hello"}}]}}"#)
}

/// A gate that runs.
pub(crate) struct GateProcess {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    control: Mutex<UnixStream>,
    said: Arc<Mutex<Said>>,
}

/// What the gate said on its control channel.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) ready: bool,
    pub(crate) certificates: u32,
    pub(crate) events: Vec<casemate_core::event::Event>,
}

/// How a gate is started.
pub(crate) struct Plan {
    pub(crate) stage: &'static str,
    pub(crate) profile: Profile,
    pub(crate) flows: Vec<InboundFlow>,
    pub(crate) upstream: SocketAddr,
    pub(crate) listen: SocketAddr,
    pub(crate) mesh: Option<PathBuf>,
    pub(crate) outbound: Vec<Outbound>,
    pub(crate) issuer: Option<PathBuf>,
    pub(crate) bounds: Bounds,
    pub(crate) svid_lifetime: Duration,
    pub(crate) admit: bool,
}

impl Plan {
    pub(crate) fn new(upstream: SocketAddr) -> Self {
        Self {
            stage: "infer",
            profile: profile::built_in("llama.cpp").expect("a profile"),
            flows: vec![flow(Caller::Group("analysts".to_owned()))],
            upstream,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            mesh: None,
            outbound: Vec::new(),
            issuer: None,
            bounds: Bounds::default(),
            svid_lifetime: Duration::from_secs(3600),
            admit: true,
        }
    }
}

pub(crate) fn flow(from: Caller) -> InboundFlow {
    InboundFlow {
        from,
        routes: vec![name("chat"), name("health")],
        models: vec![MODEL.parse().expect("a model")],
        limits: Limits {
            max_tokens: Some(256),
            requests_per_minute: None,
        },
    }
}

impl GateProcess {
    /// Starts the program at `program` and waits until it is ready.
    pub(crate) fn start(program: &Path, realm: &Arc<Realm>, plan: Plan) -> Self {
        let door = TcpListener::bind(plan.listen).expect("a listener");
        let address = door.local_addr().expect("an address");
        let mut listeners = vec![Listener {
            fd: 5,
            kind: ListenerKind::Exposed,
        }];
        let (ours, theirs) = UnixStream::pair().expect("a channel");
        let mut command = Command::new(program);
        let words = io::stderr().as_fd().try_clone_to_owned().expect("a stream");
        command
            .descriptor(2, words)
            .descriptor(4, theirs)
            .descriptor(5, door);
        if let Some(path) = &plan.mesh {
            listeners.push(Listener {
                fd: 6,
                kind: ListenerKind::Mesh,
            });
            command.descriptor(6, UnixListener::bind(path).expect("a mesh listener"));
        }
        let settings = Settings {
            enclosure: name("chat"),
            stage: name(plan.stage),
            trust_domain: realm.domain.clone(),
            profile: plan.profile,
            flows: plan.flows,
            upstream: plan.upstream,
            listeners,
            outbound: plan.outbound,
            issuer: plan.issuer,
            ticket_keys: realm.jwks(),
            bundle_pem: realm.authority.certificate_pem(),
            bounds: plan.bounds,
        };
        let text = serde_json::to_vec(&settings).expect("settings");
        command.descriptor(3, sealed_file("settings", &text).expect("a memory file"));
        let child = command.spawn().expect("the gate");
        drop(command);
        let said = Arc::new(Mutex::new(Said::default()));
        let gate = Self {
            child,
            address,
            control: Mutex::new(ours.try_clone().expect("a channel")),
            said: Arc::clone(&said),
        };
        let (realm, id) = (Arc::clone(realm), realm.stage(plan.stage));
        std::thread::spawn(move || answer(&ours, &realm, &id, plan.svid_lifetime, &said));
        wait("the gate is ready", || gate.said().ready);
        if plan.admit {
            gate.order(&ToGate::Admit(true));
            gate.settle();
        }
        gate
    }

    /// What the gate said so far.
    pub(crate) fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().expect("not poisoned")
    }

    pub(crate) fn order(&self, order: &ToGate) {
        let mut line = serde_json::to_vec(order).expect("an order");
        line.push(b'\n');
        self.control
            .lock()
            .expect("not poisoned")
            .write_all(&line)
            .expect("the channel");
    }

    /// Waits until the orders given so far are carried out: each is one line, obeyed in order, and the
    /// revocation of nobody leaves an event behind.
    pub(crate) fn settle(&self) {
        let mark = fresh_id().expect("an id");
        self.order(&ToGate::Revoke(casemate_api::gate::Revoke {
            at: None,
            jti: Some(mark.clone()),
            sub: None,
        }));
        wait("the orders are carried out", || {
            self.said()
                .events
                .iter()
                .any(|event| event.subject.as_deref() == Some(&mark))
        });
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a line");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }
}

impl Drop for GateProcess {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            eprintln!("cannot stop the gate: {error}");
        }
    }
}

/// Does what the daemon does: certificates for requests, and a memory for what is said.
fn answer(
    channel: &UnixStream,
    realm: &Realm,
    id: &SpiffeId,
    lifetime: Duration,
    said: &Mutex<Said>,
) {
    let mut writer = channel.try_clone().expect("a channel");
    for line in BufReader::new(channel).lines() {
        let Ok(line) = line else { return };
        let line: FromGate = serde_json::from_str(&line).expect("a line of the gate");
        let mut said = said.lock().expect("not poisoned");
        match line {
            FromGate::Csr(csr) => {
                let chain_pem = realm.issue(&csr.csr_pem, id, lifetime);
                let svid = ToGate::Svid(SvidLine {
                    id: csr.id,
                    chain_pem,
                });
                let mut line = serde_json::to_vec(&svid).expect("an order");
                line.push(b'\n');
                said.certificates += 1;
                if writer.write_all(&line).is_err() {
                    return;
                }
            }
            FromGate::Ready(_) => said.ready = true,
            FromGate::Event(event) => said.events.push(*event),
            FromGate::Stats(_) => {}
        }
    }
}

/// Waits for a condition, within ten seconds.
pub(crate) fn wait(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "timed out: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Signs what a real issuer would: a Transaction Token for `stage`, asked for by `peer`.
pub(crate) fn transaction(
    realm: &Realm,
    peer: &SpiffeId,
    subject: &SpiffeId,
    stage: &str,
) -> String {
    let claims = TransactionClaims {
        iss: realm.domain.issuer(),
        aud: realm.domain.as_str().to_owned(),
        iat: now().minus(Duration::from_secs(1)),
        exp: now().plus(Duration::from_secs(60)),
        txn: fresh_id().expect("an id"),
        sub: subject.clone(),
        scope: "chat health".to_owned(),
        req_wl: peer.clone(),
        tctx: grant(stage),
    };
    realm.signer.sign_transaction(&claims).expect("a token")
}
