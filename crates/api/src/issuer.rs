//! What the daemon and the issuer tell each other, and the bodies of the issuer's own HTTP API.
//!
//! The issuer reads [`Startup`] from descriptor 3, to the end. Descriptor 4 is a stream socket on
//! which both sides write one JSON value a line, at most [`MAX_LINE`] bytes: [`FromIssuer`] and
//! [`ToIssuer`]. It listens on the two sockets that the settings name by descriptor: TCP for people
//! and their tools, a Unix socket for gates. Keys in the settings are in the clear: they travel in a
//! sealed memory file and are wiped by both sides.

use std::fmt;

use serde::{Deserialize, Serialize};

use casemate_core::admission::InboundFlow;
use casemate_core::enclosure::IdentityProvider;
use casemate_core::event::Event;
use casemate_core::name::Name;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;

/// The longest line on the control channel, in bytes.
pub const MAX_LINE: usize = 1024 * 1024;
/// The descriptor that the settings are read from.
pub const SETTINGS_FD: i32 = 3;
/// The descriptor of the control channel.
pub const CONTROL_FD: i32 = 4;
/// The descriptor that the TCP listener usually has.
pub const TCP_FD: i32 = 5;
/// The descriptor that the Unix listener usually has.
pub const MESH_FD: i32 = 6;

/// Where a login is sent.
pub const LOGIN_PATH: &str = "/v1/login";
/// The token endpoint (RFC 8693).
pub const TOKEN_PATH: &str = "/token";
/// The keys that tickets are signed with.
pub const JWKS_PATH: &str = "/jwks.json";
/// The trust bundle.
pub const BUNDLE_PATH: &str = "/bundle.pem";

/// What descriptor 3 holds. [`Settings`] alone are taken too: then nothing was revoked before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Startup {
    /// The settings.
    pub settings: Settings,
    /// What was revoked before, with its times: it holds before the first connection is accepted.
    #[serde(default)]
    pub revocations: Vec<Revocation>,
}

/// A token, a subject, or both, that are refused since a certain time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Revocation {
    /// Since when: of a subject, everything that was issued until then is refused.
    pub at: UnixTime,
    /// The ticket's `jti`, or the `txn` of a call chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The subject; it may log in anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<SpiffeId>,
}

/// How the issuer does its work.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The authority's certificate, as PEM.
    pub authority_pem: String,
    /// The authority's private key, as PKCS #8 PEM.
    pub authority_key_pem: String,
    /// The private key that tickets are signed with, as PKCS #8 PEM.
    pub ticket_key_pem: String,
    /// The TCP listener's descriptor.
    pub tcp_fd: i32,
    /// The Unix listener's descriptor.
    pub mesh_fd: i32,
    /// Roots for calling identity providers, as PEM; the system's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_roots_pem: Option<String>,
    /// How long what it issues lives.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// Bounds on what a peer may make the issuer hold or wait for.
    #[serde(default)]
    pub bounds: Bounds,
    /// The enclosures that it knows from the start.
    #[serde(default)]
    pub enclosures: Vec<EnclosurePolicy>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("trust_domain", &self.trust_domain)
            .field("lifetimes", &self.lifetimes)
            .finish_non_exhaustive()
    }
}

/// How long what the issuer issues lives, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Lifetimes {
    /// Certificates of people.
    pub user_secs: u32,
    /// Certificates of stages.
    pub stage_secs: u32,
    /// Tickets; never longer than the certificate they are bound to.
    pub ticket_secs: u32,
    /// Transaction Tokens.
    pub transaction_secs: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            user_secs: 8 * 3600,
            stage_secs: 3600,
            ticket_secs: 300,
            transaction_secs: 60,
        }
    }
}

/// Bounds on what a peer may make the issuer hold or wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Bounds {
    /// Connections that are open at one time, over both listeners.
    pub connections: usize,
    /// HTTP/2 streams that are open at one time on one connection.
    pub streams_per_connection: u32,
    /// Bytes of a request's header fields.
    pub header_bytes: u32,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Milliseconds until the TLS handshake is done.
    pub handshake_ms: u64,
    /// Milliseconds until a request's head is complete.
    pub header_ms: u64,
    /// Milliseconds until a request's body is complete.
    pub body_ms: u64,
    /// Milliseconds that a connection may live.
    pub connection_ms: u64,
    /// Requests in any 60 seconds by one address.
    pub requests_per_minute: u32,
    /// Requests in any 60 seconds over the Unix socket by one gate.
    pub gate_requests_per_minute: u32,
    /// Transaction Tokens in any 60 seconds that one gate asks for on behalf of one caller.
    pub caller_requests_per_minute: u32,
    /// Milliseconds until an identity provider's answer is complete.
    pub provider_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 512,
            streams_per_connection: 32,
            header_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            handshake_ms: 10_000,
            header_ms: 10_000,
            body_ms: 10_000,
            connection_ms: 10 * 60_000,
            requests_per_minute: 600,
            gate_requests_per_minute: 60_000,
            caller_requests_per_minute: 6_000,
            provider_ms: 5_000,
        }
    }
}

/// Who may be issued what for one enclosure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EnclosurePolicy {
    /// The enclosure.
    pub enclosure: Name,
    /// Whose logins count.
    pub identity_providers: Vec<IdentityProvider>,
    /// The stages, each with the flows that lead to it.
    pub stages: Vec<StagePolicy>,
}

/// Who may call one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StagePolicy {
    /// The stage.
    pub stage: Name,
    /// The flows that lead to it, as its gate has them.
    pub flows: Vec<InboundFlow>,
}

/// What the daemon says to the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToIssuer {
    /// Issue a certificate for a stage whose gate the daemon started.
    IssueStage(IssueStage),
    /// This enclosure's policy is now this.
    Enclosure(SetEnclosure),
    /// This enclosure is gone: nothing is issued for it any more.
    RemoveEnclosure(RemoveEnclosure),
    /// A token or a subject is refused from now on.
    Revoke(Revoke),
    /// A token or a subject is refused since the time that the daemon wrote down.
    RevokeAt(RevokeAt),
}

/// A certificate request of a stage's gate, relayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IssueStage {
    /// The number that the answer repeats.
    pub id: u64,
    /// Who the daemon knows the gate to be.
    pub spiffe_id: SpiffeId,
    /// The PKCS #10 request, as PEM; only its key is used.
    pub csr_pem: String,
}

/// An enclosure to add or to replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetEnclosure {
    /// The number that the answer repeats.
    pub id: u64,
    /// Its policy.
    pub policy: EnclosurePolicy,
}

/// An enclosure to forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RemoveEnclosure {
    /// The number that the answer repeats.
    pub id: u64,
    /// The enclosure.
    pub enclosure: Name,
}

/// A token, a subject, or both, that are refused from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Revoke {
    /// The number that the answer repeats.
    pub id: u64,
    /// The ticket's `jti`, or the `txn` of a call chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The subject: its certificates and tickets issued until now are refused; it may log in anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<SpiffeId>,
}

/// A revocation with its time: telling it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RevokeAt {
    /// The number that the answer repeats.
    pub id: u64,
    /// What is revoked, and since when.
    pub revocation: Revocation,
}

/// What the issuer says to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromIssuer {
    /// It is confined and its listeners accept.
    Ready(Ready),
    /// The certificate that was asked for.
    Svid(Svid),
    /// What was asked for was done.
    Done(Done),
    /// What was asked for is refused.
    Refused(Refused),
    /// It decided something.
    Event(Box<Event>),
}

/// The issuer serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ready {
    /// The keys that tickets are signed with: a JSON Web Key Set, for the gates.
    pub jwks: serde_json::Value,
    /// The trust bundle, as PEM.
    pub bundle_pem: String,
    /// The Landlock ABI that it is confined with.
    pub landlock_abi: u32,
}

/// The certificate that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Svid {
    /// The number of the request.
    pub id: u64,
    /// Whom it names.
    pub spiffe_id: SpiffeId,
    /// Leaf first, as PEM.
    pub chain_pem: String,
    /// Refused from this second on.
    pub not_after: UnixTime,
    /// Unpadded base64url of the SHA-256 of the leaf.
    pub thumbprint: String,
}

/// What was asked for was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Done {
    /// The number of the request.
    pub id: u64,
}

/// What was asked for is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Refused {
    /// The number of the request.
    pub id: u64,
    /// In words.
    pub reason: String,
}

/// The body of `POST /v1/login`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The corporate ID token.
    pub id_token: String,
    /// The PKCS #10 request, as PEM: proof of possession of the key that the certificate is for.
    pub csr_pem: String,
    /// The nonce that the login was started with, when the caller started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LoginRequest(redacted)")
    }
}

/// The answer to `POST /v1/login`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginResponse {
    /// The certificate chain, leaf first, as PEM.
    pub svid_pem: String,
    /// The trust bundle, as PEM.
    pub bundle_pem: String,
    /// Whom the certificate names.
    pub spiffe_id: SpiffeId,
    /// The groups that the login gives.
    pub groups: Vec<String>,
    /// The second from which the certificate is refused.
    pub expires: UnixTime,
}

/// The answer of the token endpoint (RFC 8693 section 2.2.1).
#[derive(Serialize, Deserialize)]
pub struct TokenResponse {
    /// The token.
    pub access_token: String,
    /// What kind of token it is.
    pub issued_token_type: String,
    /// `Bearer` for a ticket, which its certificate binding makes useless to others; `N_A` otherwise.
    pub token_type: String,
    /// Seconds until it is refused.
    pub expires_in: u64,
    /// The route classes granted, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenResponse")
            .field("issued_token_type", &self.issued_token_type)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// A refusal of the token endpoint or of the login (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRefusal {
    /// The code, such as `invalid_target`.
    pub error: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
}

/// Names of RFC 8693 and of Transaction Tokens.
pub mod names {
    /// The one `grant_type` of the token endpoint.
    pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
    /// A corporate ID token.
    pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
    /// A ticket.
    pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    /// A Transaction Token.
    pub const TRANSACTION_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
    /// The form member by which a caller may ask for less than the usual lifetime, in seconds.
    pub const REQUESTED_LIFETIME: &str = "requested_lifetime";
}
