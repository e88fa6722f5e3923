//! `Confined`: the sandbox equals its plan and its first process waits. The way on is the attack.

use casemate_api::v1::{LaunchState, Phase};
use casemate_sandbox::stage;

use super::weights_ready::House;
use super::{Ground, Probed};
use crate::attack;
use crate::failure::{Code, Failure};

/// A confined stage in which nothing but our first process runs.
#[derive(Debug)]
pub(crate) struct Confined {
    /// Declared before the house, so that the sandbox goes before its weights do.
    stage: stage::Confined,
    house: House,
}

impl Confined {
    pub(super) const fn new(house: House, stage: stage::Confined) -> Self {
        Self { house, stage }
    }

    /// Attacks the sandbox from inside. Anything found open ends the launch, and so does what could
    /// not be told, beyond the argued list.
    pub(crate) fn probe(self, ground: &Ground) -> Result<Probed, Failure> {
        ground.go_on()?;
        ground.step("probing", "attacking the sandbox from inside");
        let target = attack::Target {
            board: &ground.board,
            stage: &ground.stage,
            enclosure: &ground.enclosure,
            confirmation: self.stage.confirmation(),
            views: &self.house.views,
            environment: self.house.variables(),
            may_exhaust: true,
        };
        let start = |output| self.stage.probe(output);
        let report = attack::run(&ground.node, &target, ground.log_pipe()?, &start, &|_| {})?;
        let summary = report.summary();
        if !report.open().is_empty() || !report.untold().is_empty() {
            let message = format!(
                "stage `{}`: {} checks found open, {} could not be told",
                ground.stage.name,
                report.open().len(),
                report.untold().len()
            );
            let failure = Failure::new(Code::ProbeOpen, message);
            let lines = report.open().iter().chain(report.untold());
            return Err(failure.with_lines(lines.map(String::as_str)));
        }
        let message = format!(
            "{} checks: {} blocked, {} open, {} inconclusive, {} not applicable",
            summary.checks,
            summary.blocked,
            summary.open,
            summary.inconclusive,
            summary.not_applicable
        );
        ground.reached(LaunchState::Probed, Phase::Warm, &message);
        Ok(Probed::new(self.house, self.stage))
    }
}
