//! One enclosure that was brought up: its stages, each owned by a thread of its own.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use casemate_api::v1::{EnclosureStatus, ModelStatus};
use casemate_core::enclosure::Enclosure;
use casemate_core::time::UnixTime;

use crate::board::Board;
use crate::opening::Opening;
use crate::supervise::Order;

/// An enclosure and the threads that own its stages.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) enclosure: Arc<Enclosure>,
    /// Where its stages wait for each other before the first gate opens.
    pub(crate) opening: Arc<Opening>,
    since: UnixTime,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether `up` has ended; before, the enclosure belongs to it.
    up: bool,
    owners: Vec<Owner>,
}

/// The way to one stage's thread.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) board: Arc<Board>,
    pub(crate) orders: SyncSender<Order>,
    pub(crate) thread: JoinHandle<()>,
}

impl Running {
    pub(crate) fn new(enclosure: Arc<Enclosure>, since: UnixTime) -> Self {
        Self {
            opening: Arc::new(Opening::of(enclosure.stages.len())),
            enclosure,
            since,
            inner: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, owner: Owner) {
        self.inner().owners.push(owner);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.inner().up
    }

    pub(crate) fn set_up(&self) {
        self.inner().up = true;
    }

    /// Asks every stage to stop and waits until each has; gives their names.
    pub(crate) fn stop(&self) -> Vec<String> {
        // A stage that still waits for the others would not hear its order.
        self.opening.give_up();
        let owners = std::mem::take(&mut self.inner().owners);
        for owner in &owners {
            // A thread that has ended already has nothing to stop.
            owner.orders.send(Order::Stop).ok();
        }
        let mut stopped = Vec::new();
        for owner in owners {
            stopped.push(owner.board.stage.to_string());
            if owner.thread.join().is_err() {
                tracing::error!(stage = %owner.board.id(), "stage thread panicked");
            }
            owner.board.log.remove();
        }
        stopped
    }

    pub(crate) fn boards(&self) -> Vec<Arc<Board>> {
        self.inner()
            .owners
            .iter()
            .map(|owner| Arc::clone(&owner.board))
            .collect()
    }

    pub(crate) fn board(&self, stage: &str) -> Option<Arc<Board>> {
        let inner = self.inner();
        let owner = inner
            .owners
            .iter()
            .find(|owner| owner.board.stage.as_str() == stage);
        owner.map(|owner| Arc::clone(&owner.board))
    }

    /// The way to a stage's thread.
    pub(crate) fn orders(&self, stage: &str) -> Option<SyncSender<Order>> {
        let inner = self.inner();
        let owner = inner
            .owners
            .iter()
            .find(|owner| owner.board.stage.as_str() == stage);
        owner.map(|owner| owner.orders.clone())
    }

    pub(crate) fn status(&self, now: UnixTime) -> EnclosureStatus {
        let boards = self.boards();
        let stages: Vec<_> = boards.iter().map(|board| board.status(now)).collect();
        let models = self.enclosure.models.iter().map(|model| {
            let opened = boards
                .iter()
                .find_map(|board| board.opened(&model.version().to_string()));
            ModelStatus {
                model: model.version().to_string(),
                opened: opened.is_some(),
                root_digest: opened,
            }
        });
        EnclosureStatus {
            name: self.enclosure.name.to_string(),
            trust_domain: self.enclosure.trust_domain.to_string(),
            since: self.since.0,
            models: models.collect(),
            stages,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
