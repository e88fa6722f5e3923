//! Version 1 of the daemon's API, as types. JSON, members in kebab-case.
//!
//! Answers that run for a while are streams of lines, one JSON document each, and the last line says
//! how it ended: see [`UpLine`] and [`ProbeLine`]. A refusal is always an [`ApiError`].

use casemate_core::event::Event;
use casemate_core::receipt::Receipt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod probe;
mod status;
mod up;

pub use probe::{ProbeEnd, ProbeLine, ProbeRequest, ProbeStart, ProbeSummary};
pub use status::{
    CertificateStatus, EnclosureStatus, GateStatus, LaunchState, ModelStatus, Phase, StageStatus,
    Status,
};
pub use up::{DownReport, Leftover, UpDone, UpLine, UpProgress, UpRequest};

/// Why the daemon refused or failed, with what to do about it. Also the body of every 4xx and 5xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiError {
    /// A fixed word such as `port-taken`; scripts compare this one.
    pub code: String,
    /// What happened, for a person; one cause per line.
    pub message: String,
    /// What to do next, for a person; empty when we do not know.
    #[serde(default)]
    pub fix: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.message, self.code)
    }
}

/// `GET /v1/receipts`: the whole chain, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReceiptList {
    /// In the order of the chain.
    #[schema(value_type = Vec<Object>)]
    pub receipts: Vec<Receipt>,
}

/// `GET /v1/receipt-key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReceiptKey {
    /// The public key that receipts and evidence are signed with: SubjectPublicKeyInfo, PEM, P-256.
    pub public_key_pem: String,
    /// Lower-case hex SHA-256 of the key's DER form.
    pub key_id: String,
}

/// `GET /v1/events?after=`: at most a page of events, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EventPage {
    /// The events after the number asked for.
    pub events: Vec<NumberedEvent>,
    /// What to pass as `after` for the next page; the same as asked when there was none.
    pub next: u64,
}

/// One event and its place in the daemon's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NumberedEvent {
    /// Rises by at least one from event to event.
    pub number: u64,
    /// What was seen.
    #[schema(value_type = Object)]
    pub event: Event,
}

/// `GET /v1/logs/{enclosure}/{stage}?tail=`: the end of what a stage wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Logs {
    /// Lines, oldest first, with every control character made visible: a hostile stage writes these.
    pub lines: Vec<String>,
    /// Bytes that the bounded log had to forget.
    pub dropped_bytes: u64,
}

/// `GET /v1/trust`: what a client needs before its first login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trust {
    /// The trust domain.
    pub trust_domain: String,
    /// The certificates that vouch for it.
    pub bundle_pem: String,
    /// Where the issuer listens, such as `https://127.0.0.1:8444`.
    pub issuer_url: String,
}

/// `POST /v1/revoke`: at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RevokeRequest {
    /// One ticket, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Every ticket of one subject, by its SPIFFE ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
}

/// The answer to `POST /v1/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Revoked {
    /// How many gates were told.
    pub gates: u32,
    /// The number of the receipt that records it.
    pub receipt: u64,
}

/// `GET /v1/leftovers`: what is on the host and belongs to no running stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Leftovers {
    /// Empty when all is well.
    pub leftovers: Vec<Leftover>,
}
