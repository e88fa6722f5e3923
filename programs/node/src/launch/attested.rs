//! `Attested`: host and plan are measured and recorded. The way on is to open the weights.

use casemate_api::v1::{LaunchState, Phase};
use casemate_sandbox::plan::Plan;

use super::{Ground, WeightsReady};
use crate::failure::{Code, Failure};
use crate::network::Network;
use crate::view::View;

/// The proof that a stage was attested, for one plan. Keys are released against it.
#[derive(Debug)]
pub(crate) struct Attestation {
    plan_digest: String,
    receipt: u64,
}

impl Attestation {
    /// Made by `Requested::attest` and nobody else.
    pub(super) fn of(plan: &Plan, receipt: u64) -> Self {
        Self {
            plan_digest: plan.digest.clone(),
            receipt,
        }
    }

    /// The plan that was attested.
    pub(crate) fn plan_digest(&self) -> &str {
        &self.plan_digest
    }

    /// The number of the receipt that records it.
    pub(crate) const fn receipt(&self) -> u64 {
        self.receipt
    }
}

/// An attested stage.
#[derive(Debug)]
pub(crate) struct Attested {
    attestation: Attestation,
    plan: Plan,
}

impl Attested {
    pub(super) const fn new(attestation: Attestation, plan: Plan) -> Self {
        Self { attestation, plan }
    }

    /// Makes the stage's network namespace and opens each of its models into a view.
    pub(crate) fn open_weights(self, ground: &Ground) -> Result<WeightsReady, Failure> {
        ground.go_on()?;
        let path = super::weights_ready::network_path(ground);
        let network = Network::create(&path).map_err(|error| {
            let message = format!(
                "cannot make the network namespace `{}`: {error}",
                path.display()
            );
            Failure::new(Code::SandboxFailed, message)
        })?;
        let mut views = Vec::new();
        for version in &ground.stage.models {
            let model = ground.enclosure.model(version).ok_or_else(|| {
                Failure::new(Code::NoSuchModel, format!("{version} is not declared"))
            })?;
            ground.step(
                "opening",
                &format!("verifying {version} and releasing its key"),
            );
            let view = View::open(
                &ground.node,
                &ground.board,
                &ground.asker,
                &self.attestation,
                model,
            )?;
            ground.board.opened_model(view.model(), view.root_digest());
            views.push(view);
        }
        let message = match views.len() {
            0 => "no models".to_owned(),
            count => format!("{count} opened"),
        };
        ground.reached(LaunchState::WeightsReady, Phase::Fetch, &message);
        Ok(WeightsReady::new(
            self.attestation,
            self.plan,
            network,
            views,
        ))
    }
}
