//! Records decisions: each is one event, sent to the daemon by the control channel's writer.
//!
//! The queue is bounded. A request that could not be recorded is not let through; a refusal that could
//! not be recorded is counted, because refusing costs nobody anything and must not be stopped by
//! whoever causes many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use casemate_api::gate::FromGate;
use casemate_core::event::Event;
use tokio::sync::mpsc;

/// How many lines may wait for the daemon.
pub const QUEUE: usize = 4096;

/// The queue could not take one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Where decisions are recorded.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: mpsc::Sender<FromGate>,
    dropped: Arc<AtomicU64>,
}

impl Audit {
    /// An audit whose lines come out of the receiver.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<FromGate>) {
        let (queue, lines) = mpsc::channel(QUEUE);
        (
            Self {
                queue,
                dropped: Arc::default(),
            },
            lines,
        )
    }

    /// Records what must be recorded before it happens.
    ///
    /// # Errors
    /// When the daemon does not read.
    pub fn record(&self, event: Event) -> Result<(), Full> {
        self.queue
            .try_send(FromGate::Event(Box::new(event)))
            .map_err(|_| Full)
    }

    /// Records what has happened, or counts that it could not be.
    pub fn note(&self, event: Event) {
        if self.record(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says something that is no event, waiting for room.
    pub async fn say(&self, line: FromGate) {
        if self.queue.send(line).await.is_err() {
            tracing::error!("the control channel is gone");
        }
    }

    /// How many events were not sent.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
