//! `Probed`: the sandbox was attacked and held. The only state from which a gate is opened.

use std::time::{Duration, Instant};

use casemate_api::v1::{LaunchState, Phase};
use casemate_core::event::{Severity, kind};
use casemate_core::receipt::ReceiptKind;
use casemate_sandbox::stage::{self, Serving};

use super::weights_ready::House;
use super::{Admitting, Ground};
use crate::compile;
use crate::failure::{Code, Failure};
use crate::gate::{Gate, GateRequest};
use crate::journal::fact;
use crate::network::Knock;
use crate::view::View;

/// A stage that held.
#[derive(Debug)]
pub(crate) struct Probed {
    /// Declared before the house, so that the sandbox goes before its weights do.
    stage: stage::Confined,
    house: House,
}

impl Probed {
    pub(super) const fn new(house: House, stage: stage::Confined) -> Self {
        Self { house, stage }
    }

    /// Starts server and gate, waits until the server answers and every other stage's does, records,
    /// and opens the gate.
    pub(crate) fn admit(self, ground: &Ground) -> Result<Admitting, Failure> {
        ground.go_on()?;
        let Self { mut house, stage } = self;
        if house.gate.is_none() {
            house.gate = Some(gate(ground, &house)?);
        }
        ground.step("starting", "executing the server");
        let serving = stage.serve().map_err(|error| {
            let message = format!("stage `{}`: {}", ground.stage.name, crate::report(&error));
            ground.with_log(Failure::new(Code::SandboxFailed, message))
        })?;
        ground.board.runs_as(u32::try_from(serving.process()).ok());
        let ready = wait_until_it_answers(ground, &house, &serving)
            .and_then(|()| wait_for_the_others(ground, &serving));
        if let Err(failure) = ready {
            ground.board.runs_as(None);
            drop(serving);
            // A server that could not read its model is not to blame for ending.
            return Err(match house.views.iter().find_map(View::corruption) {
                Some(what) => {
                    let message = format!("the sealed model was changed: {what}");
                    Failure::new(Code::ModelRefused, message)
                }
                None => failure,
            });
        }
        let receipt = [
            fact("plan-digest", house.attestation.plan_digest()),
            fact("attestation", house.attestation.receipt()),
            fact("landlock-abi", serving.landlock_abi()),
        ];
        ground.record(ReceiptKind::StageAdmitted, receipt.into())?;
        let admitting = Admitting::open(ground, house, serving)?;
        ground
            .node
            .journal
            .add(ground.event(kind::STAGE_ADMITTED, Severity::Info));
        ground.reached(LaunchState::Admitting, Phase::Serve, "the gate is open");
        Ok(admitting)
    }
}

fn gate(ground: &Ground, house: &House) -> Result<Gate, Failure> {
    ground.step("gate", "starting the gate");
    let node = &ground.node;
    let network = house
        .network
        .open()
        .map_err(|error| Failure::from_error(Code::GateFailed, &error))?;
    Gate::start(GateRequest {
        settings: &node.settings,
        spawner: &node.spawner,
        journal: &node.journal,
        issuer: &ground.issuer,
        board: &ground.board,
        stage: &ground.stage,
        flows: compile::inbound(&ground.enclosure, &ground.stage.name),
        outbound: compile::outbound(
            &ground.enclosure,
            &ground.stage.name,
            &node.settings.run_dir("mesh"),
        ),
        listeners: &ground.listeners,
        user: ground.slot.gate(),
        network,
    })
    .map_err(|error| {
        let message = format!("stage `{}`: {}", ground.stage.name, crate::report(&error));
        Failure::new(Code::GateFailed, message)
    })
}

fn wait_until_it_answers(ground: &Ground, house: &House, serving: &Serving) -> Result<(), Failure> {
    let limit = ground.node.settings.warm_timeout;
    let began = Instant::now();
    let mut last = Knock::Silent;
    loop {
        ground.go_on()?;
        still_runs(ground, serving)?;
        match house.network.knock(ground.stage.serves) {
            Ok(Knock::Answers) => return Ok(()),
            Ok(knock @ (Knock::NotReady | Knock::Silent)) => {
                if knock == Knock::NotReady && last != knock {
                    ground.step("warming", "the server listens and is loading");
                }
                last = knock;
            }
            Err(error) => return Err(Failure::from_error(Code::Internal, &error)),
        }
        if began.elapsed() > limit {
            let message = format!(
                "the server of stage `{}` did not answer on port {} within {} seconds",
                ground.stage.name,
                ground.stage.serves,
                limit.as_secs()
            );
            return Err(ground.with_log(Failure::new(Code::StageNotReady, message)));
        }
        std::thread::sleep(KNOCK_PAUSE);
    }
}

/// In the first launch of an enclosure, waits until every stage of it is ready for calls.
fn wait_for_the_others(ground: &Ground, serving: &Serving) -> Result<(), Failure> {
    let opening = &ground.opening;
    if opening.is_over() {
        return Ok(());
    }
    opening.arrive();
    if !opening.is_over() {
        ground.step("ready", "the server answers; waiting for the other stages");
    }
    while !opening.wait(KNOCK_PAUSE) {
        ground.go_on()?;
        still_runs(ground, serving)?;
    }
    Ok(())
}

fn still_runs(ground: &Ground, serving: &Serving) -> Result<(), Failure> {
    if let Ok(Some(exit)) = serving.exit() {
        let message = format!("the server of stage `{}` ended: {exit}", ground.stage.name);
        return Err(ground.with_log(Failure::new(Code::StageDied, message)));
    }
    Ok(())
}

const KNOCK_PAUSE: Duration = Duration::from_millis(50);
