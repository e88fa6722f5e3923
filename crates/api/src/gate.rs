//! What the daemon and a gate tell each other.
//!
//! The gate reads [`Settings`] from descriptor 3, to the end. Descriptor 4 is a stream socket on which
//! both sides write one JSON value a line, at most [`MAX_LINE`] bytes: [`FromGate`] and [`ToGate`].
//! The gate starts closed: it admits nothing before [`ToGate::Admit`] says so.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use casemate_core::admission::InboundFlow;
use casemate_core::event::Event;
use casemate_core::name::Name;
use casemate_core::profile::Profile;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;

/// The longest line on the control channel, in bytes.
pub const MAX_LINE: usize = 1024 * 1024;
/// The descriptor that the settings are read from.
pub const SETTINGS_FD: i32 = 3;
/// The descriptor of the control channel.
pub const CONTROL_FD: i32 = 4;
/// The request field that carries the handle of an admitted request through a stage.
pub const TRANSACTION_FIELD: &str = "casemate-transaction";
/// The response field that carries the code of a refusal.
pub const REFUSAL_FIELD: &str = "casemate-refusal";

/// Everything one gate is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The enclosure.
    pub enclosure: Name,
    /// The stage that this is the gate of.
    pub stage: Name,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// What the stage's server answers to.
    pub profile: Profile,
    /// Who may call the stage.
    pub flows: Vec<InboundFlow>,
    /// Where the stage's server listens, inside the stage's network namespace.
    pub upstream: SocketAddr,
    /// The listening sockets that the gate was given.
    pub listeners: Vec<Listener>,
    /// The other stages that this stage may call.
    #[serde(default)]
    pub outbound: Vec<Outbound>,
    /// The issuer's Unix socket; needed where `outbound` names a stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<PathBuf>,
    /// The keys that tickets are signed with: a JSON Web Key Set.
    pub ticket_keys: serde_json::Value,
    /// The certificates that this trust domain trusts, as PEM.
    pub bundle_pem: String,
    /// Bounds on what a peer may make the gate hold or wait for.
    #[serde(default)]
    pub bounds: Bounds,
}

/// A listening socket that the gate was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// The descriptor.
    pub fd: i32,
    /// Who is expected there.
    pub kind: ListenerKind,
}

/// Who is expected at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// Clients with tickets, over TCP on the host.
    Exposed,
    /// Gates of other stages with Transaction Tokens, over a Unix socket.
    Mesh,
}

/// Another stage that this stage may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outbound {
    /// The other stage.
    pub to: Name,
    /// Where the gate listens for its own stage, on the loopback of the stage's network namespace.
    pub listen: SocketAddr,
    /// Where the other stage's gate listens.
    pub socket: PathBuf,
}

/// Bounds on what a peer may make the gate hold or wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Bounds {
    /// Connections of one kind that are open at one time: of known clients, of other gates, of the stage.
    /// One client has an eighth of them at most. Of clients that nobody knows yet there are a quarter as
    /// many, and a sixteenth from one address.
    pub connections: usize,
    /// Requests that run at one time, over all connections.
    pub requests: usize,
    /// HTTP/2 streams that are open at one time on one connection.
    pub streams_per_connection: u32,
    /// Bytes of request line and header fields.
    pub header_bytes: u32,
    /// Header fields.
    pub header_fields: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Milliseconds until the TLS handshake is done.
    pub handshake_ms: u64,
    /// Milliseconds from the first byte of a request's head to its last.
    pub header_ms: u64,
    /// Milliseconds without one more byte of a request's body.
    pub body_idle_ms: u64,
    /// Milliseconds until a request's body is complete.
    pub body_total_ms: u64,
    /// Milliseconds that a connection may be open without a request.
    pub idle_ms: u64,
    /// Milliseconds until the server's answer begins.
    pub first_byte_ms: u64,
    /// Milliseconds between two pieces of an answer, and for the client to take one.
    pub stream_idle_ms: u64,
    /// Milliseconds until an answer is complete.
    pub stream_total_ms: u64,
    /// Bytes of an answer.
    pub answer_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 512,
            streams_per_connection: 128,
            header_bytes: 16 * 1024,
            header_fields: 64,
            body_bytes: 1024 * 1024,
            handshake_ms: 10_000,
            header_ms: 10_000,
            body_idle_ms: 10_000,
            body_total_ms: 60_000,
            idle_ms: 120_000,
            first_byte_ms: 300_000,
            stream_idle_ms: 120_000,
            stream_total_ms: 3_600_000,
            answer_bytes: 256 * 1024 * 1024,
        }
    }
}

/// What a gate says to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromGate {
    /// It made a key and needs a certificate for it.
    Csr(Csr),
    /// It holds a certificate and its listeners accept. It does not admit yet.
    Ready(Nothing),
    /// It decided something.
    Event(Box<Event>),
    /// Its counters, every minute and when it drains.
    Stats(Stats),
}

/// A request for a certificate. The private key never leaves the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Csr {
    /// The number that the answer repeats.
    pub id: u64,
    /// The PKCS #10 request, as PEM.
    pub csr_pem: String,
}

/// No content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What a gate counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stats {
    /// Requests that were let through.
    pub admitted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Running answers that were cut.
    pub cut: u64,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Certificates taken over, the first one included.
    pub rotations: u64,
    /// Events of refusals that were not sent because the daemon did not read. Those of admitted
    /// requests are never dropped: the request is refused instead.
    pub events_dropped: u64,
    /// Requests that run now.
    pub running: u64,
    /// Connections that are open now.
    pub connections: u64,
}

/// What the daemon says to a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToGate {
    /// The certificate that was asked for.
    Svid(Svid),
    /// The certificate that was asked for is not given.
    SvidRefused(SvidRefused),
    /// The trust bundle is now this one.
    Bundle(Bundle),
    /// The keys that tickets are signed with are now these.
    Keys(Keys),
    /// A token or a subject is refused from now on, running answers included.
    Revoke(Revoke),
    /// Who may call the stage is now this; running answers whose flow is gone are cut.
    Flows(Vec<InboundFlow>),
    /// Whether calls are admitted; `false` also cuts running answers.
    Admit(bool),
    /// Running answers may end, new calls are refused; the gate exits when none runs.
    Drain(Nothing),
}

/// The certificate that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Svid {
    /// The number of the request.
    pub id: u64,
    /// Leaf first, as PEM.
    pub chain_pem: String,
}

/// Why no certificate is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SvidRefused {
    /// The number of the request.
    pub id: u64,
    /// In words.
    pub reason: String,
}

/// A trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bundle {
    /// The certificates, as PEM.
    pub pem: String,
}

/// Ticket keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keys {
    /// A JSON Web Key Set.
    pub jwks: serde_json::Value,
}

/// A token, a subject, or both, that are refused from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Revoke {
    /// Until when what was issued to the subject is refused; until now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixTime>,
    /// The ticket's `jti`, or the `txn` of a call chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<SpiffeId>,
}
