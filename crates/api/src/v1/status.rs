//! What `GET /v1/status` says.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The whole node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// When it started, in seconds since 1970.
    pub since: u64,
    /// The trust domain, once the first enclosure has named it.
    pub trust_domain: Option<String>,
    /// Where the issuer listens.
    pub issuer_url: String,
    /// How many receipts the chain has.
    pub receipts: u64,
    /// What a receipt's `assurance` says on this node: `software`, `tpm-boot`, `tee`, `tee+gpu-cc`.
    pub assurance: String,
    /// Tickets issued since the chain began.
    pub tickets: u64,
    /// Every enclosure that was brought up, by name.
    pub enclosures: Vec<EnclosureStatus>,
}

/// One enclosure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EnclosureStatus {
    /// Its name.
    pub name: String,
    /// Its trust domain.
    pub trust_domain: String,
    /// When it was brought up, in seconds since 1970.
    pub since: u64,
    /// Its stages, in the order of the file.
    pub stages: Vec<StageStatus>,
    /// Its models.
    pub models: Vec<ModelStatus>,
}

/// What a stage is doing. Each phase has its own idea of what is normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its files are being brought in.
    Fetch,
    /// Its server is loading.
    Warm,
    /// It answers.
    Serve,
    /// It finishes what it has begun and takes nothing new.
    Drain,
}

/// How far a stage's launch got. Only `admitting` lets a call in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchState {
    /// Declared; nothing runs.
    Requested,
    /// The host and the plan were measured.
    Attested,
    /// Its models are opened.
    WeightsReady,
    /// Its sandbox was verified from inside.
    Confined,
    /// Its sandbox was attacked from inside and held.
    Probed,
    /// Its gate is open.
    Admitting,
    /// It died and waits for its next start; its gate is closed.
    BackingOff,
    /// It was stopped.
    Stopped,
    /// Its launch failed; see the message.
    Failed,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// Its profile, such as `llama.cpp`.
    pub profile: String,
    /// What it is doing.
    pub phase: Phase,
    /// How far its launch got.
    pub state: LaunchState,
    /// One sentence, empty when there is nothing to say.
    pub message: String,
    /// Its workload identity.
    pub spiffe_id: String,
    /// Host addresses it is exposed on.
    pub listens: Vec<String>,
    /// The models it was given.
    pub models: Vec<String>,
    /// The gate's certificate, once it has one.
    pub certificate: Option<CertificateStatus>,
    /// Times the stage was started again after it died.
    pub restarts: u32,
    /// The process id of its first process on the host, while it runs.
    pub pid: Option<u32>,
    /// Lower-case hex SHA-256 of the sandbox's plan.
    pub plan_digest: Option<String>,
    /// What the gate counted.
    pub gate: GateStatus,
    /// What the last probe found.
    pub probe: Option<super::ProbeSummary>,
}

/// A certificate's time left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CertificateStatus {
    /// Last second of validity, since 1970.
    pub not_after: u64,
    /// Seconds left; 0 when it has expired.
    pub seconds_left: u64,
    /// How often it was renewed since the gate started.
    pub rotations: u32,
}

/// Counters of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GateStatus {
    /// Requests let through.
    pub admitted: u64,
    /// Requests refused.
    pub refused: u64,
    /// Requests being answered now.
    pub in_flight: u64,
}

/// One opened or closed model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelStatus {
    /// `name@version`.
    pub model: String,
    /// Lower-case hex of the signed root digest, once it was verified.
    pub root_digest: Option<String>,
    /// Whether a view of it is mounted for a stage.
    pub opened: bool,
}
