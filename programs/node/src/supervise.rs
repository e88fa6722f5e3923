//! The thread that owns one stage: launches it, keeps it up, and takes it down.
//!
//! A stage that dies is walled in and closed at that moment: its gate refuses while the next launch
//! runs through every step again, probe included. Waits between launches grow.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use casemate_api::v1::{LaunchState, Phase, ProbeLine, ProbeSummary, UpProgress};
use casemate_core::event::{Severity, kind};

use crate::failure::{Code, Failure};
use crate::journal::fact;
use crate::launch::{Admitting, Ground, Requested, WeightsReady};

/// What a stage's thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// A part of the stage has ended by itself.
    Ended(Ended),
    /// Attack it from inside; lines go to the one, the end to the other.
    Probe {
        lines: SyncSender<ProbeLine>,
        reply: SyncSender<Result<ProbeSummary, Failure>>,
    },
    /// Take it down and end.
    Stop,
}

/// Which part of which launch has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) part: Part,
    /// A launch's own number, so that the end of an earlier one is not taken for this one's.
    pub(crate) launch: u64,
    pub(crate) how: String,
}

/// A part of a running stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Server,
    Gate,
    Vault,
}

/// What a stage's thread tells whoever brings the enclosure up.
#[derive(Debug)]
pub(crate) enum Word {
    Progress(UpProgress),
    /// The first launch has ended, one way or the other.
    Started(Result<(), Failure>),
}

/// Why the thread goes on.
enum Next {
    /// Launch again, from the beginning or with the weights still open.
    Again(Option<Box<WeightsReady>>),
    Stop,
}

/// Owns the stage until it is told to stop, or its first launch fails.
pub(crate) fn own(ground: &Ground, orders: &Receiver<Order>) {
    let admitting = match launch(ground, None) {
        Ok(admitting) => admitting,
        Err(failure) => {
            let given_up = failure.code() == Code::Stopping;
            let state = if given_up {
                LaunchState::Stopped
            } else {
                failed(ground, &failure);
                LaunchState::Failed
            };
            ground.board.reached(state, Phase::Drain, failure.message());
            // Told before the others give up, so that the reason is heard before what follows from it.
            ground.tell(Word::Started(Err(failure)));
            ground.opening.give_up();
            return;
        }
    };
    ground.tell(Word::Started(Ok(())));
    let mut next = serve(ground, admitting, orders);
    let mut failures: u32 = 0;
    while let Next::Again(kept) = next {
        let wait = back_off(failures);
        let message = format!("starting again in {} ms", wait.as_millis());
        ground
            .board
            .reached(LaunchState::BackingOff, Phase::Warm, &message);
        if wait_unless_stopped(orders, wait) {
            drop(kept);
            break;
        }
        let began = Instant::now();
        next = match launch(ground, kept) {
            Ok(admitting) => {
                restarted(ground);
                let next = serve(ground, admitting, orders);
                // A stage that served for a while starts with a short wait again.
                failures = if began.elapsed() > STABLE {
                    0
                } else {
                    failures.saturating_add(1)
                };
                next
            }
            Err(failure) if failure.code() == Code::Stopping => break,
            Err(failure) => {
                failed(ground, &failure);
                failures = failures.saturating_add(1);
                Next::Again(None)
            }
        };
    }
    ground.board.reached(LaunchState::Stopped, Phase::Drain, "");
    let event = ground.event(kind::STAGE_STOPPED, Severity::Info);
    ground.node.journal.add(event);
}

/// Walks the states of a launch, each of which can only be made from the one before.
fn launch(ground: &Ground, kept: Option<Box<WeightsReady>>) -> Result<Admitting, Failure> {
    let ready = match kept {
        Some(ready) => *ready,
        None => Requested::new(ground)
            .attest(ground)?
            .open_weights(ground)?,
    };
    ready.confine(ground)?.probe(ground)?.admit(ground)
}

/// Keeps a stage that admits, until a part of it ends or it is told to stop.
fn serve(ground: &Ground, admitting: Admitting, orders: &Receiver<Order>) -> Next {
    loop {
        match orders.recv() {
            Ok(Order::Ended(ended)) if ended.launch != admitting.number() => {}
            Ok(Order::Ended(ended)) => {
                let how = format!("the {} ended: {}", word(ended.part), ended.how);
                ground
                    .board
                    .reached(LaunchState::BackingOff, Phase::Drain, &how);
                died(ground, &ended);
                return Next::Again(match ended.part {
                    Part::Server => admitting.into_weights(ground).map(Box::new),
                    Part::Gate | Part::Vault => None,
                });
            }
            Ok(Order::Probe { lines, reply }) => {
                let found = admitting.probe(ground, &|line| drop(lines.send(line)));
                // Whoever asked may have gone.
                drop(reply.send(found));
            }
            Ok(Order::Stop) | Err(_) => {
                ground
                    .board
                    .reached(LaunchState::Admitting, Phase::Drain, "stopping");
                admitting.stop(ground);
                return Next::Stop;
            }
        }
    }
}

fn wait_unless_stopped(orders: &Receiver<Order>, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        match orders.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
            Ok(Order::Probe { reply, .. }) => {
                let message = "the stage is down and waits for its next start";
                drop(reply.send(Err(Failure::new(Code::StageNotRunning, message))));
            }
            // Ends of what was already given up.
            Ok(Order::Ended(_)) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

fn failed(ground: &Ground, failure: &Failure) {
    ground.node.journal.add(
        ground
            .event(kind::STAGE_PHASE, Severity::Error)
            .fact("phase", "failed")
            .fact("code", failure.code().word())
            .fact("reason", failure.line()),
    );
}

fn died(ground: &Ground, ended: &Ended) {
    ground.node.journal.add(
        ground
            .event(kind::STAGE_DIED, Severity::Error)
            .fact("part", word(ended.part))
            .fact("how", ended.how.clone()),
    );
    let facts = [fact("part", word(ended.part)), fact("how", &ended.how)].into();
    ground.stopped_receipt(facts);
}

fn restarted(ground: &Ground) {
    let count = ground.board.restarted();
    let event = ground.event(kind::STAGE_RESTARTED, Severity::Warning);
    ground
        .node
        .journal
        .add(event.fact("restarts", count.to_string()));
}

const fn word(part: Part) -> &'static str {
    match part {
        Part::Server => "server",
        Part::Gate => "gate",
        Part::Vault => "vault",
    }
}

/// 0.5 s, doubled for each failure in a row, at most a minute.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(500 << failures.min(7)).min(Duration::from_secs(60))
}

const STABLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_an_end() {
        assert_eq!(back_off(0), Duration::from_millis(500));
        assert!(back_off(3) > back_off(2));
        assert_eq!(back_off(40), Duration::from_secs(60));
    }
}
