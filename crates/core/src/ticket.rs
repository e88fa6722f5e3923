//! Tickets: short-lived signed permissions, as claims. Signing and verifying live in `identity`.
//!
//! Two kinds, never taken for one another: the [`TicketClaims`] of an RFC 9068 access token (`typ:
//! at+jwt`) that a caller presents at the edge, and the [`TransactionClaims`] of a Transaction Token
//! (`typ: txntoken+jwt`, draft-ietf-oauth-transaction-tokens) that gates carry along the call chain.

use serde::{Deserialize, Serialize};

use crate::name::{ModelVersion, Name};
use crate::spiffe::SpiffeId;
use crate::time::UnixTime;

/// The `typ` header of a ticket (RFC 9068 section 2.1).
pub const TICKET_TYPE: &str = "at+jwt";
/// The `typ` header of a Transaction Token.
pub const TRANSACTION_TYPE: &str = "txntoken+jwt";
/// The HTTP field that carries a Transaction Token; never `Authorization`.
pub const TRANSACTION_HEADER: &str = "txn-token";
/// The `type` of the one authorization detail we issue (RFC 9396).
pub const GRANT_TYPE: &str = "casemate_call";
/// No token longer than this is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What the holder may do at one stage. The `type` member makes it an RFC 9396 authorization detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Always [`GRANT_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The stage that may be called.
    pub stage: Name,
    /// Route classes that may be called, such as `chat`.
    pub routes: Vec<Name>,
    /// Model versions that may be named; empty means that the route must name none.
    pub models: Vec<ModelVersion>,
    /// Upper bounds on what one caller may use.
    #[serde(default)]
    pub limits: Limits,
}

/// Upper bounds; an absent bound means that the profile's own bound holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most tokens one answer may have; the gate refuses a request that asks for more and sets it when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_tokens: Option<u32>,
    /// The most requests in any 60 seconds, per subject.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests_per_minute: Option<u32>,
}

/// Proof of possession by certificate (RFC 8705 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Unpadded base64url of the SHA-256 of the holder's DER leaf certificate.
    #[serde(rename = "x5t#S256")]
    pub thumbprint: String,
}

/// The claims of a ticket (RFC 9068 section 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketClaims {
    /// The issuer's SPIFFE ID.
    pub iss: SpiffeId,
    /// Who the ticket speaks for.
    pub sub: SpiffeId,
    /// The SPIFFE ID of the one stage that accepts it.
    pub aud: SpiffeId,
    /// The client that asked for it; here always the subject.
    pub client_id: SpiffeId,
    /// Issued at.
    pub iat: UnixTime,
    /// Expires at: refused from this second on.
    pub exp: UnixTime,
    /// Unique id, for receipts and revocation.
    pub jti: String,
    /// The certificate that must stand behind the connection.
    pub cnf: Confirmation,
    /// Groups of the corporate login that the grant was decided on.
    pub groups: Vec<String>,
    /// Exactly one grant.
    pub authorization_details: Vec<Grant>,
}

/// The claims of a Transaction Token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionClaims {
    /// The issuer's SPIFFE ID.
    pub iss: SpiffeId,
    /// The trust domain, as its bare name: a Transaction Token is for a realm, not for a service.
    pub aud: String,
    /// Issued at.
    pub iat: UnixTime,
    /// Expires at.
    pub exp: UnixTime,
    /// One id for the whole call chain.
    pub txn: String,
    /// Who the chain speaks for.
    pub sub: SpiffeId,
    /// What it is for: the route classes, separated by spaces.
    pub scope: String,
    /// The workload that asked for it, and the only one that may present it.
    pub req_wl: SpiffeId,
    /// What may be done at the next stage; immutable along the chain.
    pub tctx: Grant,
}
