//! The launch of a stage, as states that can only be reached in order.
//!
//! `Requested → Attested → WeightsReady → Confined → Probed → Admitting`: each step consumes the value
//! before it and is the only maker of the next. A model's key is released against the
//! [`Attestation`] that only [`Requested::attest`] makes; only [`Probed`] has `admit`, and only it
//! opens a gate. Whatever is dropped on the way takes its sandbox, views and namespace with it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use casemate_api::v1::{LaunchState, Phase, UpProgress};
use casemate_core::enclosure::{Enclosure, Stage};
use casemate_core::event::{Event, Severity};
use casemate_core::receipt::ReceiptKind;

use crate::asker::Asker;
use crate::board::Board;
use crate::failure::{Code, Failure};
use crate::gate::Listeners;
use crate::issuer::Issuer;
use crate::journal::Facts;
use crate::node::Node;
use crate::opening::Opening;
use crate::supervise::{Order, Word};
use crate::users::Slot;

mod admitting;
mod attested;
mod confined;
mod image;
mod probed;
mod requested;
mod weights_ready;

pub(crate) use admitting::Admitting;
pub(crate) use attested::{Attestation, Attested};
pub(crate) use confined::Confined;
pub(crate) use probed::Probed;
pub(crate) use requested::Requested;
pub(crate) use weights_ready::WeightsReady;

/// What every step of a stage's launches stands on. Outlives them all.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) node: Arc<Node>,
    /// With whose rights is opened what the enclosure names.
    pub(crate) asker: Asker,
    pub(crate) enclosure: Arc<Enclosure>,
    pub(crate) stage: Stage,
    pub(crate) board: Arc<Board>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) slot: Slot,
    pub(crate) listeners: Listeners,
    /// Where the first launch waits for the other stages.
    pub(crate) opening: Arc<Opening>,
    /// Whoever brings the enclosure up; gone after that.
    pub(crate) words: SyncSender<Word>,
    /// The stage's own orders, for the watchers of its parts.
    pub(crate) orders: SyncSender<Order>,
}

impl Ground {
    /// Tells whoever brings the enclosure up, while somebody does.
    pub(crate) fn tell(&self, word: Word) {
        // Nobody listens any more once the first launch has ended.
        self.words.try_send(word).ok();
    }

    /// A state was reached: shown on the board, told, and nothing more.
    fn reached(&self, state: LaunchState, phase: Phase, message: &str) {
        self.board.reached(state, phase, "");
        let word = match state {
            LaunchState::Requested => "requested",
            LaunchState::Attested => "attested",
            LaunchState::WeightsReady => "weights-ready",
            LaunchState::Confined => "confined",
            LaunchState::Probed => "probed",
            LaunchState::Admitting => "admitting",
            LaunchState::BackingOff => "backing-off",
            LaunchState::Stopped => "stopped",
            LaunchState::Failed => "failed",
        };
        self.step(word, message);
    }

    /// A finer step.
    fn step(&self, phase: &str, message: &str) {
        tracing::info!(stage = %self.board.id(), phase, says = message, "launch");
        self.tell(Word::Progress(UpProgress {
            stage: self.stage.name.to_string(),
            phase: phase.to_owned(),
            message: message.to_owned(),
        }));
    }

    /// An event about this stage.
    pub(crate) fn event(&self, kind: &'static str, severity: Severity) -> Event {
        self.node
            .journal
            .event(kind, severity)
            .at(&self.board.enclosure, Some(&self.board.stage))
            .about(self.board.spiffe_id.to_string())
    }

    /// Records a decision about this stage; the launch goes on only when it is on the disk.
    fn record(&self, kind: ReceiptKind, facts: Facts) -> Result<u64, Failure> {
        let subject = self.board.spiffe_id.to_string();
        Ok(self.node.journal.record(kind, subject, facts)?.seq)
    }

    /// Records that the stage has stopped. It has, whether or not the disk takes it.
    pub(crate) fn stopped_receipt(&self, facts: Facts) {
        if let Err(failure) = self.record(ReceiptKind::StageStopped, facts) {
            tracing::error!(stage = %self.board.id(), reason = failure.message(), "receipt lost");
        }
    }

    /// Stops a launch between two steps when the daemon is ending, or another stage has failed.
    fn go_on(&self) -> Result<(), Failure> {
        if self.node.stopping() {
            return Err(Failure::new(Code::Stopping, "the daemon is ending"));
        }
        if self.opening.given_up() {
            let message = "another stage of the enclosure failed";
            return Err(Failure::new(Code::Stopping, message));
        }
        Ok(())
    }

    /// A pipe into the stage's bounded log; the stage gets the writing end.
    fn log_pipe(&self) -> Result<OwnedFd, Failure> {
        let internal = |error: std::io::Error| Failure::from_error(Code::Internal, &error);
        let (reader, writer) = std::io::pipe().map_err(internal)?;
        let board = Arc::clone(&self.board);
        std::thread::Builder::new()
            .name(format!("log {}", self.board.id()))
            .spawn(move || {
                if let Err(error) = board.log.fill_from(reader) {
                    tracing::warn!(stage = %board.id(), error = %error, "log not written");
                }
            })
            .map_err(internal)?;
        Ok(writer.into())
    }

    /// A failure with the last lines that the stage wrote.
    fn with_log(&self, failure: Failure) -> Failure {
        match self.board.log.tail(LOG_LINES) {
            Ok((lines, _)) => failure.with_lines(lines.iter().map(String::as_str)),
            Err(_) => failure,
        }
    }
}

const LOG_LINES: usize = 12;
