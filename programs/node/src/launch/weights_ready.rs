//! `WeightsReady`: the models are open and the network namespace exists. The way on is the sandbox.

use std::path::PathBuf;

use casemate_api::v1::{LaunchState, Phase};
use casemate_core::event::{Severity, kind};
use casemate_core::name::Name;
use casemate_core::receipt::ReceiptKind;
use casemate_sandbox::bundle::Bundle;
use casemate_sandbox::plan::Plan;
use casemate_sandbox::stage::{self, RunStageError};

use super::{Attestation, Confined, Ground};
use crate::failure::{Code, Failure};
use crate::gate::Gate;
use crate::journal::fact;
use crate::network::Network;
use crate::view::View;

/// A stage whose weights are open. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct WeightsReady {
    pub(super) house: House,
}

/// What stays when a stage's server is started anew. Fields are dropped in this order.
#[derive(Debug)]
pub(super) struct House {
    pub(super) gate: Option<Gate>,
    pub(super) views: Vec<View>,
    pub(super) network: Network,
    pub(super) plan: Plan,
    pub(super) attestation: Attestation,
}

impl House {
    /// The names of the variables that the server is given.
    pub(super) fn variables(&self) -> Vec<String> {
        let environment = &self.plan.confinement.server.environment;
        let names = environment
            .iter()
            .filter_map(|variable| variable.split_once('='));
        names.map(|(name, _)| name.to_owned()).collect()
    }
}

impl WeightsReady {
    pub(super) const fn new(
        attestation: Attestation,
        plan: Plan,
        network: Network,
        views: Vec<View>,
    ) -> Self {
        Self {
            house: House {
                gate: None,
                views,
                network,
                plan,
                attestation,
            },
        }
    }

    /// Back from a stage whose server died: weights and gate are still there, the gate is closed.
    pub(super) const fn kept(house: House) -> Self {
        Self { house }
    }

    /// Builds the sandbox and has its first process compare it with the plan.
    pub(crate) fn confine(self, ground: &Ground) -> Result<Confined, Failure> {
        ground.go_on()?;
        let plan = &self.house.plan;
        let bundle = ground.node.settings.run_dir("bundles").join(&plan.id);
        let output = ground.log_pipe()?;
        let runc = ground.node.host.runc()?;
        let confined = Bundle::prepare(plan, &bundle)
            .map_err(RunStageError::from)
            .and_then(|bundle| stage::create(runc, plan, bundle, output))
            .and_then(stage::Created::confine)
            .map_err(|error| refused(ground, &error))?;
        let found = confined.confirmation();
        let receipt = [
            fact("plan-digest", &found.digest),
            fact("attestation", self.house.attestation.receipt()),
            fact("mounts", found.mounts),
            fact("landlock-abi", found.landlock_abi),
            fact("network-namespace", found.namespaces.network),
            fact("runtime", ground.node.host.runtime()),
        ];
        ground.record(ReceiptKind::StageConfined, receipt.into())?;
        let event = ground.event(kind::STAGE_CONFINED, Severity::Info);
        ground
            .node
            .journal
            .add(event.fact("mounts", found.mounts.to_string()));
        let message = format!("sandbox equals its plan ({} mounts compared)", found.mounts);
        ground.reached(LaunchState::Confined, Phase::Warm, &message);
        Ok(Confined::new(self.house, confined))
    }
}

/// Where the stage's network namespace is named.
pub(super) fn network_path(ground: &Ground) -> PathBuf {
    ground
        .node
        .settings
        .run_dir("netns")
        .join(ground.board.id())
}

/// Where a model's view for this stage is mounted.
pub(super) fn view_path(ground: &Ground, model: &Name) -> PathBuf {
    View::path_for(&ground.node.settings, &ground.board, model)
}

fn refused(ground: &Ground, error: &RunStageError) -> Failure {
    let code = match error {
        RunStageError::Mismatch(_) | RunStageError::Limits { .. } => {
            let event = ground.event(kind::STAGE_MISMATCH, Severity::Error);
            ground
                .node
                .journal
                .add(event.fact("reason", crate::report(error)));
            Code::SandboxMismatch
        }
        RunStageError::Runtime(_)
        | RunStageError::Bundle(_)
        | RunStageError::Prepare { .. }
        | RunStageError::Failed(_)
        | RunStageError::Protocol(_) => Code::SandboxFailed,
    };
    let message = format!("stage `{}`: {}", ground.stage.name, crate::report(error));
    ground.with_log(Failure::new(code, message))
}
