//! Records decisions: each is one event, sent to the daemon by the control channel's writer.
//!
//! The queue is bounded. A request that could not be recorded is not let through; a refusal that could
//! not be recorded is counted, because refusing costs nobody anything and must not be stopped by
//! whoever causes many. Half of the queue is out of reach of refusals, so they cannot fill it for others.

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

    /// Records a refusal where that leaves room for what must be recorded, or counts that it did not.
    pub fn note(&self, event: Event) {
        if self.queue.capacity() <= QUEUE / 2 {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.follow(event);
        }
    }

    /// Records what followed from something that was admitted or ordered, or counts that it could not be.
    pub fn follow(&self, event: Event) {
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

#[cfg(test)]
mod tests {
    use casemate_core::event::{Severity, kind};
    use casemate_core::time::UnixTime;

    use super::*;

    #[test]
    fn refusals_leave_half_of_the_queue_to_what_must_be_recorded() {
        let (audit, lines) = Audit::channel();
        let event = || Event::new(UnixTime(0), kind::REQUEST_REFUSED, Severity::Warning);
        (0..2 * QUEUE).for_each(|_| audit.note(event()));
        assert_eq!(lines.len(), QUEUE / 2);
        assert_eq!(audit.dropped(), (2 * QUEUE - QUEUE / 2) as u64);
        for _ in 0..QUEUE / 2 {
            assert_eq!(audit.record(event()), Ok(()));
        }
        assert_eq!(audit.record(event()), Err(Full));
    }
}
