//! Attacking stages from inside, on demand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiError;

/// `POST /v1/probe`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeRequest {
    /// Only this enclosure; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclosure: Option<String>,
    /// Only this stage; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
}

/// One line of the answer. The last one is `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeLine {
    /// The findings of this stage follow.
    Stage(ProbeStart),
    /// A `casemate_core::finding::Finding`.
    #[schema(value_type = Object)]
    Finding(serde_json::Value),
    /// The signed evidence of the stage: a DSSE envelope around an in-toto statement.
    #[schema(value_type = Object)]
    Evidence(serde_json::Value),
    /// All stages were probed.
    Done(ProbeEnd),
    /// The probe could not be carried out: this is never a finding.
    Failed(ApiError),
}

/// A stage that is being probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeStart {
    /// The enclosure.
    pub enclosure: String,
    /// The stage.
    pub stage: String,
}

/// What was found over all stages that were probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeEnd {
    /// Sums over all stages.
    pub summary: ProbeSummary,
    /// Stages probed.
    pub stages: u32,
    /// Milliseconds for all of it.
    pub millis: u64,
}

/// Verdicts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeSummary {
    /// All checks.
    pub checks: u32,
    /// Attempts that were stopped.
    pub blocked: u32,
    /// Attempts that worked, those on the argued list among them.
    pub open: u32,
    /// Attempts that worked and are on the argued list, each with its reason.
    #[serde(default)]
    pub expected_open: u32,
    /// Attempts that could not be judged: never counted as held.
    pub inconclusive: u32,
    /// Checks that do not fit this host.
    pub not_applicable: u32,
}
