//! Bringing an enclosure up and down.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiError;

/// `POST /v1/enclosures`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpRequest {
    /// Absolute path of the file: names in it are relative to its directory, messages name it.
    pub path: String,
    /// The file's text.
    pub text: String,
}

/// One line of the answer to [`UpRequest`]. The last one is `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpLine {
    /// Something was reached.
    Progress(UpProgress),
    /// Every stage admits calls.
    Done(UpDone),
    /// Nothing is left of the attempt, unless the message says so.
    Failed(ApiError),
}

/// Something that was reached on the way up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpProgress {
    /// The stage; empty for the enclosure as a whole.
    pub stage: String,
    /// A [`super::LaunchState`] or a finer step, as a fixed word.
    pub phase: String,
    /// One sentence for a person.
    pub message: String,
}

/// An enclosure that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpDone {
    /// Its name.
    pub enclosure: String,
    /// Milliseconds from request to the last open gate.
    pub millis: u64,
    /// Host addresses that now answer, as `stage=address`.
    pub listens: Vec<String>,
}

/// The answer to `DELETE /v1/enclosures/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DownReport {
    /// The enclosure.
    pub enclosure: String,
    /// The stages that were stopped.
    pub stopped: Vec<String>,
    /// What could not be removed; empty when all is well.
    pub leftovers: Vec<Leftover>,
}

/// Something of ours that no running stage owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Leftover {
    /// `process`, `mount`, `namespace`, `cgroup`, `socket`, `container` or `file`.
    pub kind: String,
    /// Its path, process id or name.
    pub what: String,
}
