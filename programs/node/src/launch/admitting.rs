//! `Admitting`: the server answers and the gate is open. The last state; there is only back or down.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use casemate_api::v1::{ProbeLine, ProbeSummary};
use casemate_linux::process;
use casemate_sandbox::stage::Serving;

use super::weights_ready::House;
use super::{Ground, WeightsReady};
use crate::attack;
use crate::failure::{Code, Failure};
use crate::supervise::{Ended, Order, Part};

/// A stage that admits. Dropping it closes and destroys everything of it.
#[derive(Debug)]
pub(crate) struct Admitting {
    number: u64,
    /// Declared before the house, so that the server goes before its weights do.
    serving: Option<Serving>,
    house: House,
}

impl Admitting {
    /// Watches every part, then opens the gate.
    pub(super) fn open(ground: &Ground, house: House, serving: Serving) -> Result<Self, Failure> {
        let number = LAUNCHES.fetch_add(1, Ordering::Relaxed);
        let watch = |error: std::io::Error| Failure::from_error(Code::Internal, &error);
        let ended = |part| {
            let orders = ground.orders.clone();
            move |exit: process::Exit| tell(&orders, part, number, exit.to_string())
        };
        for view in &house.views {
            view.when_ended(ended(Part::Vault)).map_err(watch)?;
        }
        let gate = house
            .gate
            .as_ref()
            .ok_or_else(|| Failure::new(Code::GateFailed, "the stage has no gate"))?;
        gate.when_ended(ended(Part::Gate)).map_err(watch)?;
        watch_server(ground, number, serving.ended().map_err(watch)?).map_err(watch)?;
        // While receipts cannot be written, the board opens the gate later.
        ground
            .board
            .set_admitting(true)
            .map_err(|error| Failure::from_error(Code::GateFailed, &error))?;
        Ok(Self {
            number,
            serving: Some(serving),
            house,
        })
    }

    /// This launch's number.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Attacks the running stage from inside.
    pub(crate) fn probe(
        &self,
        ground: &Ground,
        line: &dyn Fn(ProbeLine),
    ) -> Result<ProbeSummary, Failure> {
        let Some(serving) = &self.serving else {
            return Err(Failure::new(
                Code::StageNotRunning,
                "the stage's server has ended",
            ));
        };
        let target = attack::Target {
            board: &ground.board,
            stage: &ground.stage,
            enclosure: &ground.enclosure,
            confirmation: serving.confirmation(),
            views: &self.house.views,
            environment: self.house.variables(),
            may_exhaust: false,
        };
        let start = |output| serving.probe(output);
        let report = attack::run(&ground.node, &target, ground.log_pipe()?, &start, line)?;
        Ok(report.summary())
    }

    /// The server died: closes the gate, destroys the sandbox, keeps weights and gate.
    pub(crate) fn into_weights(mut self, ground: &Ground) -> Option<WeightsReady> {
        Self::close(ground);
        self.destroy(ground, Duration::ZERO);
        let Self { house, .. } = self;
        house.gate.is_some().then(|| WeightsReady::kept(house))
    }

    /// Takes everything down, answers that run first.
    pub(crate) fn stop(mut self, ground: &Ground) {
        ground.board.admit_no_more();
        if let Some(gate) = self.house.gate.take() {
            gate.drain(DRAIN);
        }
        self.destroy(ground, GRACE);
        ground.stopped_receipt([("how".to_owned(), "asked".to_owned())].into());
    }

    fn close(ground: &Ground) {
        if let Err(error) = ground.board.set_admitting(false) {
            tracing::warn!(stage = %ground.board.id(), error = %crate::report(&error), "gate ended: not closed");
        }
    }

    fn destroy(&mut self, ground: &Ground, grace: Duration) {
        ground.board.runs_as(None);
        if let Some(serving) = self.serving.take()
            && let Err(error) = serving.stop(grace)
        {
            tracing::error!(stage = %ground.board.id(), error = %crate::report(&error), "stage not destroyed");
        }
    }
}

fn watch_server(ground: &Ground, number: u64, ended: OwnedFd) -> std::io::Result<()> {
    let orders = ground.orders.clone();
    std::thread::Builder::new()
        .name(format!("watch {}", ground.board.id()))
        .spawn(move || {
            // A process descriptor is readable from its end on, for ever.
            while let Ok(false) = process::readable_within(ended.as_fd(), WATCH) {}
            tell(
                &orders,
                Part::Server,
                number,
                "its process is gone".to_owned(),
            );
        })
        .map(drop)
}

fn tell(orders: &SyncSender<Order>, part: Part, launch: u64, how: String) {
    // The owner may have ended already, and then nobody needs to know.
    orders.send(Order::Ended(Ended { part, launch, how })).ok();
}

/// Numbers of launches, over all stages of this daemon.
static LAUNCHES: AtomicU64 = AtomicU64::new(1);
const DRAIN: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(3600);
